"""Blame: whether it is everything, a record or a command that keeps a batch from being decided, found by experiment.

An error tells what PostgreSQL could not do, and not whose fault that is: the same trigger, lock or damaged page may
stand in the way of all records, of one, or of what one command writes. So a command that fails alone is taken apart.
Each experiment is a transaction like that of a batch, which is rolled back:

1. A blank record of each kind that the command touches is made, changed and emptied, under a new id. If that fails,
   nothing can be decided: an outage, in which everything is held.
2. The records of the command are locked, read and written again as they are; one that does not exist is made blank. If
   that fails, it follows the record, and only its commands are held.
3. Both succeed, and the command fails once more: it follows what the command says, which ends as `internal_error`.

A lock proves nothing against a command, so one that waits for a lock is held whatever the experiments say.
"""

import asyncio
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from time import monotonic
from types import MappingProxyType
from typing import Any

import structlog

from genlock.schemas.decode import Command
from genlock.service.database.clocks import ClocksDifferError
from genlock.service.database.statements import statement
from genlock.service.database.transactions import (
    BackendLostError,
    Connection,
    DecideAgainError,
    OtherCrashedError,
    Pool,
    acquired,
    await_standby,
    transaction,
)
from genlock.service.deciding.batch_outcomes import HeldCommand
from genlock.service.deciding.fold import INTERNAL_ERROR, Change
from genlock.service.deciding.footprint import Footprint, key_of, key_of_name
from genlock.service.deciding.kind import Kinds
from genlock.service.deciding.limits import TooMuchError
from genlock.service.deciding.record import RecordKey
from genlock.service.deciding.store import find, lock_and_read, name_lock, write
from genlock.service.deciding.verdicts import refused
from genlock.service.ledger import events, ledger
from genlock.service.ledger.held import NotHeldError, blocked
from genlock.service.ledger.ledger import Entry

EXPERIMENT_S = 2.0
"""How long an experiment may take, in seconds. One that takes longer has failed."""

QUICK_LOCK_S = 0.2
QUICK_STATEMENT_S = 1.0
"""How long parts of a batch that has failed may wait for a lock, and for a statement. The other commands wait too."""

NAMED_MAX = 32
"""How many records of one command are tried each by itself, to find those in trouble."""

WHY_CHARACTERS_MAX = 1_000
"""How much of an error is kept with a held command."""

RECOVERY_S = 20.0
"""How long PostgreSQL may take until it works again after it has crashed over a command, in seconds."""

RECOVERY_LOOK_S = 0.2

LASTING_ERRORS = (ClocksDifferError, TooMuchError, NotHeldError, OtherCrashedError)
"""Errors that no experiment explains: whoever asked for a decision handles them."""

DECIDED_AT = "1970-01-01T00:00:00.000000Z"

NONE_HELD: Mapping[str, HeldCommand] = MappingProxyType({})

log = structlog.get_logger()


