"""The inventories of providers: rows of their own, guarded by the row of their provider, which is locked first.

What is used of them is guarded twice: by the fold, and by the WHERE clauses here, so that no race can oversell.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from genlock.schemas.providers import Inventory
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, must_write
from genlock.service.deciding.record import Record, RecordKey
from genlock.service.deciding.state import State
from genlock.service.kinds.providers.record import Provider

Row = tuple[Any, ...]


async def read(connection: Connection, state: State) -> None:
    """Complete the locked providers with their inventories."""
    locked = [record.id for record in state.records.values() if isinstance(record, Provider)]
    if not locked:
        return
    for row in await connection.fetch(statement("find_inventories"), locked):
        provider = state.records["provider", str(row["provider_id"])]
        if isinstance(provider, Provider):
            used = json.loads(row["used"]) if row["used"] else {}
            complete = replace(provider, inventories=parse(row["inventories"]), used=used)
            state.records["provider", provider.id] = complete


def parse(text: str | None) -> Mapping[str, Inventory]:
    """Read the JSON object that the statements make of a provider's inventories; null is none."""
    members = json.loads(text) if text else {}
    return {name: Inventory.model_validate(amounts) for name, amounts in members.items()}


@dataclass(slots=True)
class _Differences:
    """Rows for the statements that make of one picture of inventories another one."""

    removed: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    added: list[Row] = field(default_factory=list)

    def note(self, before: Provider | None, history: Sequence[Provider], after: Provider) -> None:
        """Add what is different in one provider, which the commands of the batch have left as in its history."""
        inventories = before.inventories if before else {}
        used = before.used if before else {}
        for name in inventories:
            if name not in after.inventories:
                self.removed.append((after.id, name, used.get(name, 0)))
        for name, inventory in after.inventories.items():
            row = _row(after.id, name, inventory, after.used.get(name, 0))
            if name not in inventories:
                self.added.append(row)
            elif inventories[name] != inventory or used.get(name, 0) != after.used.get(name, 0):
                replaced = any(_differs(then.inventories, inventories, name) for then in history)
                self.changed.append((*row, used.get(name, 0), replaced))


def _differs(one: Mapping[str, Inventory], other: Mapping[str, Inventory], name: str) -> bool:
    # Commands of consumers leave the mapping as it is.
    return one is not other and one.get(name) != other[name]


def _row(provider_id: str, name: str, inventory: Inventory, used: int) -> Row:
    return (
        provider_id,
        name,
        inventory.total,
        inventory.reserved,
        inventory.min_unit,
        inventory.max_unit,
        inventory.step_size,
        inventory.allocation_ratio,
        used,
    )


async def write(
    connection: Connection,
    before: Mapping[RecordKey, Record],
    history: Iterable[Record],
    changed: Mapping[RecordKey, Record],
) -> None:
    """Write the differences between the providers' inventories before and after the batch.

    `history` has each record as each command has left it.

    Raises DecideAgainError where what is used is not what was read, or would be more than the capacity.
    """
    differences = _Differences()
    steps: dict[str, list[Provider]] = defaultdict(list)
    for record in history:
        if isinstance(record, Provider):
            steps[record.id].append(record)
    for key, after in changed.items():
        if isinstance(after, Provider):
            old = before.get(key)
            differences.note(old if isinstance(old, Provider) else None, steps[after.id], after)
    for name, rows in (
        ("delete_inventories", differences.removed),
        ("update_inventories", differences.changed),
        ("insert_inventories", differences.added),
    ):
        if rows:
            await must_write(connection, name, rows)
