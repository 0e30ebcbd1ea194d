"""Deciding a batch: one transaction that answers known ids, locks and reads, folds, and writes, ledger last.

This page is the whole trip of a batch through PostgreSQL. The WHERE clauses fence, the fold explains.
"""

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import SucceededData, Verdict, id_reused_id, parse_outcome
from genlock.schemas.values import value
from genlock.service.database import clocks as two_clocks
from genlock.service.database.clocks import Clock, Clocks, ClocksDifferError
from genlock.service.database.statements import statement
from genlock.service.database.steady import SteadyClock
from genlock.service.database.transactions import (
    Connection,
    DatabaseTroubleError,
    DecideAgainError,
    Pool,
    acquired,
    await_standby,
    transaction,
)
from genlock.service.deciding import tracing
from genlock.service.deciding.batch_outcomes import BatchOutcomes, CommandOutcome, HeldCommand
from genlock.service.deciding.blame import (
    LASTING_ERRORS,
    BehindHeldError,
    Blame,
    check_not_behind,
    follow,
    hold,
)
from genlock.service.deciding.contention import Contention
from genlock.service.deciding.copies import check_answers, reuse_refused, sort_out
from genlock.service.deciding.failpoints import Failpoint, Step, ignore
from genlock.service.deciding.fold import INTERNAL_ERROR, Folded, fold
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.isolation import Isolation
from genlock.service.deciding.kind import Kinds
from genlock.service.deciding.limits import OUTCOMES_BYTES_MAX, TooMuchError, bytes_of, too_large
from genlock.service.deciding.outcome_log import log_outcomes
from genlock.service.deciding.patience import Patience
from genlock.service.deciding.state import State
from genlock.service.deciding.store import lock_and_read, write
from genlock.service.deciding.suspects import CRASHES_MAX, Suspects
from genlock.service.deciding.tracing import BatchTrace
from genlock.service.deciding.verdicts import refused
from genlock.service.ledger import events, ledger, outbox
from genlock.service.ledger.events import timestamp
from genlock.service.ledger.held import check_still_held
from genlock.service.ledger.ledger import Decided, Entry, LargeEventsError
from genlock.service.ledger.messages import StoredMessage

TRIES_MAX = 5
"""How often a batch is decided again as a whole before it is halved."""

log = structlog.get_logger()


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
    """The decisions, made now or before, by the id of their command."""
    folded: Folded
    entries: list[Entry]
    ids: list[int]
    """The batch in the ledger; none where nothing was decided anew."""
    messages: dict[str, list[StoredMessage]]
    """The further messages of the commands that were decided now, by command id."""
    state: State
    decided_at: str