class Blame:
    """The experiments. None of them leaves a trace in the database."""

    def __init__(
        self, pool: Pool, kinds: Kinds, source: str, timeout_s: float, *, recovery_s: float = RECOVERY_S
    ) -> None:
        self._recovery_s = recovery_s
        self._pool = pool
        self._kinds = kinds
        self._source = source
        self._timeout_s = timeout_s

    async def anything_works(self, commands: Sequence[Command]) -> bool:
        """Tell whether other commands on the same kinds of records could be decided, and committed."""
        touched = self._kinds.touched_by(self._kinds.footprint_of(commands))
        keys: list[RecordKey] = [(kind.kind, str(uuid.uuid4())) for kind in touched]
        try:
            async with asyncio.timeout(min(EXPERIMENT_S, self._timeout_s)):
                await self._rewrite(commands[0], Footprint(), keys)
                async with acquired(self._pool, self._timeout_s) as connection:
                    await await_standby(connection, self._timeout_s)
        except Exception as error:  # noqa: BLE001 - whatever it is, nothing can be decided
            log.debug("blame", action="blame", on="everything", why=repr(error))
            return False
        return True

    async def works_again(self, commands: Sequence[Command]) -> bool:
        """Tell whether other commands can be decided, soon after PostgreSQL has crashed or ended a connection."""
        deadline = monotonic() + self._recovery_s
        while not await self.anything_works(commands):
            if monotonic() >= deadline:
                return False
            await asyncio.sleep(RECOVERY_LOOK_S)
        return True

    async def locked(self, commands: Sequence[Command]) -> set[str]:
        """Find the keys of what the commands touch and another session has locked. Waits for no lock.

        Raises as `acquired` does.
        """
        footprint = self._kinds.footprint_of(commands)
        keys: set[str] = set()
        async with acquired(self._pool, self._timeout_s) as connection:
            await find(connection, self._kinds, footprint)
            for kind in self._kinds.touched_by(footprint):
                changes, reads = footprint.changes.get(kind.kind, ()), footprint.reads.get(kind.kind, ())
                ids = await kind.table.find_locked(connection, changes, reads)
                keys.update(key_of(kind.kind, record_id) for record_id in ids)
            if footprint.names:
                locks = {name_lock(name): name for name in footprint.names}
                for row in await connection.fetch(statement("find_locked_names"), list(locks)):
                    keys.add(key_of_name(locks[row["key"]]))
        return keys

    async def records_at_fault(self, command: Command, *, patient: bool) -> set[str] | None:
        """Find the keys of the command's records that cannot be written even as they are; None if all can.

        Empty if they cannot be written together, and each of them can. A `patient` experiment takes all the time that
        a statement may take.
        """
        limit_s = None if patient else min(EXPERIMENT_S, self._timeout_s)
        footprint = self._kinds.footprint_of([command])
        own = [key for key in _changes(footprint) if key == (command.kind, command.subject)]
        if await self._can_be_written(command, footprint, own, limit_s):
            return None
        keys = _changes(footprint)[:NAMED_MAX]
        return {
            key_of(*key)
            for key in keys
            if not await self._can_be_written(command, _footprint_of(key), [key] if key in own else [], limit_s)
        }

    async def _can_be_written(
        self, command: Command, footprint: Footprint, own: Collection[RecordKey], limit_s: float | None
    ) -> bool:
        try:
            async with asyncio.timeout(limit_s):
                await self._rewrite(command, footprint, own)
        except Exception as error:  # noqa: BLE001 - whatever it is, the command has no part in it
            log.debug("blame", action="blame", on="record", why=repr(error))
            if isinstance(error, BackendLostError):
                await self.works_again([command])  # Or the next record would be blamed for it.
            return False
        return True

    async def _rewrite(self, command: Command, footprint: Footprint, blank: Iterable[RecordKey]) -> None:
        """Write the records of a footprint as they are, and blank ones under ids that do not exist; then roll back.

        They go through other states on the way (`Table.stages`). Raises whatever fails.
        """
        async with transaction(self._pool, self._timeout_s, dry_run=True) as connection:
            state, _ = await lock_and_read(connection, self._kinds, footprint)
            stages = {key: self._stages(record) for key, record in state.records.items() if footprint.may_change(key)}
            for kind, record_id in blank:
                if (kind, record_id) not in state.records:
                    made = self._kinds.table(kind).blank(record_id)
                    stages[kind, record_id] = [made, *self._stages(made)]
            for number in range(max(map(len, stages.values()), default=0)):
                before = dict(state.records)
                for key, records in stages.items():
                    if number < len(records):
                        state.records[key] = records[number]
                changes = [
                    Change(record, self._neutral(command), DECIDED_AT)
                    for key, record in state.records.items()
                    if before.get(key) is not record
                ]
                await write(connection, self._kinds, before, state, changes)
            await self._record(connection, self._neutral(command))
            await connection.execute("SET CONSTRAINTS ALL IMMEDIATE")  # Runs the triggers that a COMMIT would run.

    def _stages(self, record: Any) -> list[Any]:
        """The states that a record goes through, each as one more command leaves it."""
        stages = self._kinds.table(record.kind).stages(record)
        return [replace(stage, sequence=record.sequence + 1 + number) for number, stage in enumerate(stages)]

    async def _record(self, connection: Connection, command: Command) -> None:
        verdict = refused(command, None, INTERNAL_ERROR).verdict
        event = events.build(command, verdict, self._source, DECIDED_AT)
        entry = Entry(command.id, command.content_hash, events.verdict_name(verdict), event)
        if await ledger.record(connection, [entry]) is None:
            raise DecideAgainError("the ledger has not taken a new command")

    def _neutral(self, command: Command) -> Command:
        """The command with nothing that its author has chosen but the type."""
        return replace(
            command,
            id=str(uuid.uuid4()),
            subject="",
            source=self._source,
            user=None,
            correlationid="",
            data=INTERNAL_ERROR,
        )


