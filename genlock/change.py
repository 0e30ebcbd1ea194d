"""The retry loop: a function makes a command of a record's state, until the command is not too late.

After a short pause the loop starts again from the state in the conflict, so a retry costs one message and no read.
After a long pause, which the service advises under contention, it reads the state anew.

One deadline limits the whole call. At the deadline the call raises GaveUp if it has had no effect, otherwise NoAnswer
or Disconnected with the id of the pending command.
"""

import asyncio
import inspect
import random
from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Any, Protocol

from genlock._client.drafts import completed
from genlock._client.fates import outcome_queries
from genlock._client.states import State, read_state
from genlock._client.turns import turn_of
from genlock.commands import Command
from genlock.errors import ClientClosed, Disconnected, GaveUp, InvalidMessage, NoAnswer, NoService
from genlock.schemas.base import Kind
from genlock.schemas.outcomes import Conflict, Outcome

TIMEOUT_S = 30.0
"""The default deadline of a change."""

ATTEMPTS_MIN = 3
"""The rule of thumb from practice: with fewer attempts, three competing clients already fail."""

SENDINGS_MIN = 3
"""The least number of times that an unanswered read or command is repeated within the deadline."""

CONFLICTS_KEPT = 100
"""How many conflicts GaveUp carries at most. It keeps the last ones, because each may hold a large record."""

TRIES_LEFT = 3
LAST_TRY_S = 1.0
"""A pause leaves time before the deadline for TRIES_LEFT tries as long as the last one, and at least LAST_TRY_S."""

JITTER_S = 0.01
"""The random part of a pause. It separates losers that got the same advice."""

FRESH_S = 0.02
"""How long the state in a conflict is assumed to be current under contention."""


class Sender(Protocol):
    """The operations that the loop needs. A call that takes longer than `within_s` raises NoAnswer or Disconnected."""

    async def read_within(self, kind: Kind, record_id: str, within_s: float) -> State | None: ...

    async def send_within(self, command: Command, within_s: float) -> Outcome: ...


class Change:
    """One call of `Client.change`; see there."""

    def __init__(
        self,
        client: Sender,
        kind: Kind,
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
        """Try until a command of `fn` gets a verdict other than a retryable conflict, or `fn` returns None."""
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
        """The time limit of one read or send, short enough to repeat it if its answer is lost."""
        return min(max(self._left_s(), 0.0), self._timeout_s / SENDINGS_MIN)

    async def _read(self) -> State | None:
        """Read the record, repeatedly while no answer comes."""
        while True:
            try:
                return await self._client.read_within(self._kind, self._record_id, self._share_s())
            except (NoAnswer, Disconnected) as error:
                # The call does not wait for a service that has not answered once.
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
        # An async fn does not block the event loop, and may make changes itself: it needs no turn.
        await turn.aclose()
        limit = asyncio.timeout_at(self._deadline)
        try:
            async with limit:
                return await draft
        except TimeoutError:
            # The TimeoutError may come from fn itself.
            if not limit.expired():
                raise
        raise self._gave_up("fn was still at work")

    def _command(self, draft: Any, state: State | None) -> Command:
        try_ = completed(draft, self._kind, self._record_id, state)
        if any(try_.id == conflict.command_id for conflict in self._conflicts):
            raise InvalidMessage(f"fn returned the id {try_.id} again: give each try an id of its own.")
        # All tries have one correlation id, by default that of the first command.
        self._correlationid = self._correlationid or try_.correlationid or try_.id
        return try_.model_copy(
            update={
                "attempt": self._attempts + 1,
                "correlationid": self._correlationid,
                "causationid": self._conflicts[-1].id if self._conflicts else try_.causationid,
            }
        )

    async def _send(self, attempt: Command) -> Outcome:
        """Send one try, repeatedly under its own id while no answer comes."""
        while True:
            try:
                return await self._client.send_within(attempt, self._share_s())
            except (NoAnswer, Disconnected) as error:
                if isinstance(error, ClientClosed):
                    raise
                if self._left_s() <= 0:
                    query = outcome_queries(attempt.type)[0]
                    raise type(error)(
                        f"{error} The deadline of {self._timeout_s:g} s has passed; the query {query} tells what "
                        f"becomes of the try under way, {attempt.type} {attempt.id}.",
                        attempt.id,
                    ) from error

    async def _state_after(self, conflict: Conflict, try_s: float) -> State | None:
        """Pause, and return the state in the conflict, or read it if that is too old or not in the event.

        The event omits the state if it is too large, and if a consumer's command conflicts on a provider.
        """
        left_s = self._left_s()
        if left_s <= 0:
            raise self._gave_up("another command had come first again")
        # The pause is at least the advised one, but shorter if the last try would otherwise miss the deadline.
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
