"""The ledger: one row for each decided command, and one row for each batch of them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Coroutine, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from genlock.schemas.values import value
from genlock.service.database.statements import statement
from genlock.service.database.transactions import GIVE_UP_TIMEOUT_S, Connection, Pool, abandon, acquired
from genlock.service.ledger.ages import Ages
from genlock.service.ledger.events import Event

RENEWALS = 3
"""How often the sweep lock is renewed within its lease."""


EVENTS_BYTES_MAX = 4 * 2**20
"""How many bytes of events are read at once, and one event more."""


class LargeEventsError(Exception):
    """The events have more bytes than are read at once."""


@value
class Decided:
    """A decided command. A command with the same id and the same `content_hash` is a copy of it."""

    content_hash: bytes
    event: Event
    unconfirmed: int | None = None
    """Its batch, if the broker has not confirmed that."""


@value
class Entry:
    """A verdict to be recorded."""

    command_id: str
    content_hash: bytes
    verdict: str
    event: Event


@dataclass(frozen=True, slots=True)
class Recorded:
    """A stored event and its batch. `event` is None if the ledger holds only the batch."""

    batch_id: int
    decided_at: datetime
    confirmed: bool
    event: Event | None


async def find(connection: Connection, command_ids: Collection[str]) -> dict[str, Decided]:
    """Find those of the commands that are decided already."""
    return (await find_now(connection, command_ids))[0]


async def find_now(connection: Connection, command_ids: Collection[str]) -> tuple[dict[str, Decided], datetime, bool]:
    """Find those of the commands that are decided; tell the database's time, and whether any command is held.

    Raises LargeEventsError where their events have more than EVENTS_BYTES_MAX bytes.
    """
    rows = await connection.fetch(statement("find_decided"), list(command_ids), EVENTS_BYTES_MAX)
    if any(row["id"] is not None and row["event"] is None for row in rows):
        raise LargeEventsError(f"the events of commands that are decided have more than {EVENTS_BYTES_MAX} bytes")
    found = (row for row in rows if row["id"] is not None)
    decided = {
        str(row["id"]): Decided(row["content_hash"], Event.stored(row["event"]), row["unconfirmed"]) for row in found
    }
    return decided, rows[0]["told_at"], rows[0]["holding"]


async def record(connection: Connection, entries: Collection[Entry]) -> int | None:
    """Record the verdicts of one batch and return its id; None if another consumer has decided one of the commands."""
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


@dataclass(frozen=True, slots=True)
class SweepLock:
    """The sweep lock, which its connection holds."""

    connection: Connection
    lease_s: float

    async def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Do work that may take long, and keep the lock meanwhile. The work cannot use the connection.

        It ends with the lock. Raises what the work raises, and what `acquired` translates.
        """
        working = asyncio.create_task(work)
        try:
            while not (await asyncio.wait({working}, timeout=self.lease_s / RENEWALS))[0]:
                await self.connection.execute(statement("keep_sweeping"))
        except BaseException:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
            raise
        working.result()


@contextlib.asynccontextmanager
async def sweeping(pool: Pool, timeout_s: float, lease_s: float) -> AsyncIterator[SweepLock | None]:
    """Hold the sweep lock while the context lasts, outside of any transaction. Yields None if another process has it.

    The server takes the lock from a connection that it does not hear of for `lease_s` seconds. Raises as `acquired`
    does.
    """
    async with acquired(pool, timeout_s) as connection:
        try:
            alone = await connection.fetchval(statement("try_sweeping"), f"{lease_s * 1_000:.0f}ms")
        except BaseException:
            # The connection may hold the lock, and must not return to the pool with it.
            abandon(connection)
            raise
        if not alone:
            yield None
            return
        try:
            yield SweepLock(connection, lease_s)
        finally:
            await _stop_sweeping(connection)


async def _stop_sweeping(connection: Connection) -> None:
    try:
        await connection.execute(statement("stop_sweeping"), timeout=GIVE_UP_TIMEOUT_S)
    except Exception:  # noqa: BLE001 - whatever is wrong with it, its end is that of the lock too
        abandon(connection)


async def count_unconfirmed(pool: Pool) -> int:
    """The number of batches that the broker has not confirmed, including those in flight."""
    count: int = await pool.fetchval(statement("count_unconfirmed"))
    return count


async def oldest_unconfirmed(
    connection: Connection, ages: Ages, known: tuple[list[str], list[str]]
) -> tuple[int, list[Event]] | None:
    """The id and the events of the oldest unconfirmed batch that has been there for the age; None if there is none.

    Leaves out batches with further messages of kinds, or for exchanges, other than those that are known.
    """
    newest = await connection.fetchval(statement("find_newest_batch"))
    rows = await connection.fetch(statement("find_unconfirmed"), ages.up_to(newest or 0), *known)
    if not rows:
        return None
    return rows[0]["batch_id"], [Event.stored(row["event"]) for row in rows if row["event"] is not None]


async def decided_since(
    connection: Connection, since: datetime, until: datetime | None, at_once: int
) -> AsyncIterator[list[Recorded]]:
    """Stream the events decided in a time span, the oldest batch first, `at_once` rows in each chunk.

    The stream needs the connection's transaction, and shows what was committed when the stream began.
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