class BehindHeldError(Exception):
    """Commands of a batch have to follow held ones, and so be held themselves."""

    def __init__(self, held: Mapping[str, HeldCommand]) -> None:
        super().__init__(f"{len(held)} commands are behind held ones")
        self.held = held


async def be_quick(connection: Connection, timeout_s: float) -> None:
    """Let no statement wait for long until the transaction ends. One may take `timeout_s` at most in any case."""
    limits = QUICK_LOCK_S, min(QUICK_STATEMENT_S, timeout_s)
    await connection.execute(statement("limit_waits"), *(f"{limit_s * 1_000:.0f}ms" for limit_s in limits))


async def check_not_behind(connection: Connection, kinds: Kinds, commands: Sequence[Command]) -> None:
    """Raise BehindHeldError if any of the commands touches what held ones wait for."""
    if keys := await blocked(connection, kinds.footprint_of(commands).keys()):
        _, held = follow(kinds, commands, keys, "an earlier command is held")
        raise BehindHeldError(held)


def follow(
    kinds: Kinds,
    commands: Iterable[Command],
    keys: Collection[str],
    why: str,
    first: Mapping[str, HeldCommand] = NONE_HELD,
) -> tuple[list[Command], dict[str, HeldCommand]]:
    """Part commands into those that can be decided now, and those that have to wait for something with these keys.

    Those in `first` wait in any case, for what they say. A command that waits has later commands on its own records
    wait too, so that these keep their order.
    """
    rest: list[Command] = []
    held: dict[str, HeldCommand] = {}
    blocked = set(keys)
    for command in commands:
        met = kinds.footprint_of([command]).keys() & blocked
        if met or command.id in held or command.id in first:
            held[command.id] = first.get(command.id) or hold(kinds, command, met, why)
            blocked |= held[command.id].records
        else:
            rest.append(command)
    return rest, held


def hold(kinds: Kinds, command: Command, keys: Collection[str], why: str) -> HeldCommand:
    """Hold a command for something with these keys, and for the order of its own records.

    Its own are its subject or, of a command on several records, those of its kind that it may change. Others that it
    touches go on.
    """
    if command.kind and command.subject:
        own = {key_of(command.kind, command.subject)}
    elif command.kind:
        ids = kinds.footprint_of([command]).changes.get(command.kind, ())
        own = {key_of(command.kind, record_id) for record_id in ids}
    else:
        own = set()
    return HeldCommand(frozenset(own.union(keys)), why[:WHY_CHARACTERS_MAX])


def _changes(footprint: Footprint) -> list[RecordKey]:
    return [(kind, record_id) for kind, ids in footprint.changes.items() for record_id in sorted(ids)]


def _footprint_of(key: RecordKey) -> Footprint:
    kind, record_id = key
    footprint = Footprint()
    footprint.change(kind, record_id)
    return footprint
