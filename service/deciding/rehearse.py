"""Rehearsing a command: truly deciding it, and taking all of it back. So it is known what it would come to now."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command, Refusal
from genlock.schemas.outcomes import SucceededData, Verdict, parse_outcome
from genlock.service.database import clocks as two_clocks
from genlock.service.database.clocks import Clock, Clocks, ClocksDifferError
from genlock.service.database.transactions import Connection, DatabaseTroubleError, DecideAgainError, Pool, transaction
from genlock.service.deciding.decide import TRIES_MAX
from genlock.service.deciding.fold import INTERNAL_ERROR, fold
from genlock.service.deciding.store import lock_and_read, write
from genlock.service.deciding.verdicts import refused
from genlock.service.kinds.registry import footprint_of
from genlock.service.ledger import events, ledger
from genlock.service.ledger.events import timestamp
from genlock.service.ledger.ledger import Entry

REHEARSAL = "/rehearsal"
"""The source of events that nobody will ever see."""


@dataclass(frozen=True, slots=True)
class Rehearsed:
    """The verdict that a command would get; `decided` if it has it already and would only be told it again."""

    verdict: Verdict
    decided: bool = False


async def rehearse(
    pool: Pool,
    command: Command,
    *,
    retention: timedelta,
    timeout_s: float,
    clock: Clock = two_clocks.now,
) -> Rehearsed:
    """Decide a command as Decider does, alone and against what is there now, in a transaction that is rolled back.

    Its records are locked meanwhile, as by any command. Raises DatabaseTroubleError.
    """
    for before in range(TRIES_MAX):
        try:
            async with transaction(pool, timeout_s, rehearsal=True) as connection:
                return await _decide(connection, command, clock(), retention, alone=before > 0)
        except DecideAgainError:
            continue
        except DatabaseTroubleError:
            raise
        except Exception:  # noqa: BLE001 - what poisons its transaction would be rejected for that
            return Rehearsed(refused(command, None, INTERNAL_ERROR).verdict)
    raise DatabaseTroubleError(f"command {command.id} was rolled back {TRIES_MAX} times")


async def _decide(
    connection: Connection, command: Command, now: datetime, retention: timedelta, *, alone: bool
) -> Rehearsed:
    """Answer a known id, lock and read, fold, write, and last the ledger: what may fail must have its chance to."""
    found, told = await ledger.find_now(connection, {command.id})
    decided, clocks = found.get(command.id), Clocks(now, told, now)
    if decided is not None:
        if decided.content_hash == command.content_hash:
            return Rehearsed(parse_outcome(decided.event.body).data, decided=True)
        refusal = Refusal(Code.ID_REUSED, f"The id {command.id} was used before, for other content.")
        return Rehearsed(refused(command, None, refusal).verdict)
    state = await lock_and_read(connection, footprint_of([command]), alone=alone)
    before = dict(state.records)
    folded = fold(state, [command], now, retention, clocks=clocks)
    if folded.doubtful:
        raise ClocksDifferError(frozenset(folded.doubtful), clocks)
    await write(connection, before, state, folded.changes)
    (verdict,) = folded.verdicts
    event = events.build(command, verdict, REHEARSAL, timestamp(now))
    entry = Entry(command.id, command.content_hash, events.verdict_name(verdict), event)
    if await ledger.record(connection, [entry]) is None:
        raise DecideAgainError("another consumer decided the command meanwhile")
    # A success that changes nothing is that of a command which the ledger has forgotten and its record has not.
    return Rehearsed(verdict, decided=isinstance(verdict, SucceededData) and not folded.changes)
