"""Deciding a batch: one transaction that answers known ids, locks and reads, folds, and writes, ledger last.

This page is the whole trip of a batch through PostgreSQL. The WHERE clauses fence, the fold explains.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command, Refusal
from genlock.schemas.outcomes import SucceededData, Verdict, id_reused_id, parse_outcome
from genlock.schemas.values import value
from genlock.service.database import clocks as two_clocks
from genlock.service.database.clocks import Clock, Clocks, ClocksDifferError
from genlock.service.database.statements import statement
from genlock.service.database.transactions import (
    Connection,
    DatabaseTroubleError,
    DecideAgainError,
    Pool,
    TooSlowError,
    acquired,
    await_standby,
    transaction,
)
from genlock.service.deciding import tracing
from genlock.service.deciding.contention import Crowds
from genlock.service.deciding.failpoints import Reached, Step, ignore
from genlock.service.deciding.fold import INTERNAL_ERROR, Folded, fold
from genlock.service.deciding.outcome_log import log_outcomes
from genlock.service.deciding.state import State
from genlock.service.deciding.store import lock_and_read, write
from genlock.service.deciding.suspects import CRASHES_MAX, Suspects
from genlock.service.deciding.tracing import BatchTrace
from genlock.service.deciding.verdicts import refused
from genlock.service.kinds.registry import footprint_of
from genlock.service.ledger import events, ledger
from genlock.service.ledger.events import Event, timestamp
from genlock.service.ledger.ledger import Decided, Entry

TRIES_MAX = 5
"""How often a batch is decided again as a whole before it is halved."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Answers:
    """One event for each command of a batch, in their order, and the batches in the ledger that hold them.

    `faulty` are the ids of the commands that ended as internal_error just now; their messages belong in the dead
    letters too.
    """

    events: list[Event]
    batch_ids: list[int]
    faulty: frozenset[str] = frozenset()

    def __add__(self, other: "Answers") -> "Answers":
        return Answers(self.events + other.events, self.batch_ids + other.batch_ids, self.faulty | other.faulty)


@dataclass(frozen=True, slots=True)
class DryRun:
    """The verdict that a command would get; `decided` if it has it already and would only be told it again."""

    verdict: Verdict
    decided: bool = False


@value
class _Batch:
    """A batch that is decided, and not committed yet."""

    fresh: Sequence[Command]
    """The commands that were decided now, with an entry for the ledger each."""
    decided: dict[str, Decided]
    """What was decided now or before, by the id of its command."""
    folded: Folded
    entries: list[Entry]
    ids: list[int]
    """The batch in the ledger; none where nothing was decided anew."""
    state: State
    decided_at: str


