"""The retry loop: what a function makes of a record's state is tried until nobody was faster.

After a short pause it starts again from the state that the conflict itself carried, so that a retry costs one message
and no read; after a long one, which the service advises to each of a crowd, from the state as it is by then.
"""

import asyncio
import inspect
import random
from collections.abc import Callable
from typing import Any, Protocol

from uuid_utils.compat import uuid7

from genlock._drafts import completed
from genlock._states import ReadableKind, State, read_state
from genlock.commands import Command, command
from genlock.errors import Disconnected, GaveUp, NoAnswer
from genlock.schemas.outcomes import Conflict, Outcome

ATTEMPTS = 5
ATTEMPTS_MIN = 3
"""The rule of thumb from practice: with fewer, a crowd of three already fails for no good reason."""

SENDINGS_MAX = 3
"""How often one try is sent while no answer comes."""

JITTER_S = 0.01
"""The range that pauses are spread over, so that losers who were told the same do not meet again."""


FRESH_S = 0.02
"""How long a record that was just fought over is likely to stay as it is."""


class Sender(Protocol):
    """What the loop needs of a client."""

    async def get(self, kind: ReadableKind, record_id: str) -> State | None: ...

    async def send(self, command: Command) -> Outcome: ...


async def change(
    client: Sender,
    kind: ReadableKind,
    record_id: str,
    fn: Callable[[Any], Any],
    *,
    attempts: int,
    correlationid: str | None,
) -> Outcome | None:
    """Try until a command of `fn`'s is decided on its merits; `Client.change` says the rest."""
    if attempts < ATTEMPTS_MIN:
        raise ValueError(f"At least {ATTEMPTS_MIN} attempts are needed, not {attempts}.")
    conflicts: list[Conflict] = []
    state = await client.get(kind, record_id)
    while True:
        draft = fn(state)
        if inspect.isawaitable(draft):
            draft = await draft
        if draft is None:
            return None
        command_id = str(uuid7())
        # The whole chain has one correlation id: by default the id of its first command.
        correlationid = correlationid or command_id
        outcome = await _send(
            client,
            command(
                completed(draft, kind, record_id, state),
                subject=record_id,
                id=command_id,
                attempt=len(conflicts) + 1,
                correlationid=correlationid,
                causationid=conflicts[-1].id if conflicts else None,
            ),
        )
        if not isinstance(outcome, Conflict) or not outcome.retry.allowed:
            return outcome
        conflicts.append(outcome)
        if len(conflicts) >= attempts:
            raise GaveUp(f"Somebody else was faster {attempts} times.", conflicts)
        pause_s = _pause_s(outcome)
        await asyncio.sleep(pause_s)
        state = await _state_after(client, kind, record_id, outcome, pause_s)


async def _send(client: Sender, attempt: Command) -> Outcome:
    """Send one try, again under its own id while nothing is heard of it. Raises what the last sending raised."""
    for _ in range(SENDINGS_MAX - 1):
        try:
            return await client.send(attempt)
        except (NoAnswer, Disconnected):
            continue
    return await client.send(attempt)


def _pause_s(conflict: Conflict) -> float:
    """At least what the service advises."""
    return conflict.retry.after_ms / 1000 + random.uniform(0, JITTER_S)  # noqa: S311 - jitter is no secret


async def _state_after(
    client: Sender, kind: ReadableKind, record_id: str, conflict: Conflict, pause_s: float
) -> State | None:
    """The state that the conflict was with; read anew where it is old by now, or where the event has not got it.

    It has not where it did not fit, and where a provider was in the way of a consumer.
    """
    if pause_s > FRESH_S or conflict.data.truncated or conflict.data.kind != kind:
        return await client.get(kind, record_id)
    return None if conflict.current is None else read_state(kind, conflict.current)
