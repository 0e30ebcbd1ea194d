"""Reading and writing what a batch touches: set-based statements, rows locked once and in one global order."""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime

from genlock.schemas.base import Kind
from genlock.schemas.outcomes import GenerationToken, Token
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, columns, must_write, same_count
from genlock.service.deciding.extension import Writes
from genlock.service.deciding.fold import Change
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.kind import Kinds
from genlock.service.deciding.record import Name, Record, RecordKey
from genlock.service.deciding.state import State


async def lock_and_read(
    connection: Connection, kinds: Kinds, footprint: Footprint, *, exclusive: bool = False
) -> tuple[State, datetime | None]:
    """Lock the wanted names, then the rows of each table in order, and read all as it is under the locks.

    The time is that of the database's clock as the last statement that locks rows tells it. So batches that change one
    record get times in the order in which they change it. It is None where the batch touches no record.

    A copy of the footprint is widened by what can be found in the database alone. `exclusive` waits until no other
    batch is behind the same barriers, and lets none begin. Raises TooMuchError past the limits of the footprint.
    """
    footprint = footprint.copy()
    state = kinds.state(footprint)
    if footprint.names:
        await connection.execute(statement("lock_names"), sorted(map(name_lock, footprint.names)))
    await _pass_barriers(connection, kinds, footprint, exclusive=exclusive)
    await find(connection, kinds, footprint)
    touched = kinds.touched_by(footprint)
    locked_at = None
    for kind in touched:
        changes, reads = footprint.changes.get(kind.kind, ()), footprint.reads.get(kind.kind, ())
        records, locked_at = await kind.table.lock(connection, changes, reads, footprint.limits)
        for record in records:
            state.records[record.kind, record.id] = record
    if footprint.names:
        rows = await connection.fetch(statement("find_names"), *columns(footprint.names))
        state.names = {(row["kind"], row["name"]): row["record_id"] for row in rows}
    for kind in touched:
        for extension in kind.extensions:
            await extension.read(connection, state)
    return state, locked_at


async def _pass_barriers(connection: Connection, kinds: Kinds, footprint: Footprint, *, exclusive: bool) -> None:
    extensions = [extension for kind in kinds.touched_by(footprint) for extension in kind.extensions]
    for barrier in sorted({name for extension in extensions if (name := extension.barrier(footprint))}):
        await connection.execute(statement(barrier), exclusive)


async def find(connection: Connection, kinds: Kinds, footprint: Footprint) -> None:
    """Widen the footprint by what can be found in the database alone."""
    # From the last kind to the first: rows that one finds may be of a kind that is locked earlier.
    for kind in reversed(kinds.all):
        if kind.extensions and footprint.touches(kind.kind):
            for extension in kind.extensions:
                await extension.find(connection, footprint)


async def write(
    connection: Connection, kinds: Kinds, before: Mapping[RecordKey, Record], state: State, changes: Sequence[Change]
) -> None:
    """Write each changed record once, then what history and names keep of it.

    Raises DecideAgainError where a row is not as it was read: the WHERE clause fences, the fold only explains.
    """
    changed = {key: record for key, record in state.records.items() if before.get(key) is not record}
    if not changed:
        return
    names = {name for name, _ in changed}
    touched = [kind for kind in kinds.all if kind.kind in names]
    freed, taken = _names(before, changed)
    if freed:
        await must_write(connection, "delete_names", freed)
    for kind in touched:
        pairs = [(before[key], record) for key, record in changed.items() if key[0] == kind.kind and key in before]
        if pairs:
            same_count(len(pairs), await kind.table.update(connection, pairs), kind.table.name)
    for kind in touched:
        created = [record for key, record in changed.items() if key[0] == kind.kind and key not in before]
        if created:
            same_count(len(created), await kind.table.insert(connection, created), kind.table.name)
    writes = Writes(before, changed, [change.record for change in changes])
    for kind in touched:
        for extension in kind.extensions:
            await extension.write(connection, writes)
    if taken:
        await must_write(connection, "insert_names", taken)
    await must_write(connection, "insert_changes", [_change_row(change) for change in changes])


def _names(
    before: Mapping[RecordKey, Record], changed: Mapping[RecordKey, Record]
) -> tuple[list[tuple[Kind, str, str]], list[tuple[Kind, str, str]]]:
    """The names that records no longer hold, and those that they hold now."""
    freed: list[tuple[Kind, str, str]] = []
    taken: list[tuple[Kind, str, str]] = []
    for (kind, record_id), record in changed.items():
        old = before[kind, record_id].name if (kind, record_id) in before else None
        if old is not None and old != record.name:
            freed.append((kind, old, record_id))
        if record.name is not None and old != record.name:
            taken.append((kind, record.name, record_id))
    return freed, taken


def _change_row(change: Change) -> tuple[object, ...]:
    record, command = change.record, change.command
    return (
        record.kind,
        record.id,
        record.sequence,
        _token_text(record.token),
        command.id,
        command.type,
        command.source,
        change.decided_at,
        command.user,
    )


def _token_text(token: Token) -> str:
    return str(token.generation) if isinstance(token, GenerationToken) else token.traversal


def name_lock(name: Name) -> int:
    """An advisory lock's key for a name: 64 bits with a sign. Names that collide only wait for one another."""
    return int.from_bytes(hashlib.sha256("\0".join(name).encode()).digest()[:8], "big", signed=True)
