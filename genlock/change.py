"""The retry loop: a function's answer to a record's state is tried until no other command comes first.

After a short pause it starts again from the state that the conflict itself carried, so that a retry costs one message
and no read; after a long one, which the service advises to each of a crowd, from the state as it is by then.

One deadline holds for the whole call. At the deadline the error says what is known: GaveUp if nothing of this call has
an effect, else NoAnswer or Disconnected with the id of the command under way.
"""

import asyncio
import inspect
import random
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

from genlock._drafts import completed
from genlock._states import ReadableKind, State, read_state
from genlock._turns import turn_of
from genlock.commands import Command
from genlock.errors import ClientClosed, Disconnected, GaveUp, InvalidMessage, NoAnswer, NoService
from genlock.schemas.outcomes import Conflict, Outcome

TIMEOUT_S = 30.0
"""How long a change may take by default."""

ATTEMPTS_MIN = 3
"""The rule of thumb from practice: with fewer, a crowd of three already fails for no good reason."""

SENDINGS_MIN = 3
"""How often a read or a command fits into the deadline while no answer comes, at the least."""

CONFLICTS_KEPT = 100
"""How many conflicts GaveUp carries at most, the last ones: each may hold a large record."""

TRIES_LEFT = 3
LAST_TRY_S = 1.0
"""A pause leaves the time of so many tries like the last one, and no less than this, for one that takes longer."""

JITTER_S = 0.01
"""The range that pauses are spread over, so that losers who were told the same do not meet again."""

FRESH_S = 0.02
"""How long a record that was just fought over is likely to stay as it is."""


class Sender(Protocol):
    """What the loop needs of a client. A call that takes longer than `within_s` raises NoAnswer or Disconnected."""

    async def read_within(self, kind: ReadableKind, record_id: str, within_s: float) -> State | None: ...

    async def send_within(self, command: Command, within_s: float) -> Outcome: ...


