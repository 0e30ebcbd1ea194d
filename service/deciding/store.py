"""Reading and writing what a batch touches: set-based statements, rows locked once and in one global order."""

import hashlib
from collections.abc import Collection

from genlock.schemas.base import Kind
from genlock.schemas.outcomes import GenerationToken, Token
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, columns, must_write, same_count
from genlock.service.deciding.fold import Change
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.record import Name, Record, RecordKey
from genlock.service.deciding.state import State
from genlock.service.kinds.allocations import rows as allocations
from genlock.service.kinds.providers import inventories, trees
from genlock.service.kinds.registry import KINDS
from genlock.service.kinds.stacks.record import Stack


async def lock_and_read(connection: Connection, footprint: Footprint, *, alone: bool = False) -> State:
    """Lock the wanted names, then the rows of each table in order, and read them as they are under the locks.

    The footprint is widened by what can be found in the database alone. `alone` waits until no other batch moves
    providers in trees or consumers between providers, and lets none begin.
    """
    state = State(footprint)
    if footprint.names:
        await connection.execute(statement("lock_names"), sorted(map(_lock_key, footprint.names)))
    consumers = footprint.ids("consumer")
    if footprint.moves or consumers:
        await connection.execute(statement("lock_moves"), alone)
    if roots := await trees.find_roots(connection, footprint):
        footprint.read("provider", *roots)
    if consumers:
        footprint.change("provider", *await allocations.find_providers(connection, consumers))
    for kind in KINDS:
        if ids := footprint.ids(kind.kind):
            for record in await kind.table.lock(connection, ids):
                state.records[record.kind, record.id] = record
    if footprint.names:
        rows = await connection.fetch(statement("find_names"), *columns(footprint.names))
        state.names = {(row["kind"], row["name"]): row["record_id"] for row in rows}
    await inventories.read(connection, state)
    await allocations.read(connection, state)
    await trees.read(connection, footprint, state)
    await _read_traversals(connection, footprint, state)
    return state


async def _read_traversals(connection: Connection, footprint: Footprint, state: State) -> None:
    for record in state.records.values():
        if isinstance(record, Stack):
            state.traversals.add((record.id, record.traversal))
    if unknown := footprint.traversals - state.traversals:
        rows = await connection.fetch(statement("find_traversals"), *columns(unknown))
        state.traversals |= {(row["record_id"], row["token"]) for row in rows}


async def write(
    connection: Connection, before: dict[RecordKey, Record], state: State, changes: Collection[Change]
) -> None:
    """Write each changed record once, then what history and names keep of it.

    Raises DecideAgainError where a row is not as it was read: the WHERE clause fences, the fold only explains.
    """
    changed = {key: record for key, record in state.records.items() if before.get(key) is not record}
    if not changed:
        return
    tables = [kind.table for kind in KINDS]
    freed, taken = _names(before, changed)
    if freed:
        await must_write(connection, "delete_names", freed)
    for table in tables:
        pairs = [(before[key], record) for key, record in changed.items() if key[0] == table.kind and key in before]
        if pairs:
            same_count(len(pairs), await table.update(connection, pairs), table.name)
    for table in tables:
        created = [record for key, record in changed.items() if key[0] == table.kind and key not in before]
        if created:
            same_count(len(created), await table.insert(connection, created), table.name)
    await inventories.write(connection, before, [change.record for change in changes], changed)
    await allocations.write(connection, before, changed)
    if taken:
        await must_write(connection, "insert_names", taken)
    await must_write(connection, "insert_changes", [_change_row(change) for change in changes])


def _names(
    before: dict[RecordKey, Record], changed: dict[RecordKey, Record]
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
    )


def _token_text(token: Token) -> str:
    return str(token.generation) if isinstance(token, GenerationToken) else token.traversal


def _lock_key(name: Name) -> int:
    """An advisory lock's key for a name: 64 bits with a sign. Names that collide only wait for one another."""
    return int.from_bytes(hashlib.sha256("\0".join(name).encode()).digest()[:8], "big", signed=True)
