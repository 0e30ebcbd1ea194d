"""The inventories of providers: rows of their own, guarded by the row of their provider, which is locked first.

Their use is guarded twice: by the fold, and by the WHERE clauses here, so that no race can oversell.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from genlock.schemas.providers import Inventory
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, must_write
from genlock.service.deciding.extension import Extension, Writes
from genlock.service.deciding.limits import TooMuchError
from genlock.service.deciding.state import State
from genlock.service.kinds.providers.record import Provider

Row = tuple[Any, ...]


def parse(text: str | None) -> Mapping[str, Inventory]:
    """Read the JSON object that the statements make of a provider's inventories; null is none."""
    members = json.loads(text) if text else {}
    return {name: Inventory.model_validate(amounts) for name, amounts in members.items()}


@dataclass(slots=True)
class _Differences:
    """Rows for the statements that turn one set of inventories into another."""

    removed: list[Row] = field(default_factory=list)
    changed: list[Row] = field(default_factory=list)
    added: list[Row] = field(default_factory=list)

    def note(self, before: Provider | None, history: Sequence[Provider], after: Provider) -> None:
        """Add the differences of one provider; `history` has its states after each command of the batch."""
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


class InventoryRows(Extension):
    """The inventories of providers, and their use."""

    async def read(self, connection: Connection, state: State) -> None:
        """Complete the locked providers with their inventories. Raises TooMuchError."""
        locked = [provider.id for provider in state.of_kind(Provider)]
        if not locked:
            return
        most = state.footprint.limits.rows
        rows = await connection.fetch(statement("find_inventories"), locked, most)
        if rows[0]["inventories_in_all"] > most:
            raise TooMuchError(f"the providers that are touched have more than {most} inventories")
        for row in rows if rows[0]["inventories_in_all"] else ():
            provider = state.records["provider", str(row["provider_id"])]
            if isinstance(provider, Provider):
                used = json.loads(row["used"]) if row["used"] else {}
                complete = replace(provider, inventories=parse(row["inventories"]), used=used)
                state.records["provider", provider.id] = complete

    async def write(self, connection: Connection, writes: Writes) -> None:
        """Write the differences between the providers' inventories before and after the batch.

        Raises DecideAgainError if the use has changed since it was read, or would exceed the capacity.
        """
        differences = _Differences()
        steps: dict[str, list[Provider]] = defaultdict(list)
        for record in writes.history:
            if isinstance(record, Provider):
                steps[record.id].append(record)
        for key, after in writes.changed.items():
            if isinstance(after, Provider):
                old = writes.before.get(key)
                differences.note(old if isinstance(old, Provider) else None, steps[after.id], after)
        for name, rows in (
            ("delete_inventories", differences.removed),
            ("update_inventories", differences.changed),
            ("insert_inventories", differences.added),
        ):
            if rows:
                await must_write(connection, name, rows)