class Decider:
    """Decides batches, one transaction each. Several may run at once, here and elsewhere.

    Without `heed_held` it decides commands though others are held on their records: those whose turn it is.
    """

    def __init__(
        self,
        pool: Pool,
        kinds: Kinds,
        *,
        source: str,
        retention: timedelta,
        timeout_s: float,
        clock: Clock = two_clocks.now,
        steady: SteadyClock | None = None,
        failpoint: Failpoint = ignore,
        heed_held: bool = True,
    ) -> None:
        self._pool = pool
        self.kinds = kinds
        self._source = source
        self._retention = retention
        self._timeout_s = timeout_s
        self._clock = clock
        self._steady = steady or SteadyClock()
        self._failpoint = failpoint
        self._contention = Contention()
        self._heed_held = heed_held
        self._patience = Patience(timeout_s)
        self._blame = Blame(pool, kinds, source, timeout_s)
        self._isolation = Isolation(self._blame, kinds, attempt=self._try, reject=self._reject_poison)
        self.suspects = Suspects(pool, timeout_s)

    async def decide(
        self,
        commands: Sequence[Command],
        confirmed: Collection[int] = (),
        footprint: Footprint | None = None,
        *,
        patient: bool = False,
    ) -> BatchOutcomes:
        """Decide the commands in their order and return their events, which are in the ledger by then.

        What only some commands fail of does not keep the others from being decided; some may be held. `confirmed` are
        earlier batches whose events the broker has confirmed; the transaction notes them. `footprint` is that of these
        commands, if it is known already. `patient` takes time to find out what a lone command fails of.
        Raises DatabaseTroubleError while the database cannot work, and TooMuchError where several commands come to
        more than one transaction may read or make, or NotHeldError; nothing is lost by calling again.
        """
        try:
            return await self._try(commands, confirmed, footprint)
        except LASTING_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - what it follows is found by experiment
            await self._isolation.check_works(commands, error)
            if confirmed:
                await self.confirm(confirmed)
            return replace(await self._isolation.isolate(commands, error, patient=patient), retried=True)

    async def _try(
        self,
        commands: Sequence[Command],
        confirmed: Collection[int] = (),
        footprint: Footprint | None = None,
        *,
        quick: bool = False,
    ) -> BatchOutcomes:
        """Decide the commands as a batch. Raises whatever keeps that from being committed."""
        again: DecideAgainError | None = None
        for before in range(TRIES_MAX):
            try:
                with tracing.batch(commands) as traced:
                    return await self._transact(
                        commands, confirmed, traced, footprint, exclusive=before > 0, quick=quick
                    )
            except (TooMuchError, LargeEventsError) as error:
                if len(commands) > 1:
                    raise TooMuchError(str(error), getattr(error, "fits", None)) from error
                commands, footprint = [replace(commands[0], data=too_large(error))], None
            except BehindHeldError as behind:
                return await self._try_others(commands, confirmed, behind, quick=quick)
            except DecideAgainError as error:
                log.info("decide_again", action="decide_again", why=str(error), commands=len(commands))
                again = error
        raise DatabaseTroubleError(f"rolled back {TRIES_MAX} times: {again}") from again

    async def _try_others(
        self, commands: Sequence[Command], confirmed: Collection[int], behind: BehindHeldError, *, quick: bool
    ) -> BatchOutcomes:
        """Decide the commands that are behind no held ones."""
        held = BatchOutcomes([], [], held=behind.held)
        if rest := [command for command in commands if command.id not in behind.held]:
            return await self._try(rest, confirmed, quick=quick) + held
        if confirmed:
            await self.confirm(confirmed)
        return held

    async def hold_if_locked(self, command: Command) -> HeldCommand | None:
        """Hold a command if something of it is locked. Waits for no lock. Raises DatabaseTroubleError."""
        keys = await self._blame.locked([command])
        return hold(self.kinds, command, keys, "another session has locked it") if keys else None

    async def for_newer(self, commands: Sequence[Command]) -> frozenset[str]:
        """Return the ids of the commands whose types only newer programs know, and which those are to decide.

        There are such commands during an upgrade, once the newer program has migrated (docs/upgrading.md). Raises
        DatabaseTroubleError.
        """
        unknown = [command for command in commands if command.unknown]
        if not unknown:
            return frozenset()
        ids, types = [command.id for command in unknown], [command.echo.type for command in unknown]
        async with acquired(self._pool, self._timeout_s) as connection:
            rows = await connection.fetch(statement("find_newer"), ids, types)
        return frozenset(str(row["id"]) for row in rows)

    async def decide_suspects(self, commands: Sequence[Command], confirmed: Collection[int] = ()) -> BatchOutcomes:
        """Decide commands that may have killed their process before, each alone. Raises as `decide` does."""
        outcomes = BatchOutcomes([], [])
        for number, command in enumerate(commands):
            waited_for = frozenset[str]().union(*(one.records for one in outcomes.held.values()))
            _, held = follow(self.kinds, [command], waited_for, "an earlier command is held")
            if held:
                outcomes += BatchOutcomes([], [], held=held)
            else:
                outcomes += await self.decide_suspect(command, () if number else confirmed)
        return outcomes

    async def decide_suspect(self, command: Command, confirmed: Collection[int] = ()) -> BatchOutcomes:
        """Decide a command that may have killed its process before. Its attempts are recorded first, and limited.

        Raises as `decide` does. Calling again in the same process is the same attempt.
        """
        crashes = await self.suspects.record_attempt(command.id)
        if crashes >= CRASHES_MAX:
            log.error("gave up", action="poison", command_id=command.id, type=command.type, crashes=crashes)
            if confirmed:
                await self.confirm(confirmed)
            outcomes = await self._isolation.reject(command)
        else:
            outcomes = await self.decide([command], confirmed)
        await self.suspects.clear_attempts(command.id)
        return outcomes

    async def dry_run(self, command: Command) -> DryRun:
        """Decide a command alone, against the current records, in a transaction that is rolled back.

        Its records are locked meanwhile, as by any command. Raises DatabaseTroubleError.
        """
        for before in range(TRIES_MAX):
            try:
                async with transaction(self._pool, self._timeout_s, dry_run=True) as connection:
                    batch = await self._decide(
                        connection, [command], (), tracing.OFF, exclusive=before > 0, heed_held=False
                    )
            except DecideAgainError:
                continue
            except (TooMuchError, LargeEventsError) as error:
                return DryRun(refused(command, None, too_large(error)).verdict)
            except DatabaseTroubleError:
                raise
            except Exception:  # noqa: BLE001 - what poisons its transaction would be rejected for that
                return DryRun(refused(command, None, INTERNAL_ERROR).verdict)
            return self._dry_run(command, batch)
        raise DatabaseTroubleError(f"command {command.id} was rolled back {TRIES_MAX} times")

    def _dry_run(self, command: Command, batch: _Batch) -> DryRun:
        if not batch.entries:
            known = batch.decided[command.id]
            if known.content_hash == command.content_hash:
                return DryRun(parse_outcome(known.event.body).data, decided=True)
            return DryRun(reuse_refused(command, batch.state))
        (verdict,) = batch.folded.verdicts
        # A success that changes nothing is that of a command whose ledger row has expired.
        return DryRun(verdict, decided=isinstance(verdict, SucceededData) and not batch.folded.changes)

    async def _transact(
        self,
        commands: Sequence[Command],
        confirmed: Collection[int],
        traced: BatchTrace,
        footprint: Footprint | None = None,
        *,
        exclusive: bool = False,
        quick: bool = False,
    ) -> BatchOutcomes:
        """Decide a batch in one transaction, and commit it."""
        async with (
            transaction(self._pool, self._timeout_s) as connection,
            self._patience.limited(connection, len(commands), quick=quick),
        ):
            batch = await self._decide(
                connection, commands, confirmed, traced, footprint, exclusive=exclusive, heed_held=self._heed_held
            )
            if not self._heed_held:
                await check_still_held(connection, {command.id for command in commands})
        if not batch.entries:
            # Without a write no COMMIT has waited until the standby has the ledger's rows.
            async with acquired(self._pool, self._timeout_s) as connection:
                await await_standby(connection, self._timeout_s)
        self._failpoint(Step.COMMITTED)
        outcomes = [self._answer(command, batch) for command in commands]
        return BatchOutcomes(outcomes, batch.ids, _log(batch), retried=exclusive)

    async def _decide(
        self,
        connection: Connection,
        commands: Sequence[Command],
        confirmed: Collection[int],
        traced: BatchTrace,
        footprint: Footprint | None = None,
        *,
        exclusive: bool,
        heed_held: bool,
    ) -> _Batch:
        """Answer known ids, lock and read, fold, write, and last the ledger.

        Raises BehindHeldError where commands have to follow held ones, if it is to `heed_held`.

        `exclusive` keeps other batches from moving anything meanwhile, so that it cannot be gone again at each try.
        """
        self._failpoint(Step.BEGUN)
        begun, asked_s = self._clock(), self._steady.monotonic()
        decided, told, holding = await ledger.find_now(connection, {command.id for command in commands})
        fresh, reused = sort_out(commands, decided)
        self._failpoint(Step.KNOWN_ANSWERED)
        if holding and heed_held:
            await check_not_behind(connection, self.kinds, fresh)
        if footprint is None or len(fresh) + len(reused) < len(commands):
            # Without the copies of decided commands, which change nothing and need no lock.
            footprint = self.kinds.footprint_of([*fresh, *reused])
        state, locked_at = await lock_and_read(connection, self.kinds, footprint, exclusive=exclusive)
        now = locked_at or told
        clocks = Clocks(begun, now, self._clock(), self._steady.note(asked_s, now))
        before = dict(state.records)
        self._failpoint(Step.LOCKED)
        kinds = self.kinds
        folded = fold(state, fresh, now, self._retention, kinds.rules, messages=kinds.messages, clocks=clocks)
        if folded.doubtful:
            raise ClocksDifferError(frozenset(folded.doubtful), clocks)
        await write(connection, self.kinds, before, state, folded.changes)
        self._failpoint(Step.WRITTEN)
        folded.verdicts = self._contention.advise(folded.verdicts, time.monotonic())
        entries = self._entries(fresh, folded, timestamp(now), traced)
        batch_ids = await _record(connection, entries)
        messages = await outbox.insert(connection, batch_ids[0], folded.messages) if folded.messages else {}
        if confirmed:
            await ledger.confirm(connection, confirmed)
        self._failpoint(Step.RECORDED)
        decided |= {entry.command_id: Decided(entry.content_hash, entry.event) for entry in entries}
        if len(fresh) < len(commands):
            check_answers(commands, decided)
        return _Batch(fresh, decided, folded, entries, batch_ids, messages, state, timestamp(now))

    async def confirm(self, batch_ids: Collection[int]) -> None:
        """Note that the broker has confirmed the batches, when no transaction came along to carry the note."""
        async with transaction(self._pool, self._timeout_s) as connection:
            await ledger.confirm(connection, batch_ids)

    async def _reject_poison(self, commands: Sequence[Command], *, quick: bool) -> BatchOutcomes:
        """Decide commands as internal_error, and tell which of them were not decided before."""
        poison = [replace(command, data=INTERNAL_ERROR) for command in commands]
        outcomes = await self._transact(poison, (), tracing.OFF, quick=quick)
        return replace(outcomes, faulty=frozenset(one.id for one in commands if outcomes.batch_ids))

    def _entries(self, fresh: Sequence[Command], folded: Folded, decided_at: str, traced: BatchTrace) -> list[Entry]:
        entries: list[Entry] = []
        size = 0
        for command, verdict in zip(fresh, folded.verdicts, strict=True):
            traced.decided(command, verdict)
            context = traced.context(command)
            event = events.build(command, verdict, self._source, decided_at, trace_context=context)
            size += bytes_of(event.body)
            if size > OUTCOMES_BYTES_MAX and entries:
                raise TooMuchError(f"the outcomes have more than {OUTCOMES_BYTES_MAX} bytes", len(entries))
            entries.append(Entry(command.id, command.content_hash, events.verdict_name(verdict), event))
        return entries

    def _answer(self, command: Command, batch: _Batch) -> CommandOutcome:
        """The decided event for a copy of its command; for another command under its id, that the id is used up.

        Further messages go with the first copy alone.
        """
        decided = batch.decided[command.id]
        if command.content_hash == decided.content_hash:
            messages = batch.messages.pop(command.id, ()) if batch.messages else ()
            return CommandOutcome(command, decided.event, messages, decided.unconfirmed)
        verdict, event_id = reuse_refused(command, batch.state), id_reused_id(command.id, command.content_hash)
        return CommandOutcome(
            command, events.build(command, verdict, self._source, batch.decided_at, event_id=event_id)
        )


async def _record(connection: Connection, entries: Sequence[Entry]) -> list[int]:
    """Write the ledger rows, in the order of their ids; the batch's id, none where nothing was decided anew."""
    if not entries:
        return []
    batch_id = await ledger.record(connection, sorted(entries, key=lambda entry: entry.command_id))
    if batch_id is None:
        raise DecideAgainError("another consumer decided one of the commands meanwhile")
    return [batch_id]


def _log(batch: _Batch) -> frozenset[str]:
    """Log the verdicts; return the ids of the commands that a rule failed on."""
    log_outcomes(batch.fresh, batch.folded.verdicts)
    for command, trace in batch.folded.faults:
        log.error("poison", action="poison", command_id=command.id, type=command.type, exception=trace)
    return frozenset(command.id for command, _ in batch.folded.faults)
