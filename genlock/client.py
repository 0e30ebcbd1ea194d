"""The Python client of Genlock.

    async with genlock.connect(source="/billing") as client:
        match await client.send(genlock.command(DocumentPut(expected_generation=3, body={}), subject="server-1")):
            case genlock.Succeeded(token=token):
                ...
            case genlock.Conflict(reason=reason, current=current):
                ...
            case genlock.Rejected(code=code, message=message):
                ...

One client may be used by many tasks at the same time, in one event loop. What it raises stands in genlock.errors.
"""

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, overload

from pydantic import TypeAdapter, ValidationError

from genlock import _environment
from genlock._amqp import Link, connected
from genlock._bulk import bulk_letters, read_outcomes
from genlock._drafts import ConsumerDraft, DocumentDraft, Drafting, ProviderDraft, StackDraft
from genlock._letters import Letter
from genlock._states import ReadableKind, State, read_state
from genlock._subscriptions import durable, passing
from genlock.change import TIMEOUT_S as CHANGE_TIMEOUT_S
from genlock.change import Change
from genlock.commands import Command, complete
from genlock.errors import InvalidMessage, QueryFailed, UnreadableAnswer
from genlock.schemas.base import JsonObject
from genlock.schemas.codes import Code
from genlock.schemas.consumers import ConsumerState
from genlock.schemas.documents import DocumentState
from genlock.schemas.envelope import SOURCE_BYTES_MAX, Source
from genlock.schemas.namespaces import NAMESPACE_PATTERN, RESERVED, Namespace
from genlock.schemas.outcomes import Outcome, parse_outcome
from genlock.schemas.providers import ProviderState
from genlock.schemas.stacks import StackState

TIMEOUT_S = 30.0
ABSENCE_S = 3.0
SOURCE = "/genlock-client"
_SOURCE: TypeAdapter[str] = TypeAdapter(Source)
_NAMESPACE: TypeAdapter[str] = TypeAdapter(Namespace)

log = logging.getLogger(__name__)


@asynccontextmanager
async def connect(
    amqp_url: str | None = None,
    *,
    namespace: str | None = None,
    source: str = SOURCE,
    timeout_s: float = TIMEOUT_S,
    absence_s: float = ABSENCE_S,
) -> AsyncIterator["Client"]:
    """Connect to the broker, or to any node of a cluster: `amqp://user:password@a:5672,b:5672/vhost` names them.

    Without a URL the environment says where the service is: GENLOCK_AMQP_URL, GENLOCK_AMQP_PASSWORD_FILE and, unless
    a `namespace` is given, GENLOCK_NAMESPACE. With a URL the environment is not read, and the namespace is `genlock`
    unless given. Leaving the context closes the connection. `source` says to others who sent a command, and is a URI
    reference. `timeout_s` is how long connecting may take, and each call of the client's, in seconds; a call that
    waits for an answer ends before, with NoService, where no service is there for `absence_s`
    seconds. Once connected, the client outlives the loss of its connection: it connects again, and what waits goes on
    there until its own time is over.
    Raises CannotConnect, and InvalidMessage for a source or a namespace that none of its messages could have.
    """
    try:
        _SOURCE.validate_python(source)
    except ValidationError as error:
        raise InvalidMessage(f"The source has to be a URI reference of at most {SOURCE_BYTES_MAX} bytes.") from error

    if amqp_url is None:
        amqp_url, default = _environment.broker(), _environment.namespace()
    else:
        default = _environment.NAMESPACE
    place = default if namespace is None else namespace
    try:
        _NAMESPACE.validate_python(place)
    except ValidationError as error:
        raise InvalidMessage(
            f"The namespace has to match {NAMESPACE_PATTERN}, and may not be {RESERVED}, which RabbitMQ reserves."
        ) from error

    def inquire(command_id: str) -> Letter:
        return _query(place, {"type": "command.get", "subject": command_id, "data": {}}, source)

    async with connected(amqp_url, timeout_s, absence_s, inquire) as link:
        yield Client(link, place, source)


