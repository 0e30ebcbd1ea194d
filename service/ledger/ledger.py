"""The ledger: one row for each decided command, and one row for each batch of them."""

import contextlib
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from genlock.schemas.values import value
from genlock.service.database.statements import statement
from genlock.service.database.transactions import GIVE_UP_TIMEOUT_S, Connection, Pool, abandon, acquired
from genlock.service.ledger.events import Event


@value
class Decided:
    """A command that has its verdict. `content_hash` tells whether a command with its id is a copy of it."""

    content_hash: bytes
    event: Event


@value
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
    return (await find_now(connection, command_ids))[0]


async def find_now(connection: Connection, command_ids: Collection[str]) -> tuple[dict[str, Decided], datetime]:
    """The commands among these that are decided already, and the time by the clock of the database."""
    rows = await connection.fetch(statement("find_decided"), list(command_ids))
    found = (row for row in rows if row["id"] is not None)
    decided = {str(row["id"]): Decided(row["content_hash"], Event.stored(row["event"])) for row in found}
    return decided, rows[0]["told_at"]


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


@contextlib.asynccontextmanager
async def sweeping(pool: Pool, timeout_s: float) -> AsyncIterator[Connection | None]:
    """Be the one sweeper while the context lasts, outside of any transaction; None where there is one already.

    Raises as `acquired` does.
    """
    async with acquired(pool, timeout_s) as connection:
        try:
            alone = await connection.fetchval(statement("try_sweeping"))
        except BaseException:
            # Perhaps it has the lock, and it must not take that back into the pool.
            abandon(connection)
            raise
        if not alone:
            yield None
            return
        try:
            yield connection
        finally:
            await _stop_sweeping(connection)


async def _stop_sweeping(connection: Connection) -> None:
    try:
        await connection.execute(statement("stop_sweeping"), timeout=GIVE_UP_TIMEOUT_S)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, its end is that of the lock too
        abandon(connection)


async def count_unconfirmed(pool: Pool) -> int:
    """How many batches the broker has not confirmed, the ones under way included."""
    count: int = await pool.fetchval(statement("count_unconfirmed"))
    return count


async def oldest_unconfirmed(connection: Connection, age: timedelta) -> tuple[int, list[Event]] | None:
    """The oldest unconfirmed batch that is older than `age`, and its events; None if there is none."""
    rows = await connection.fetch(statement("find_unconfirmed"), age)
    if not rows:
        return None
    return rows[0]["batch_id"], [Event.stored(row["event"]) for row in rows if row["event"] is not None]


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