class Decider:
    """Decides batches, one transaction each. Several may run at once, here and elsewhere."""

    def __init__(
        self,
        pool: Pool,
        *,
        source: str,
        retention: timedelta,
        timeout_s: float,
        clock: Clock = two_clocks.now,
        reached: Reached = ignore,
    ) -> None:
        self._pool = pool
        self._source = source
        self._retention = retention
        self._timeout_s = timeout_s
        self._clock = clock
        self._reached = reached
        self._crowds = Crowds()
        self.suspects = Suspects(pool, timeout_s)

    async def decide(self, commands: Sequence[Command], confirmed: Collection[int] = ()) -> Answers:
        """Decide the commands in their order and return their events, which are in the ledger by then.

        `confirmed` are earlier batches whose events the broker has confirmed; the transaction notes them.
        Raises DatabaseTroubleError while the database cannot work; nothing is lost by calling again.
        """
        for before in range(TRIES_MAX):
            try:
                with tracing.batch(commands) as traced:
                    return await self._transact(commands, confirmed, traced, alone=before > 0)
            except DecideAgainError as again:
                log.info("decide_again", action="decide_again", why=str(again), commands=len(commands))
            except TooSlowError:
                if len(commands) == 1:
                    raise
                break
            except DatabaseTroubleError:
                raise
            except Exception as error:
                if len(commands) == 1:
                    log.exception("poison", action="poison", command_id=commands[0].id, why=str(error))
                    return await self._reject_poison(commands[0], confirmed)
                break
        if len(commands) == 1:
            raise DatabaseTroubleError(f"command {commands[0].id} was rolled back {TRIES_MAX} times")
        half = len(commands) // 2
        return await self.decide(commands[:half], confirmed) + await self.decide(commands[half:])

    async def for_newer(self, commands: Sequence[Command]) -> frozenset[str]:
        """Return the ids of the commands of types that only newer programs know: to decide them is theirs.

        There are such during an upgrade, once the newer one has migrated (docs/upgrading.md). Raises
        DatabaseTroubleError.
        """
        unknown = [command for command in commands if command.unknown]
        if not unknown:
            return frozenset()
        ids, types = [command.id for command in unknown], [command.echo.type for command in unknown]
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(statement("find_newer"), ids, types)
        return frozenset(str(row["id"]) for row in rows)

    async def decide_suspects(self, commands: Sequence[Command], confirmed: Collection[int] = ()) -> Answers:
        """Decide commands that may have killed their process before, each alone. Raises as `decide` does."""
        answers = Answers([], [])
        for number, command in enumerate(commands):
            answers += await self.decide_suspect(command, () if number else confirmed)
        return answers

    async def decide_suspect(self, command: Command, confirmed: Collection[int] = ()) -> Answers:
        """Decide a command that may have killed its process before: noted first, and not tried for ever.

        Raises as `decide` does; calling again in the same process is the same try.
        """
        crashes = await self.suspects.record_attempt(command.id)
        if crashes >= CRASHES_MAX:
            log.error("gave up", action="poison", command_id=command.id, type=command.type, crashes=crashes)
            answers = await self._reject_poison(command, confirmed)
        else:
            answers = await self.decide([command], confirmed)
        await self.suspects.clear_attempts(command.id)
        return answers

    async def dry_run(self, command: Command) -> DryRun:
        """Decide a command alone, against what is there now, in a transaction that is rolled back.

        Its records are locked meanwhile, as by any command. Raises DatabaseTroubleError.
        """
        for before in range(TRIES_MAX):
            try:
                async with transaction(self._pool, self._timeout_s, dry_run=True) as connection:
                    batch = await self._decide(connection, [command], (), tracing.OFF, alone=before > 0)
            except DecideAgainError:
                continue
            except DatabaseTroubleError:
                raise
            except Exception:  # noqa: BLE001 - what poisons its transaction would be rejected for that
                return DryRun(refused(command, None, INTERNAL_ERROR).verdict)
            return self._dry_run(command, batch)
        raise DatabaseTroubleError(f"command {command.id} was rolled back {TRIES_MAX} times")

    def _dry_run(self, command: Command, batch: _Batch) -> DryRun:
        if not batch.entries:
            known = batch.decided[command.id].content_hash == command.content_hash
            return DryRun(parse_outcome(self._answer(command, batch).body).data, decided=known)
        (verdict,) = batch.folded.verdicts
        # A success that changes nothing is that of a command whose ledger row has expired.
        return DryRun(verdict, decided=isinstance(verdict, SucceededData) and not batch.folded.changes)

    async def _transact(
        self, commands: Sequence[Command], confirmed: Collection[int], traced: BatchTrace, *, alone: bool = False
    ) -> Answers:
        """Decide a batch in one transaction, and commit it."""
        async with transaction(self._pool, self._timeout_s) as connection:
            batch = await self._decide(connection, commands, confirmed, traced, alone=alone)
        if not batch.entries:
            # Nothing was written, so that no COMMIT has waited for the standby to have what the ledger says.
            async with acquired(self._pool, self._timeout_s) as connection:
                await await_standby(connection, self._timeout_s)
        self._reached(Step.COMMITTED)
        answers = [self._answer(command, batch) for command in commands]
        return Answers(answers, batch.ids, _log(batch))

    async def _decide(
        self,
        connection: Connection,
        commands: Sequence[Command],
        confirmed: Collection[int],
        traced: BatchTrace,
        *,
        alone: bool,
    ) -> _Batch:
        """Answer known ids, lock and read, fold, write, and last the ledger.

        `alone` keeps other batches from moving anything meanwhile, so that it cannot be gone again at each try.
        """
        self._reached(Step.BEGUN)
        now = self._clock()
        decided, told = await ledger.find_now(connection, {command.id for command in commands})
        clocks = Clocks(now, told, self._clock())
        fresh, reused = _sort_out(commands, decided)
        self._reached(Step.KNOWN_ANSWERED)
        state = await lock_and_read(connection, footprint_of([*fresh, *reused]), alone=alone)
        before = dict(state.records)
        self._reached(Step.LOCKED)
        folded = fold(state, fresh, now, self._retention, clocks=clocks)
        if folded.doubtful:
            raise ClocksDifferError(frozenset(folded.doubtful), clocks)
        await write(connection, before, state, folded.changes)
        self._reached(Step.WRITTEN)
        folded.verdicts = self._crowds.advise(folded.verdicts, time.monotonic())
        entries = self._entries(fresh, folded, timestamp(now), traced)
        batch_ids = await _record(connection, entries)
        if confirmed:
            await ledger.confirm(connection, confirmed)
        self._reached(Step.RECORDED)
        decided |= {entry.command_id: Decided(entry.content_hash, entry.event) for entry in entries}
        return _Batch(fresh, decided, folded, entries, batch_ids, state, timestamp(now))

    async def confirm(self, batch_ids: Collection[int]) -> None:
        """Note that the broker has confirmed the batches, when no transaction came along to carry the note."""
        async with transaction(self._pool, self._timeout_s) as connection:
            await ledger.confirm(connection, batch_ids)

    async def _reject_poison(self, command: Command, confirmed: Collection[int]) -> Answers:
        poison = replace(command, data=INTERNAL_ERROR)
        try:
            answers = await self._transact([poison], confirmed, tracing.OFF)
        except DatabaseTroubleError:
            raise
        except Exception:
            # Then its dead letter is its record, and nobody waits for its outcome in vain.
            log.exception("rejection not recorded", action="poison", command_id=command.id)
            verdict = refused(poison, None, INTERNAL_ERROR).verdict
            answers = Answers([events.build(poison, verdict, self._source, timestamp(self._clock()))], [])
        else:
            if not answers.batch_ids:
                return answers  # Another consumer has decided it meanwhile, and lived.
        return replace(answers, faulty=frozenset({command.id}))

    def _entries(self, fresh: Sequence[Command], folded: Folded, decided_at: str, traced: BatchTrace) -> list[Entry]:
        entries = []
        for command, verdict in zip(fresh, folded.verdicts, strict=True):
            traced.decided(command, verdict)
            context = traced.context(command)
            event = events.build(command, verdict, self._source, decided_at, trace_context=context)
            entries.append(Entry(command.id, command.content_hash, events.verdict_name(verdict), event))
        return entries

    def _answer(self, command: Command, batch: _Batch) -> Event:
        """The decided event for a copy of its command; for another command under its id, that the id is used up."""
        decided = batch.decided[command.id]
        if command.content_hash == decided.content_hash:
            return decided.event
        refusal = Refusal(Code.ID_REUSED, f"The id {command.id} was used before, for other content.")
        record = batch.state.records.get((command.kind, command.subject)) if command.kind else None
        verdict: Verdict = refused(command, record, refusal).verdict
        event_id = id_reused_id(command.id, command.content_hash)
        return events.build(command, verdict, self._source, batch.decided_at, event_id=event_id)