class Client:
    """A connection to Genlock. Made by `connect()`."""

    def __init__(self, link: Link, namespace: str, source: str) -> None:
        self._link = link
        self._namespace = namespace
        self._source = source

    async def send(self, command: Command) -> Outcome:
        """Send a command and wait for its outcome.

        Raises NotTaken where it will have no effect, and Unanswered where that is not known: then send it again.
        """
        return await self.send_envelope(command.members())

    async def publish(self, command: Command) -> str:
        """Publish a command without waiting for its outcome, and return its id. The broker has it then.

        Raises as `send` does.
        """
        return await self.publish_envelope(command.members())

    async def send_envelope(self, members: JsonObject) -> Outcome:
        """Send a command that is a JSON object already; specversion, id, source and time are filled in if missing.

        Raises as `send` does, and InvalidMessage for what no service could answer.
        """
        return await self._send(members, None)

    async def send_within(self, command: Command, within_s: float) -> Outcome:
        """Send a command as `send` does, with a shorter time."""
        return await self._send(command.members(), within_s)

    async def _send(self, members: JsonObject, within_s: float | None) -> Outcome:
        letter = self._command(members)
        answer = await self._link.ask(letter, within_s)
        try:
            return parse_outcome(answer)
        except ValueError as error:
            raise UnreadableAnswer(f"The answer is not an outcome: {error}.", letter.id) from error

    async def publish_envelope(self, members: JsonObject) -> str:
        """Publish a command that is a JSON object already, and return its id, as `publish` does."""
        letter = self._command(members)
        await self._link.publish(letter)
        return str(letter.id)

    async def send_bulk(self, commands: Sequence[Command]) -> list[Outcome]:
        """Send commands of one type in as few messages as possible, and wait for their outcomes, in the same order.

        Faster than one by one, and the same otherwise: some may succeed and others not. Raises as `send` does; then
        some of them may have been taken, and may be sent again.
        """
        return await self.send_bulk_envelopes([command.members() for command in commands])

    async def send_bulk_envelopes(self, members: Iterable[JsonObject]) -> list[Outcome]:
        """Send commands that are JSON objects already, as `send_bulk` does; what is missing is filled in."""
        envelopes = [complete(one, self._source) for one in members]
        letters = list(bulk_letters(f"{self._namespace}.commands", envelopes))
        answers = await asyncio.gather(*map(self._link.ask, letters))
        outcomes: list[Outcome] = []
        try:
            for letter, answer in zip(letters, answers, strict=True):
                told = read_outcomes(answer)
                # What had no room in the answer is decided all the same.
                rest = letter.command_ids[len(told) :]
                outcomes += [*told, *[await self._outcome(command_id) for command_id in rest]]
        except ValueError as error:
            raise UnreadableAnswer(f"The answer is not outcomes: {error}.") from error
        return outcomes

    async def _outcome(self, command_id: str) -> Outcome:
        """The outcome of a command that is decided."""
        answer = await self.query("command.get", command_id)
        return parse_outcome(json.dumps(answer["record"]))

    def _command(self, members: JsonObject) -> Letter:
        envelope = complete(members, self._source)
        return Letter(f"{self._namespace}.commands", envelope["type"], envelope)

    @asynccontextmanager
    async def events(self, pattern: str = "#", *, queue: str | None = None) -> AsyncIterator[AsyncIterator[Outcome]]:
        """Iterate over the outcome events whose type matches a topic pattern.

            async with client.events("stack.*.succeeded") as events:
                async for event in events:
                    ...

        Without a queue they are those that are published from now on. The broker keeps the last 100,000 of them for a
        slow reader. When the connection is lost the iterator raises Disconnected, because events may have been missed.

        With the name of a `queue` none is missed. It is durable, is made and bound at the first use, and collects
        events while nobody reads, until somebody deletes it. An event is acknowledged when the next one is asked for,
        so that the one at which a program ended comes again. After a loss of the connection the iterator goes on by
        itself. Readers of one name share its events; a queue keeps every pattern that it was ever bound with.

        Events may come twice or out of order: keep the highest `sequence` of a record. Raises Unroutable where there
        is no Genlock; InvalidMessage for a name that lies in the namespace or a pattern of more than 255 bytes;
        Refused where a queue of that name is another one; Disconnected, also from the iterator.
        """
        exchange = f"{self._namespace}.events"
        subscription = passing(self._link, exchange, pattern)
        if queue is not None:
            subscription = durable(self._link, exchange, pattern, queue)
        async with subscription as bodies:
            yield _Outcomes(bodies)

    @overload
    async def get(self, kind: Literal["provider"], record_id: str) -> ProviderState | None: ...
    @overload
    async def get(self, kind: Literal["consumer"], record_id: str) -> ConsumerState | None: ...
    @overload
    async def get(self, kind: Literal["document"], record_id: str) -> DocumentState | None: ...
    @overload
    async def get(self, kind: Literal["stack"], record_id: str) -> StackState | None: ...
    @overload
    async def get(self, kind: ReadableKind, record_id: str) -> State | None: ...

    async def get(self, kind: ReadableKind, record_id: str) -> State | None:
        """Read a record's state; None where there is none or it was deleted.

        Raises NotTaken, Unanswered, and QueryFailed for an id that cannot be one.
        """
        return await self.read_within(kind, record_id, None)

    async def read_within(self, kind: ReadableKind, record_id: str, within_s: float | None) -> State | None:
        """Read a record's state as `get` does, with a shorter time."""
        try:
            answer = await self._query(f"{kind}.get", record_id, {}, within_s)
        except QueryFailed as error:
            if error.code == Code.NOT_FOUND:
                return None
            raise
        return read_state(kind, answer.get("record"))

    @overload
    async def change(
        self,
        kind: Literal["document"],
        record_id: str,
        fn: Drafting[DocumentState, DocumentDraft],
        attempts: int | None = None,
        *,
        timeout_s: float = CHANGE_TIMEOUT_S,
        correlationid: str | None = None,
    ) -> Outcome | None: ...
    @overload
    async def change(
        self,
        kind: Literal["stack"],
        record_id: str,
        fn: Drafting[StackState, StackDraft],
        attempts: int | None = None,
        *,
        timeout_s: float = CHANGE_TIMEOUT_S,
        correlationid: str | None = None,
    ) -> Outcome | None: ...
    @overload
    async def change(
        self,
        kind: Literal["provider"],
        record_id: str,
        fn: Drafting[ProviderState, ProviderDraft],
        attempts: int | None = None,
        *,
        timeout_s: float = CHANGE_TIMEOUT_S,
        correlationid: str | None = None,
    ) -> Outcome | None: ...
    @overload
    async def change(
        self,
        kind: Literal["consumer"],
        record_id: str,
        fn: Drafting[ConsumerState, ConsumerDraft],
        attempts: int | None = None,
        *,
        timeout_s: float = CHANGE_TIMEOUT_S,
        correlationid: str | None = None,
    ) -> Outcome | None: ...

    async def change(
        self,
        kind: ReadableKind,
        record_id: str,
        fn: Callable[[Any], Any],
        attempts: int | None = None,
        *,
        timeout_s: float = CHANGE_TIMEOUT_S,
        correlationid: str | None = None,
    ) -> Outcome | None:
        """Change a record, whatever others do to it meanwhile: read it, make a command of it, start again if too late.

            def own(doc: DocumentState | None) -> DocumentMerge | None:
                return DocumentMerge(expected_generation=doc.generation, patch={"owner": "team-a"}) if doc else None

            await client.change("document", "server-1", own)

        `fn` is called with the record's state (None where there is none) for each try; it may be async. It returns a
        command's data with the token of this state, or without it, as a `functools.partial` of the command's model,
        which the client fills the token into; or None to stop. After a conflict and a pause of at least what the
        service advises it is called again: after a short pause with the state that the conflict carried, after a long
        one with what the record is by then. Tries have ids of their own and one `correlationid`; each names the
        conflict before it as its `causationid`. A try without an answer is sent again under its own id.

        It goes on for `timeout_s` seconds, reads, `fn` and sends included; an async `fn` is cancelled then. `attempts`,
        3 at least, limits the tries too. Returns Succeeded, Rejected, a Conflict after which a retry makes no sense, or
        None where `fn` stopped. Raises GaveUp at the deadline or after the last attempt if nothing of this call has an
        effect; NoAnswer or Disconnected at the deadline if a command was under way, whose id is `command_id`;
        InvalidMessage for what is no such command, has another token or the id of an earlier try, needs a record where
        there is none, or makes one where there is one; and what `get` and `send` raise.
        """
        changing = Change(
            self, kind, record_id, fn, attempts=attempts, timeout_s=timeout_s, correlationid=correlationid
        )
        return await changing.run()

    async def query(self, query: str, subject: str | None = None, /, **filters: Any) -> JsonObject:
        """Ask a query of the catalogue, such as `query("stack.list", action="CREATE")`, and return the answer's data.

        Raises NotTaken, Unanswered, and QueryFailed with the service's code.
        """
        return await self._query(query, subject, filters, None)

    async def _query(self, query: str, subject: str | None, filters: JsonObject, within_s: float | None) -> JsonObject:
        members = {"type": query, "data": filters} | ({} if subject is None else {"subject": subject})
        letter = _query(self._namespace, members, self._source)
        return _result(await self._link.ask(letter, within_s))

    async def records(self, query: str, subject: str | None = None, /, **filters: Any) -> AsyncIterator[JsonObject]:
        """Iterate over the records of all pages of a query.

            async for provider in client.records("provider.list", required=["CUSTOM_FAST"]):
                ...

        A page is asked for when the one before has been read; `limit` is how many records it may hold. Each shows one
        moment, and the next one what has become of the rest meanwhile. Raises as `query` does, and UnreadableAnswer
        for a query that has no pages.
        """
        while True:
            page = await self.query(query, subject, **filters)
            match page:
                case {"records": list() as records, "next": str() | None as following}:
                    for record in records:
                        yield record
                case _:
                    raise UnreadableAnswer(f"The answer to {query} is no page of records.")
            if following is None:
                return
            filters["after"] = following


class _Outcomes(AsyncIterator[Outcome]):
    """Outcomes read from bodies. No generator, because that would end where somebody stops waiting for the next."""

    def __init__(self, bodies: AsyncIterator[bytes]) -> None:
        self._bodies = bodies

    async def __anext__(self) -> Outcome:
        while True:
            body = await anext(self._bodies)
            try:
                return parse_outcome(body)
            except ValueError:
                # Others may be allowed to publish there; one strange message must not end the stream of good ones.
                log.warning("a message on the events exchange is not an outcome event: %r", body[:200])


def _query(namespace: str, members: JsonObject, source: str) -> Letter:
    envelope = complete(members, source)
    return Letter(f"{namespace}.reads", envelope["type"], envelope, persistent=False)


def _result(body: bytes) -> JsonObject:
    """Read the reply to a query."""
    try:
        reply = json.loads(body)
    except ValueError as error:
        raise UnreadableAnswer(f"The answer is not JSON: {error}.") from error
    match reply:
        case {"data": {"error": {"code": str() as code, "message": str() as message}}}:
            raise QueryFailed(code, message)
        case {"data": dict() as data}:
            return data
        case _:
            raise UnreadableAnswer("The answer to the query has no data.")
