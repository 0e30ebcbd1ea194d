"""The table of consumers."""

from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from genlock.service.deciding.record import NO_MAKER
from genlock.service.deciding.table import Row, Table, maker_of, maker_row
from genlock.service.kinds.allocations.record import Allocations, Consumer


def consumer_of(row: asyncpg.Record) -> Consumer:
    return Consumer(
        id=str(row["id"]),
        generation=row["generation"],
        sequence=row["sequence"],
        maker=maker_of(row),
        project_id=row["project_id"],
        user_id=row["user_id"],
        consumer_type=row["consumer_type"],
        allocations={},
        deleted=row["deleted"],
    )


def _row(consumer: Consumer) -> Row:
    return (
        consumer.id,
        consumer.generation,
        consumer.sequence,
        consumer.project_id,
        consumer.user_id,
        consumer.consumer_type,
        consumer.deleted,
        *maker_row(consumer.maker),
        _allocations(consumer.allocations),
    )


def _allocations(allocations: Allocations) -> str:
    """The allocations as the text that is hashed: checks/consumer_states.sql writes the same of their rows."""
    return " ".join(
        f"{provider_id}:{name}:{amount}"
        for provider_id, amounts in sorted(allocations.items())
        for name, amount in sorted(amounts.items())
    )


def _blank(record_id: str) -> Consumer:
    return Consumer(record_id, 1, 1, NO_MAKER, "", "", None, {record_id: {"VCPU": 1}}, deleted=False)


def _stages(consumer: Consumer) -> Sequence[Consumer]:
    """With other amounts, without any, and as it is."""
    others = {
        provider_id: {name: 2 if amount == 1 else 1 for name, amount in amounts.items()}
        for provider_id, amounts in consumer.allocations.items()
    }
    return replace(consumer, allocations=others), replace(consumer, allocations={}), consumer


TABLE = Table(
    "consumer", "consumers", consumer_of, _row, lambda consumer: (consumer.generation,), _blank, _stages, sized=False
)