def _sort_out(commands: Sequence[Command], decided: dict[str, Decided]) -> tuple[list[Command], list[Command]]:
    """The first command of each id that is not decided, and those that use an id again for other content."""
    first: dict[str, Command] = {}
    reused = []
    for command in commands:
        if command.id not in decided:
            first.setdefault(command.id, command)
        known = decided.get(command.id) or first[command.id]
        if known.content_hash != command.content_hash:
            reused.append(command)
    return list(first.values()), reused


async def _record(connection: Connection, entries: Sequence[Entry]) -> list[int]:
    """Write the ledger rows, in the order of their ids; the batch's id, none where nothing was decided anew."""
    if not entries:
        return []
    batch_id = await ledger.record(connection, sorted(entries, key=lambda entry: entry.command_id))
    if batch_id is None:
        raise DecideAgainError("another consumer decided one of the commands meanwhile")
    return [batch_id]


def _log(batch: _Batch) -> frozenset[str]:
    """Log what was decided; return the ids of the commands that a rule failed on."""
    log_outcomes(batch.fresh, batch.folded.verdicts)
    for command, trace in batch.folded.faults:
        log.error("poison", action="poison", command_id=command.id, type=command.type, exception=trace)
    return frozenset(command.id for command, _ in batch.folded.faults)
