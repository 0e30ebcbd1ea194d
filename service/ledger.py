"""The ledger: one row for each decided command, and one row for each batch of them."""

from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from genlock.service.database import Connection, Pool
from genlock.service.events import Event
from genlock.service.sql import statement


@dataclass(frozen=True, slots=True)
class Decided:
    """A command that has its verdict. `content_hash` tells whether a command with its id is a copy of it."""

    content_hash: bytes
    event: Event


@dataclass(frozen=True, slots=True)
class Entry:
    """A verdict that is to be recorded."""

    command_id: str
    content_hash: bytes
    verdict: str
    event: Event


@dataclass(frozen=True, slots=True)
class Recorded:
    """An event as the ledger keeps it, and its batch. There is none where nothing but the batch is left."""

    batch_id: int
    decided_at: datetime
    confirmed: bool
    event: Event | None


async def find(connection: Connection, command_ids: Collection[str]) -> dict[str, Decided]:
    """The commands among these that are decided already."""
    rows = await connection.fetch(statement("find_decided"), list(command_ids))
    return {str(row["id"]): Decided(row["content_hash"], Event.stored(row["event"])) for row in rows}


async def record(connection: Connection, entries: Collection[Entry]) -> int | None:
    """Record the verdicts of one batch; return its id, or None if another consumer decided one of them meanwhile."""
    rows = await connection.fetch(
        statement("insert_ledger"),
        [entry.command_id for entry in entries],
        [entry.content_hash for entry in entries],
        [entry.verdict for entry in entries],
        [entry.event.body for entry in entries],
    )
    return rows[0]["batch_id"] if len(rows) == len(entries) else None


async def confirm(connection: Connection, batch_ids: Iterable[int]) -> None:
    """Note that the broker has confirmed all events of the batches."""
    await connection.execute(statement("confirm_batches"), list(batch_ids))


async def try_sweeping(connection: Connection) -> bool:
    """Become the one sweeper until the transaction ends; False if there is one."""
    swept: bool = await connection.fetchval(statement("try_sweeping"))
    return swept


async def count_unconfirmed(pool: Pool) -> int:
    """How many batches the broker has not confirmed, the ones under way included."""
    count: int = await pool.fetchval(statement("count_unconfirmed"))
    return count


async def unconfirmed(connection: Connection, age: timedelta, limit: int) -> dict[int, list[Event]]:
    """The events of at most `limit` unconfirmed batches that are older than `age`, by batch, oldest first."""
    batches: dict[int, list[Event]] = {}
    for row in await connection.fetch(statement("find_unconfirmed"), age, limit):
        events = batches.setdefault(row["batch_id"], [])
        if row["event"] is not None:
            events.append(Event.stored(row["event"]))
    return batches


async def decided_since(
    connection: Connection, since: datetime, until: datetime | None, at_once: int
) -> AsyncIterator[list[Recorded]]:
    """Stream what was decided within a span of time, the oldest batch first, some events at once.

    For as long as the connection's transaction lasts; it shows what was committed when it began.
    """
    cursor = await connection.cursor(statement("find_decided_since"), since, until)
    while rows := await cursor.fetch(at_once):
        yield [
            Recorded(
                row["batch_id"],
                row["decided_at"],
                row["confirmed"],
                None if row["event"] is None else Event.stored(row["event"]),
            )
            for row in rows
        ]
