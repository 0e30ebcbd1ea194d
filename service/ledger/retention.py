"""Upkeep of the ledger: what is older than the retention is forgotten, a slice at a time, while everything goes on.

Deleting millions of rows at once would hold up the vacuum for as long as it takes, and leave a table of holes.
`changes` is kept, for it is the history of the records.
"""

import asyncio
from datetime import timedelta

import structlog

from genlock.service.database import clocks
from genlock.service.database.clocks import Clock
from genlock.service.database.statements import statement
from genlock.service.database.transactions import DatabaseTroubleError, Pool, transaction, written

SLICE_COMMANDS = 2_000
SLICE_BATCHES = 500
"""A slice has no more of either: it takes some 20 ms, and forgets faster than any replica decides."""

SLICE_PAUSE_S = 0.5
IDLE_S = 60.0

log = structlog.get_logger()


class Upkeep:
    """Forgets what is past the retention; of all replicas one at a time."""

    def __init__(self, pool: Pool, retention: timedelta, timeout_s: float, clock: Clock = clocks.now) -> None:
        self._pool = pool
        self._retention = retention
        self._timeout_s = timeout_s
        self._clock = clock

    async def run(self) -> None:
        """Forget until cancelled."""
        total = 0
        while True:
            try:
                forgotten = await self.forget()
            except DatabaseTroubleError as trouble:
                log.warning("upkeep put off", action="forget", why=str(trouble))
                forgotten = 0
            total += forgotten
            if total and not forgotten:
                log.info("forgotten", action="forget", commands=total)
                total = 0
            await asyncio.sleep(SLICE_PAUSE_S if forgotten else IDLE_S)

    async def forget(self) -> int:
        """Forget a slice of the oldest commands that are past the retention; return how many that were.

        None of a batch that the broker has not confirmed, and none while the clocks disagree.

        Raises DatabaseTroubleError.
        """
        async with transaction(self._pool, self._timeout_s) as connection:
            if not await connection.fetchval(statement("try_forgetting")):
                return 0
            told = await clocks.compare(connection, self._clock)
            if not told.agree:
                log.warning("upkeep put off", action="forget", why=told.difference)
                return 0
            oldest = (self._retention, SLICE_BATCHES)
            forgotten = written(await connection.execute(statement("delete_ledger"), *oldest, SLICE_COMMANDS))
            await connection.execute(statement("delete_batches"), *oldest)
            return forgotten