class Change:
    """One call of `Client.change`, which says what it does."""

    def __init__(
        self,
        client: Sender,
        kind: ReadableKind,
        record_id: str,
        fn: Callable[[Any], Any],
        *,
        attempts: int | None = None,
        timeout_s: float = TIMEOUT_S,
        correlationid: str | None = None,
    ) -> None:
        if attempts is not None and attempts < ATTEMPTS_MIN:
            raise ValueError(f"At least {ATTEMPTS_MIN} attempts are needed, not {attempts}.")
        if not timeout_s > 0:
            raise ValueError(f"The deadline timeout_s has to be more than 0 seconds, not {timeout_s:g}.")
        self._client = client
        self._kind = kind
        self._record_id = record_id
        self._fn = fn
        self._attempts_max = attempts
        self._timeout_s = timeout_s
        self._correlationid = correlationid
        self._time = asyncio.get_running_loop().time
        self._deadline = self._time() + timeout_s
        self._turn = turn_of(kind, record_id)
        self._attempts = 0
        self._conflicts: deque[Conflict] = deque(maxlen=CONFLICTS_KEPT)

    async def run(self) -> Outcome | None:
        """Try until a command of `fn`'s is decided on its merits, or `fn` stops."""
        state = await self._read()
        while True:
            async with AsyncExitStack() as turn:
                if await self._await_turn(turn):
                    state = await self._read()
                began = self._time()
                draft = await self._call_fn(state, turn)
                if draft is None:
                    return None
                if self._left_s() <= 0:
                    raise self._gave_up("fn returned too late for another try")
                outcome = await self._send(self._command(draft, state))
            if not isinstance(outcome, Conflict) or not outcome.retry.allowed:
                return outcome
            self._attempts += 1
            self._conflicts.append(outcome)
            if self._attempts == self._attempts_max:
                raise GaveUp(f"Another command came first at each of {self._attempts} attempts.", self._conflicts)
            state = await self._state_after(outcome, self._time() - began)

    def _left_s(self) -> float:
        return self._deadline - self._time()

    def _share_s(self) -> float:
        """How long one read or sending may wait, so that one whose answer is lost is repeated in time."""
        return min(max(self._left_s(), 0.0), self._timeout_s / SENDINGS_MIN)

    async def _read(self) -> State | None:
        """Read the record, again while no answer comes."""
        while True:
            try:
                return await self._client.read_within(self._kind, self._record_id, self._share_s())
            except (NoAnswer, Disconnected) as error:
                # A service that has never been there in this call is not waited for.
                if isinstance(error, ClientClosed) or (isinstance(error, NoService) and not self._attempts):
                    raise
                if self._left_s() <= 0:
                    raise self._gave_up(f"the record could not be read ({str(error).rstrip('.')})") from error

    async def _await_turn(self, turn: AsyncExitStack) -> bool:
        try:
            return await turn.enter_async_context(self._turn.taken(self._deadline))
        except TimeoutError as error:
            raise self._gave_up("it was the turn of others, whose fn is slow") from error

    async def _call_fn(self, state: State | None, turn: AsyncExitStack) -> Any:
        began = self._time()
        draft = self._fn(state)
        if not inspect.isawaitable(draft):
            self._turn.learn(self._time() - began)
            return draft
        # It leaves the event loop to others while it waits, and may make changes of its own.
        await turn.aclose()
        limit = asyncio.timeout_at(self._deadline)
        try:
            async with limit:
                return await draft
        except TimeoutError:
            # It may be one of fn's own.
            if not limit.expired():
                raise
        raise self._gave_up("fn was still at work")

    def _command(self, draft: Any, state: State | None) -> Command:
        try_ = completed(draft, self._kind, self._record_id, state)
        if any(try_.id == conflict.command_id for conflict in self._conflicts):
            raise InvalidMessage(f"fn returned the id {try_.id} again: give each try an id of its own.")
        # The whole chain has one correlation id: by default that of its first command.
        self._correlationid = self._correlationid or try_.correlationid or try_.id
        return try_.model_copy(
            update={
                "attempt": self._attempts + 1,
                "correlationid": self._correlationid,
                "causationid": self._conflicts[-1].id if self._conflicts else try_.causationid,
            }
        )

    async def _send(self, attempt: Command) -> Outcome:
        """Send one try, again under its own id while no answer comes."""
        while True:
            try:
                return await self._client.send_within(attempt, self._share_s())
            except (NoAnswer, Disconnected) as error:
                if isinstance(error, ClientClosed):
                    raise
                if self._left_s() <= 0:
                    raise type(error)(
                        f"{error} The deadline of {self._timeout_s:g} s has passed; the query command.get tells what "
                        f"becomes of the try under way, {attempt.type} {attempt.id}.",
                        attempt.id,
                    ) from error

    async def _state_after(self, conflict: Conflict, try_s: float) -> State | None:
        """Pause, and return the state that the conflict was with; or a new one if that is old or not in the event.

        It is not in the event if it did not fit, or if a provider was in the way of a consumer.
        """
        left_s = self._left_s()
        if left_s <= 0:
            raise self._gave_up("another command had come first again")
        # At least what the service advises; but a last try comes early rather than not at all.
        pause_s = conflict.retry.after_ms / 1000 + random.uniform(0, JITTER_S)  # noqa: S311 - jitter is no secret
        pause_s = min(pause_s, max(left_s - max(TRIES_LEFT * try_s, LAST_TRY_S), left_s / 2))
        await asyncio.sleep(pause_s)
        if pause_s > FRESH_S or conflict.data.truncated or conflict.data.kind != self._kind:
            return await self._read()
        return None if conflict.current is None else read_state(self._kind, conflict.current)

    def _gave_up(self, why: str) -> GaveUp:
        times = "conflict" if self._attempts == 1 else "conflicts"
        return GaveUp(
            f"The deadline of {self._timeout_s:g} s has passed after {self._attempts} {times}: {why}. This call has "
            "changed nothing.",
            self._conflicts,
        )
