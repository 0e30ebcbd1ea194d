"""The Python client of Genlock.

    async with genlock.connect(source="/billing") as client:
        match await client.send(genlock.command(DocumentPut(expected_generation=3, body={}), subject="server-1")):
            case genlock.Succeeded(token=token):
                ...
            case genlock.Conflict(reason=reason, current=current):
                ...
            case genlock.Rejected(code=code, message=message):
                ...

Many tasks in one event loop may use one client concurrently. Its exceptions are in genlock.errors.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, overload

from pydantic import TypeAdapter, ValidationError

from genlock._client import environment
from genlock._client.bulk import BulkAnswers, bulk_messages
from genlock._client.drafts import ConsumerDraft, DocumentDraft, Drafting, ProviderDraft, StackDraft
from genlock._client.link import Link, connected
from genlock._client.outgoing import OutgoingMessage
from genlock._client.results import result_of
from genlock._client.states import State, read_any_state, read_state
from genlock._client.subscriptions import durable, transient
from genlock.change import TIMEOUT_S as CHANGE_TIMEOUT_S
from genlock.change import Change
from genlock.commands import Command, complete
from genlock.errors import InvalidMessage, QueryFailed, Undecodable, UnreadableAnswer
from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.codes import Code
from genlock.schemas.consumers import ConsumerState
from genlock.schemas.documents import DocumentState
from genlock.schemas.envelope import SOURCE_BYTES_MAX, Source
from genlock.schemas.namespaces import NAMESPACE_PATTERN, RESERVED, Namespace
from genlock.schemas.outcomes import Outcome, UnknownEvent, parse_event, parse_outcome
from genlock.schemas.providers import ProviderState
from genlock.schemas.stacks import StackState
from genlock.schemas.undecodable import parse_undecodable

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

    Without a URL, GENLOCK_AMQP_URL, GENLOCK_AMQP_PASSWORD_FILE and, unless a `namespace` is given, GENLOCK_NAMESPACE
    apply. With a URL the environment is not read, and the default namespace is `genlock`. Leaving the context closes
    the connection. `source` is a URI reference that identifies the sender of commands to others. `timeout_s` limits
    connecting and each call, in seconds. A call that waits for an answer raises NoService earlier if there has been no
    service for `absence_s` seconds. After a lost connection the client reconnects, and pending calls continue there
    until their own deadlines.
    Raises CannotConnect, and InvalidMessage for a source or a namespace that no message could have.
    """
    try:
        _SOURCE.validate_python(source)
    except ValidationError as error:
        raise InvalidMessage(f"The source has to be a URI reference of at most {SOURCE_BYTES_MAX} bytes.") from error

    if amqp_url is None:
        amqp_url, default = environment.broker(), environment.namespace()
    else:
        default = environment.NAMESPACE
    place = default if namespace is None else namespace
    try:
        _NAMESPACE.validate_python(place)
    except ValidationError as error:
        raise InvalidMessage(
            f"The namespace has to match {NAMESPACE_PATTERN}, and may not be {RESERVED}, which RabbitMQ reserves."
        ) from error

    def inquire(query: str, command_id: str) -> OutgoingMessage:
        return _query(place, {"type": query, "subject": command_id, "data": {}}, source)

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

        Raises NotTaken and Undecodable if the command has no effect, and Unanswered if that is unknown: then send it
        again.
        """
        return await self.send_envelope(command.members())

    async def publish(self, command: Command) -> str:
        """Publish a command without waiting for its outcome, and return its id. The broker has confirmed it then.

        Raises as `send` does.
        """
        return await self.publish_envelope(command.members())

    async def send_envelope(self, members: JsonObject) -> Outcome:
        """Send a command that is a JSON object already; specversion, id, source and time are filled in if missing.

        Raises as `send` does, and InvalidMessage for a command that no service could answer.
        """
        return await self._send(members, None)

    async def send_within(self, command: Command, within_s: float) -> Outcome:
        """Send a command as `send` does, within a shorter time."""
        return await self._send(command.members(), within_s)

    async def _send(self, members: JsonObject, within_s: float | None) -> Outcome:
        outgoing = self._command(members)
        answer = await self._link.ask(outgoing, within_s)
        try:
            return parse_outcome(answer)
        except ValueError as error:
            if undecodable := parse_undecodable(answer):
                raise Undecodable(undecodable.data.message, outgoing.id, undecodable.data.errors) from None
            raise UnreadableAnswer(f"The answer is not an outcome: {error}.", outgoing.id) from error

    async def publish_envelope(self, members: JsonObject) -> str:
        """Publish a command that is a JSON object already, and return its id, as `publish` does."""
        outgoing = self._command(members)
        await self._link.publish(outgoing)
        return str(outgoing.id)

    async def send_bulk(self, commands: Sequence[Command]) -> list[Outcome]:
        """Send commands of one type in as few messages as possible, and wait for their outcomes, in the same order.

        This is faster than sending one by one; each command still gets an outcome of its own. Raises as `send` does.
        Some commands may have been taken then; all may be sent again.
        """
        return await self.send_bulk_envelopes([command.members() for command in commands])

    async def send_bulk_envelopes(self, members: Iterable[JsonObject]) -> list[Outcome]:
        """Send commands that are JSON objects already, as `send_bulk` does; missing attributes are filled in."""
        envelopes = [complete(one, self._source) for one in members]
        messages = list(bulk_messages(f"{self._namespace}.commands", envelopes))
        answers = [BulkAnswers(message.command_ids) for message in messages]
        await asyncio.gather(
            *(
                self._link.ask(message, is_last=gathered.add)
                for message, gathered in zip(messages, answers, strict=True)
            )
        )
        try:
            return [outcome for gathered in answers for outcome in gathered.outcomes()]
        except ValueError as error:
            raise UnreadableAnswer(f"The answer is not outcomes: {error}.") from error

    def _command(self, members: JsonObject) -> OutgoingMessage:
        envelope = complete(members, self._source)
        return OutgoingMessage(f"{self._namespace}.commands", envelope["type"], envelope)

    @asynccontextmanager
    async def events(
        self, pattern: str = "#", *, queue: str | None = None
    ) -> AsyncIterator[AsyncIterator[Outcome | UnknownEvent]]:
        """Iterate over the outcome events whose type matches a topic pattern.

            async with client.events("stack.*.succeeded") as events:
                async for event in events:
                    ...

        Without a queue, the iterator yields events published from now on. The broker buffers the last 100,000 of them
        for a slow reader. If the connection is lost the iterator raises Disconnected: events may have been missed.

        With the name of a `queue` no event is missed. The queue is durable. The first use declares and binds it, and it
        collects events without a reader until it is deleted. Fetching the next event acknowledges the previous one, so
        the event at which a program ended is delivered again. The iterator survives the loss of the connection. Readers
        of one queue share its events; a queue keeps every pattern that it was ever bound with.

        Events may come twice or out of order: keep the highest `sequence` of a record. An event of a type that only a
        newer service knows is an UnknownEvent. Raises Unroutable if there is no
        Genlock; InvalidMessage for a queue name in the service's namespace or a pattern of more than 255 bytes; Refused
        if a queue of that name has other properties; Disconnected, also from the iterator.
        """
        exchange = f"{self._namespace}.events"
        subscription = transient(self._link, exchange, pattern)
        if queue is not None:
            subscription = durable(self._link, exchange, pattern, queue)
        async with subscription as bodies:
            yield _Events(bodies)

    @overload
    async def get(self, kind: Literal["provider"], record_id: str) -> ProviderState | None: ...
    @overload
    async def get(self, kind: Literal["consumer"], record_id: str) -> ConsumerState | None: ...
    @overload
    async def get(self, kind: Literal["document"], record_id: str) -> DocumentState | None: ...
    @overload
    async def get(self, kind: Literal["stack"], record_id: str) -> StackState | None: ...
    @overload
    async def get(self, kind: str, record_id: str) -> State | JsonObject | None: ...

    async def get(self, kind: str, record_id: str) -> State | JsonObject | None:
        """Read a record's state; None if there is no such record or it was deleted.

        The state of a kind that only a newer service knows is a dict.

        Raises NotTaken, Unanswered, and QueryFailed for an invalid id.
        """
        record = await self._record(kind, record_id, None)
        return None if record is None else read_any_state(kind, record)

    async def read_within(self, kind: Kind, record_id: str, within_s: float | None) -> State | None:
        """Read a record's state as `get` does, within a shorter time."""
        record = await self._record(kind, record_id, within_s)
        return None if record is None else read_state(kind, record)

    async def _record(self, kind: str, record_id: str, within_s: float | None) -> Any:
        try:
            answer = await self._query(f"{kind}.get", record_id, {}, within_s)
        except QueryFailed as error:
            if error.code == Code.NOT_FOUND:
                return None
            raise
        return answer.get("record", {})

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
        kind: Kind,
        record_id: str,
        fn: Callable[[Any], Any],
        attempts: int | None = None,
        *,
        timeout_s: float = CHANGE_TIMEOUT_S,
        correlationid: str | None = None,
    ) -> Outcome | None:
        """Change a record under contention: read it, make a command of its state, start again after a conflict.

            def own(doc: DocumentState | None) -> DocumentMerge | None:
                return DocumentMerge(expected_generation=doc.generation, patch={"owner": "team-a"}) if doc else None

            await client.change("document", "server-1", own)

        `fn` is called for each try with the record's state (None if there is no record), and may be async. It returns a
        command's data with the token of this state; or a `functools.partial` of the command's model without the token,
        which the client fills in; or None to stop. After a conflict the client pauses for at least the advised time and
        calls `fn` again: after a short pause with the state in the conflict, after a long one with a new state. Tries
        have ids of their own and one `correlationid`; each names the conflict before it as its `causationid`. A try
        without an answer is sent again under its own id.

        `timeout_s` limits the whole call in seconds, including reads, `fn` and sends; an async `fn` is cancelled at the
        deadline. `attempts`, at least 3, limits the tries too. Returns Succeeded, Rejected, a Conflict that must not be
        retried, or None if `fn` stopped. Raises GaveUp at the deadline or after the last attempt if the call has had no
        effect; NoAnswer or Disconnected at the deadline if a command was pending, whose id is `command_id`;
        InvalidMessage if the value of `fn` is no command on this record, has another token or the id of an earlier try,
        needs a record that does not exist, or creates one that does; and the errors of `get` and `send`.
        """
        changing = Change(
            self, kind, record_id, fn, attempts=attempts, timeout_s=timeout_s, correlationid=correlationid
        )
        return await changing.run()

    async def query(self, query: str, subject: str | None = None, /, **filters: Any) -> JsonObject:
        """Send a query of the catalogue, such as `query("stack.list", action="CREATE")`, and return the answer's data.

        Raises NotTaken, Unanswered, and QueryFailed with the service's code.
        """
        return await self._query(query, subject, filters, None)

    async def _query(self, query: str, subject: str | None, filters: JsonObject, within_s: float | None) -> JsonObject:
        members = {"type": query, "data": filters} | ({} if subject is None else {"subject": subject})
        outgoing = _query(self._namespace, members, self._source)
        return result_of(await self._link.ask(outgoing, within_s))

    async def records(self, query: str, subject: str | None = None, /, **filters: Any) -> AsyncIterator[JsonObject]:
        """Iterate over the records of all pages of a query.

            async for provider in client.records("provider.list", required=["CUSTOM_FAST"]):
                ...

        A page is fetched when the previous one has been read; `limit` is the size of a page. Each page is one snapshot,
        and later pages show later states. Raises as `query` does, and UnreadableAnswer for a query without pages.
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


class _Events(AsyncIterator[Outcome | UnknownEvent]):
    """Parses events from bodies. It is no generator, because cancelling a wait for the next item would end one."""

    def __init__(self, bodies: AsyncIterator[bytes]) -> None:
        self._bodies = bodies

    async def __anext__(self) -> Outcome | UnknownEvent:
        while True:
            body = await anext(self._bodies)
            try:
                return parse_event(body)
            except ValueError:
                # Other programs may publish to the exchange; a foreign message must not end the stream.
                log.warning("a message on the events exchange is not an outcome event: %r", body[:200])


def _query(namespace: str, members: JsonObject, source: str) -> OutgoingMessage:
    envelope = complete(members, source)
    return OutgoingMessage(f"{namespace}.reads", envelope["type"], envelope, persistent=False)
