"""The inventories of providers: rows of their own, guarded by the row of their provider, which is locked first."""

import json
from collections.abc import Mapping
from dataclasses import replace

from genlock.schemas.providers import Inventory
from genlock.service.database import Connection
from genlock.service.records import Provider, Record, RecordKey
from genlock.service.sql import statement
from genlock.service.state import State


async def read(connection: Connection, state: State) -> None:
    """Complete the locked providers with their inventories."""
    locked = [record.id for record in state.records.values() if isinstance(record, Provider)]
    if not locked:
        return
    for row in await connection.fetch(statement("find_inventories"), locked):
        provider = state.records["provider", str(row["provider_id"])]
        if isinstance(provider, Provider):
            complete = replace(provider, inventories=parse(row["inventories"]))
            state.records["provider", provider.id] = complete


def parse(text: str | None) -> Mapping[str, Inventory]:
    """Read the JSON object that the statements make of a provider's inventories; null is none."""
    members = json.loads(text) if text else {}
    return {name: Inventory.model_validate(amounts) for name, amounts in members.items()}


async def write(
    connection: Connection, before: Mapping[RecordKey, Record], changed: Mapping[RecordKey, Record]
) -> None:
    """Write the differences between the providers' inventories before and after the batch."""
    gone: list[tuple[str, str]] = []
    put: list[tuple[str, str, Inventory]] = []
    for key, after in changed.items():
        if not isinstance(after, Provider):
            continue
        old = before.get(key)
        old_inventories = old.inventories if isinstance(old, Provider) else {}
        gone += [(after.id, name) for name in old_inventories if name not in after.inventories]
        put += [
            (after.id, name, inventory)
            for name, inventory in after.inventories.items()
            if old_inventories.get(name) != inventory
        ]
    if gone:
        await connection.execute(statement("delete_inventories"), *map(list, zip(*gone, strict=True)))
    if put:
        rows = [
            (
                provider_id,
                name,
                inventory.total,
                inventory.reserved,
                inventory.min_unit,
                inventory.max_unit,
                inventory.step_size,
                inventory.allocation_ratio,
            )
            for provider_id, name, inventory in put
        ]
        await connection.execute(statement("put_inventories"), *map(list, zip(*rows, strict=True)))
