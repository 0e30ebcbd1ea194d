"""The client's link to the broker, which survives the loss of a connection.

There is one session at a time. After its loss the next one is opened, and pending commands continue there: if the
outcome of a command is known, the call returns it; otherwise the command is sent again under its own id, which the
service applies once. Every wait has a deadline, except the wait for the next event.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from genlock._client.absence import IsLast, only_one
from genlock._client.bulk import OutgoingBulk
from genlock._client.fates import is_unknown_query, outcome_queries
from genlock._client.outgoing import OutgoingMessage
from genlock._client.session import AnyOutgoingMessage, ClientSession, ClientSessionLostError, open_client_session
from genlock.errors import CannotConnect, ClientClosed, Disconnected, NoAnswer, NoService, NotTaken
from genlock.schemas.base import compact_json

T = TypeVar("T")

PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 5.0
OPEN_TIMEOUT_S = 10.0
"""How long one attempt to reconnect may take: less than the time of a call, which then spans several attempts."""

REFUSED_MAX_S = 60.0
"""How long the broker may refuse the login, for example while a password is being changed."""

FATE_TIMEOUT_S = 5.0
"""How long to wait for the known outcome of a command before sending it again."""

log = logging.getLogger(__name__)


class Pauses:
    """Doubling pauses. Half of each is random, so clients that lost a broker together do not reconnect at once."""

    def __init__(self) -> None:
        self._next_s = PAUSE_FIRST_S

    async def take(self) -> None:
        """Pause; the next pause is longer."""
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, PAUSE_MAX_S)
        await asyncio.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311 - jitter is no secret

    def reset(self) -> None:
        """Start again with the shortest pause."""
        self._next_s = PAUSE_FIRST_S


class Link:
    """Publishes and sends requests, through successive sessions. Made by `connected()`."""

    def __init__(
        self,
        url: str,
        timeout_s: float,
        absence_s: float,
        inquire: Callable[[str, str], OutgoingMessage],
        session: ClientSession,
        *,
        refused_max_s: float,
    ) -> None:
        self._url = url
        self.timeout_s = timeout_s
        self._absence_s = absence_s
        self._inquire = inquire
        self._refused_max_s = refused_max_s
        self._session = session
        self._changed = asyncio.Event()
        self._closed = False
        self._why = ""

    async def publish(self, outgoing: AnyOutgoingMessage) -> None:
        """Publish, and wait until the broker has confirmed it. Raises NotTaken, Unanswered and InvalidMessage."""
        message = outgoing.message()
        async with self.deadline(outgoing.command_id):
            await self._through(outgoing, lambda session: session.publish(outgoing, message), lambda _outcome: None)

    async def ask(
        self, outgoing: AnyOutgoingMessage, within_s: float | None = None, *, is_last: IsLast = only_one
    ) -> bytes:
        """Publish and wait for the last answer: its body. One deadline holds for all. Raises as `publish` does."""
        message = outgoing.message()
        async with self.deadline(outgoing.command_id, within_s):
            return await self._through(
                outgoing, lambda session: session.ask(outgoing, message, is_last), lambda outcome: outcome
            )

    async def _through(
        self,
        outgoing: AnyOutgoingMessage,
        attempt: Callable[[ClientSession], Awaitable[T]],
        settled: Callable[[bytes], T],
    ) -> T:
        """Make an attempt in this session, and in later ones until it succeeds or the outcome is known."""
        while True:
            session = await self.session(outgoing.command_id)
            try:
                return await attempt(session)
            except ClientSessionLostError:
                outcome = await self._fate(outgoing)
            if outcome is not None:
                return settled(outcome)

    async def _fate(self, outgoing: AnyOutgoingMessage) -> bytes | None:
        """The outcome of a command that a lost session may have sent; None if it is unknown."""
        if isinstance(outgoing, OutgoingBulk) or outgoing.id is None or not outgoing.persistent:
            return None
        answer = b""
        try:
            async with asyncio.timeout(FATE_TIMEOUT_S):
                for name in outcome_queries(outgoing.envelope["type"]):
                    answer = await self._asked(self._inquire(name, outgoing.id))
                    if not is_unknown_query(answer):
                        break
        except (TimeoutError, NotTaken, NoService):
            return None
        return _outcome_of(outgoing, answer)

    async def _asked(self, query: OutgoingMessage) -> bytes:
        message = query.message()
        return await self._through(query, lambda session: session.ask(query, message), lambda body: body)

    async def session(self, command_id: str | None = None) -> ClientSession:
        """Wait for a session. Raises Disconnected once this client is closed."""
        while self._closed or self._session.lost.is_set():
            if self._closed:
                raise self.disconnected(command_id)
            self._changed.clear()
            await self._changed.wait()
        return self._session

    @asynccontextmanager
    async def deadline(self, command_id: str | None = None, within_s: float | None = None) -> AsyncIterator[None]:
        """Limit the time of the body. Raises NoAnswer or Disconnected."""
        timeout_s = self.timeout_s if within_s is None else min(self.timeout_s, within_s)
        try:
            async with asyncio.timeout(timeout_s):
                yield
        except TimeoutError as error:
            if self._session.lost.is_set():
                raise self.disconnected(command_id) from error
            raise NoAnswer(f"There is no answer within {round(timeout_s, 2):g} s.", command_id) from error

    def disconnected(self, command_id: str | None = None) -> Disconnected:
        """The error for a caller that gets no session."""
        kind = ClientClosed if self._closed else Disconnected
        return kind(f"The connection to the broker is closed: {self._why or self._session.why}.", command_id)

    async def keep(self) -> None:
        """Open a new session after each loss, until this task is cancelled."""
        pauses = Pauses()
        time = asyncio.get_running_loop().time
        try:
            while True:
                opened_at = time()
                await self._session.lost.wait()
                log.warning("the connection to the broker is lost: %s", self._session.why)
                # A session that is lost at once must not be reopened in a tight loop.
                if time() - opened_at > PAUSE_MAX_S:
                    pauses.reset()
                await self._session.close()
                session = await self._reopen(pauses)
                if session is None:
                    return
                self._session, self._why = session, ""
                self._changed.set()
                log.info("connected to the broker again")
        finally:
            self.end("this client has closed it")

    async def _reopen(self, pauses: Pauses) -> ClientSession | None:
        """Try until there is a session, beyond callers' deadlines; None if the broker keeps refusing the login."""
        time = asyncio.get_running_loop().time
        refused_since: float | None = None
        timeout_s = min(self.timeout_s, OPEN_TIMEOUT_S)
        while True:
            await pauses.take()
            try:
                return await open_client_session(self._url, timeout_s, self._absence_s, reopened=True)
            except CannotConnect as error:
                self._why = str(error).rstrip(".")
                refused_since = (refused_since or time()) if error.lasting else None
            if refused_since is not None and time() - refused_since >= self._refused_max_s:
                log.error("the broker lets this client in no more: %s", self._why)
                self.end(self._why)
                return None

    def end(self, why: str) -> None:
        """Wake all calls that wait for a session: there will be none."""
        if not self._closed:
            self._closed, self._why = True, why
            self._changed.set()

    async def close(self) -> None:
        """Close the session."""
        self.end("this client has closed it")
        await self._session.close()


