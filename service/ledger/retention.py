"""Retention of the ledger: a background task purges old commands in small slices.

Deleting millions of rows in one transaction would block vacuum for its whole duration and bloat the table. `changes` is
kept, for it is the history of the records. How far it goes is for the horizon to say (horizon.py).
"""

import asyncio
from datetime import timedelta

import structlog

from genlock.service.database import clocks
from genlock.service.database.clocks import Clock
from genlock.service.database.statements import statement
from genlock.service.database.steady import SteadyClock
from genlock.service.database.transactions import DatabaseTroubleError, Pool, transaction, written
from genlock.service.ledger.horizon import Horizon

SLICE_COMMANDS = 2_000
SLICE_BATCHES = 500
"""The most rows of a slice. A slice takes about 20 ms, and slices purge faster than any replica decides."""

SLICE_PAUSE_S = 0.5
IDLE_S = 60.0

log = structlog.get_logger()


class Retention:
    """Purges commands past the retention. Of all replicas, one at a time does so."""

    def __init__(
        self,
        pool: Pool,
        retention: timedelta,
        timeout_s: float,
        clock: Clock = clocks.now,
        *,
        steady: SteadyClock | None = None,
        horizon: Horizon | None = None,
        slice_commands: int = SLICE_COMMANDS,
        slice_batches: int = SLICE_BATCHES,
    ) -> None:
        self._pool = pool
        self._timeout_s = timeout_s
        self._clock = clock
        self._steady = steady or SteadyClock()
        self._horizon = horizon or Horizon(retention)
        self._slice_commands = slice_commands
        self._slice_batches = slice_batches

    async def run(self) -> None:
        """Purge until cancelled."""
        total = 0
        while True:
            try:
                forgotten = await self.purge()
            except DatabaseTroubleError as trouble:
                log.warning("retention put off", action="forget", why=str(trouble))
                forgotten = 0
            total += forgotten
            if total and not forgotten:
                log.info("forgotten", action="forget", commands=total)
                total = 0
            await asyncio.sleep(SLICE_PAUSE_S if forgotten else IDLE_S)

    async def purge(self) -> int:
        """Purge a slice of the oldest commands behind the horizon and return their number.

        Their further messages are purged first. If those fill the slice, it returns their number instead.

        Purges no batch that the broker has not confirmed, and nothing while the clocks disagree.

        Raises DatabaseTroubleError.
        """
        async with transaction(self._pool, self._timeout_s) as connection:
            told = await clocks.compare(connection, self._clock, self._steady)
            oldest = await connection.fetchval(statement("find_oldest_reliable"), told.latest)
            before = self._horizon.of(told, oldest or told.earliest)
            if not told.trusted:
                log.warning("retention put off", action="forget", why=told.difference)
            if before is None or not await connection.fetchval(statement("try_purging")):
                return 0
            limit = self._slice_commands
            last = await connection.fetchval(
                statement("find_forgettable"), before, told.latest, oldest, self._slice_batches
            )
            given_up = written(await connection.execute(statement("give_up_waiting"), before, limit))
            forgotten = written(await connection.execute(statement("delete_outbox"), last, limit))
            # If there may be more messages of these batches, their commands stay: no message outlives its command.
            if forgotten < limit:
                deleted = await connection.fetchrow(statement("delete_ledger"), last, limit)
                assert deleted is not None  # noqa: S101 - it counts, and so has one row
                forgotten = deleted["commands"]
                given_up += deleted["given_up"]
                await connection.execute(statement("delete_batches"), last, limit)
        if given_up:
            log.error("messages given up", action="forget", messages=given_up, why="no queue has taken them")
        return forgotten
