"""The table of consumers."""

import asyncpg

from genlock.service.deciding.table import Row, Table, maker_of, maker_row
from genlock.service.kinds.allocations.record import Consumer


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
    )


TABLE = Table("consumer", "consumers", consumer_of, _row, lambda consumer: (consumer.generation,))
