"""The table of providers."""

import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace

import asyncpg

from genlock.schemas.providers import Inventory
from genlock.service.deciding.record import NO_MAKER
from genlock.service.deciding.table import Row, Table, maker_of, maker_row, uuid_text
from genlock.service.kinds.providers.record import Provider


def provider_of(row: asyncpg.Record) -> Provider:
    return Provider(
        id=str(row["id"]),
        generation=row["generation"],
        sequence=row["sequence"],
        maker=maker_of(row),
        provider_name=row["name"],
        parent_id=uuid_text(row["parent_id"]),
        inventories={},
        traits=frozenset(row["traits"]),
        aggregates=frozenset(map(str, row["aggregates"])),
        deleted=row["deleted"],
    )


def _row(provider: Provider) -> Row:
    return (
        provider.id,
        provider.generation,
        provider.sequence,
        provider.provider_name,
        provider.parent_id,
        " ".join(sorted(provider.traits)),
        " ".join(sorted(provider.aggregates)),
        provider.deleted,
        *maker_row(provider.maker),
        _inventories(provider.inventories),
    )


def _inventories(inventories: Mapping[str, Inventory]) -> str:
    """The inventories as the text that is hashed: checks/provider_states.sql writes the same of their rows."""
    return " ".join(
        f"{name}:{each.total}:{each.reserved}:{each.min_unit}:{each.max_unit}:{each.step_size}:"
        f"{struct.pack('!d', each.allocation_ratio).hex()}"
        for name, each in sorted(inventories.items())
    )


def _blank(record_id: str) -> Provider:
    inventories = {"VCPU": Inventory(total=1)}
    return Provider(record_id, 0, 1, NO_MAKER, record_id, None, inventories, frozenset(), frozenset(), deleted=False)


def _stages(provider: Provider) -> Sequence[Provider]:
    """With another name and with other inventories, without any, and as it is."""
    others = {
        name: inventory.model_copy(update={"min_unit": 2 if inventory.min_unit == 1 else 1})
        for name, inventory in provider.inventories.items()
    }
    varied = replace(provider, inventories=others)
    if not provider.deleted:
        varied = replace(varied, provider_name=str(uuid.uuid4()))
    return varied, replace(provider, inventories={}), provider


TABLE = Table("provider", "providers", provider_of, _row, lambda provider: (provider.generation,), _blank, _stages)
