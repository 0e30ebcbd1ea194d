"""The client's way to the broker, which outlives any one connection.

There is one session at a time. When it is lost, the next one is opened, and everything that waits finds out there what
has become of it: a command whose outcome is known is answered with that, another one is sent again under its own id,
which the service answers once whatever it gets. Every wait has a deadline, save that for the next event.
"""

import asyncio
import json
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

from genlock._bulk import BulkLetter
from genlock._letters import Letter
from genlock._session import AnyLetter, Session, SessionLostError, open_session
from genlock.errors import CannotConnect, ClientClosed, Disconnected, NoAnswer, NoService, NotTaken
from genlock.schemas.base import compact_json

T = TypeVar("T")

PAUSE_FIRST_S = 0.1
PAUSE_MAX_S = 5.0
OPEN_TIMEOUT_S = 10.0
"""How long one try to connect again may take: a shorter time than callers have, so that they see more than one."""

REFUSED_MAX_S = 60.0
"""How long the broker may refuse what only a person can mend, such as a password that is being changed."""

FATE_TIMEOUT_S = 5.0
"""How long the service may take to say what has become of a command, before that is sent again without knowing."""

log = logging.getLogger(__name__)


class Pauses:
    """Pauses that double, each spread over half of its length, so that clients that were cut off together part."""

    def __init__(self) -> None:
        self._next_s = PAUSE_FIRST_S

    async def take(self) -> None:
        """Wait a little, the next time longer."""
        pause_s, self._next_s = self._next_s, min(2 * self._next_s, PAUSE_MAX_S)
        await asyncio.sleep(random.uniform(pause_s / 2, pause_s))  # noqa: S311 - jitter is no secret

    def reset(self) -> None:
        """Begin again with the shortest."""
        self._next_s = PAUSE_FIRST_S


class Link:
    """Publishes and asks, through one session after another. Made by `connected()`."""

    def __init__(
        self, url: str, timeout_s: float, absence_s: float, inquire: Callable[[str], Letter], session: Session
    ) -> None:
        self._url = url
        self.timeout_s = timeout_s
        self._absence_s = absence_s
        self._inquire = inquire
        self._session = session
        self._changed = asyncio.Event()
        self._closed = False
        self._why = ""

    async def publish(self, letter: AnyLetter) -> None:
        """Publish, and wait until the broker has confirmed it. Raises NotTaken, Unanswered and InvalidMessage."""
        message = letter.message()
        async with self.deadline(letter.command_id):
            await self._through(letter, lambda session: session.publish(letter, message), lambda _outcome: None)

    async def ask(self, letter: AnyLetter, within_s: float | None = None) -> bytes:
        """Publish and wait for the answer: its body. One deadline holds for both. Raises as `publish` does."""
        message = letter.message()
        async with self.deadline(letter.command_id, within_s):
            return await self._through(letter, lambda session: session.ask(letter, message), lambda outcome: outcome)

    async def _through(
        self, letter: AnyLetter, attempt: Callable[[Session], Awaitable[T]], settled: Callable[[bytes], T]
    ) -> T:
        """Do it in this session, or in a later one unless it turns out to have been done."""
        while True:
            session = await self.session(letter.command_id)
            try:
                return await attempt(session)
            except SessionLostError:
                outcome = await self._fate(letter)
            if outcome is not None:
                return settled(outcome)

    async def _fate(self, letter: AnyLetter) -> bytes | None:
        """The outcome of a command that was perhaps taken in a session that is lost; None where it is not known."""
        if isinstance(letter, BulkLetter) or letter.id is None or not letter.persistent:
            return None
        query = self._inquire(letter.id)
        message = query.message()
        try:
            async with asyncio.timeout(FATE_TIMEOUT_S):
                answer = await self._through(query, lambda session: session.ask(query, message), lambda body: body)
        except (TimeoutError, NotTaken, NoService):
            return None
        return _outcome_of(letter, answer)

    async def session(self, command_id: str | None = None) -> Session:
        """The session, as soon as there is one. Raises Disconnected once this client is closed."""
        while self._closed or self._session.lost.is_set():
            if self._closed:
                raise self.disconnected(command_id)
            self._changed.clear()
            await self._changed.wait()
        return self._session

    @asynccontextmanager
    async def deadline(self, command_id: str | None = None, within_s: float | None = None) -> AsyncIterator[None]:
        """Within which it has to be done. Raises NoAnswer or Disconnected."""
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
        """Open a new session whenever the one that there was is lost, until this task is cancelled."""
        pauses = Pauses()
        time = asyncio.get_running_loop().time
        try:
            while True:
                opened_at = time()
                await self._session.lost.wait()
                log.warning("the connection to the broker is lost: %s", self._session.why)
                # What is lost as soon as it is there must not be opened again without end at full speed.
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

    async def _reopen(self, pauses: Pauses) -> Session | None:
        """Try until there is a session, whatever callers have for time; None once the broker lets us in no more."""
        time = asyncio.get_running_loop().time
        refused_since: float | None = None
        timeout_s = min(self.timeout_s, OPEN_TIMEOUT_S)
        while True:
            await pauses.take()
            try:
                return await open_session(self._url, timeout_s, self._absence_s, reopened=True)
            except CannotConnect as error:
                self._why = str(error).rstrip(".")
                refused_since = (refused_since or time()) if error.lasting else None
            if refused_since is not None and time() - refused_since >= REFUSED_MAX_S:
                log.error("the broker lets this client in no more: %s", self._why)
                self.end(self._why)
                return None

    def end(self, why: str) -> None:
        """Wake up everybody who waits for a session: there will be none."""
        if not self._closed:
            self._closed, self._why = True, why
            self._changed.set()

    async def close(self) -> None:
        """Close what is open."""
        self.end("this client has closed it")
        await self._session.close()


def _outcome_of(letter: Letter, answer: bytes) -> bytes | None:
    """Read the answer to `command.get`: the outcome, where it is one of this very command."""
    try:
        reply = json.loads(answer)
    except ValueError:
        return None
    match reply:
        case {"data": {"record": {"type": str() as kind, "data": {"command": {"data": data}}} as event}}:
            same = data == letter.envelope.get("data")
        case {"data": {"record": {"type": str() as kind} as event}}:
            same = True
        case _:
            return None
    # Another command's under the same id: the service says so when it gets this one.
    same = same and kind.rpartition(".")[0] == letter.envelope["type"]
    same = same and event.get("subject") == letter.envelope.get("subject")
    return compact_json(event).encode() if same else None


@asynccontextmanager
async def connected(
    url: str, timeout_s: float, absence_s: float, inquire: Callable[[str], Letter]
) -> AsyncIterator[Link]:
    """Connect to a broker, and again whenever that is lost. Raises CannotConnect if the first connection fails.

    `inquire` makes the query that tells the outcome of the command with a given id.
    """
    link = Link(url, timeout_s, absence_s, inquire, await open_session(url, timeout_s, absence_s))
    keeping = asyncio.create_task(link.keep(), name="genlock: keep the connection")
    try:
        yield link
    finally:
        keeping.cancel()
        await asyncio.wait({keeping})
        await link.close()
        if not keeping.cancelled():
            keeping.result()
