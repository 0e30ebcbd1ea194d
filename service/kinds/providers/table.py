"""The table of providers."""

import asyncpg

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
    )


TABLE = Table("provider", "providers", provider_of, _row, lambda provider: (provider.generation,))