def _outcome_of(outgoing: OutgoingMessage, answer: bytes) -> bytes | None:
    """Parse the answer to a query for an outcome: that, if it belongs to exactly this command."""
    try:
        reply = json.loads(answer)
    except ValueError:
        return None
    match reply:
        case {"data": {"record": {"type": str() as kind, "data": {"command": {"data": data}}} as event}}:
            same = data == outgoing.envelope.get("data")
        case {"data": {"record": {"type": str() as kind} as event}}:
            same = True
        case _:
            return None
    # The outcome of another command with the same id: the service will answer this one with id_reused.
    same = same and kind.rpartition(".")[0] == outgoing.envelope["type"]
    same = same and event.get("subject") == outgoing.envelope.get("subject")
    return compact_json(event).encode() if same else None


@asynccontextmanager
async def connected(
    url: str,
    timeout_s: float,
    absence_s: float,
    inquire: Callable[[str, str], OutgoingMessage],
    *,
    refused_max_s: float = REFUSED_MAX_S,
) -> AsyncIterator[Link]:
    """Connect to a broker, and reconnect after each loss. Raises CannotConnect if the first connection fails.

    `inquire` makes the query of a given type about a command with a given id.
    """
    session = await open_client_session(url, timeout_s, absence_s)
    link = Link(url, timeout_s, absence_s, inquire, session, refused_max_s=refused_max_s)
    keeping = asyncio.create_task(link.keep(), name="genlock: keep the connection")
    try:
        yield link
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await link.close()
        if not keeping.cancelled():
            keeping.result()
