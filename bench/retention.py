"""A separate benchmark: the size of the ledger, its growth under retention, and the latency of decisions meanwhile.

python -m bench.retention [--day N]

Two weeks of ledger and history are loaded by SQL. Then two more pass: each day is added, the oldest is purged, and the
tables are vacuumed. Last, a service decides in turns with and without old commands to purge. It takes about two minutes
and a GB of disk.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import count
from statistics import median
from typing import TypeAlias

import asyncpg

from bench.drain_run import serving, until_consuming
from bench.history import add_ledger, load
from bench.latency import LOAD_S, WARM_UP_S, percentile_ms
from bench.latency import load as timed
from bench.messages import Message
from bench.queues import queues
from bench.running import positive, say, with_servers
from bench.systems import GENLOCK
from bench.workloads import FIELDS, message_of
from genlock import servers
from genlock.schemas.documents import DocumentPut
from genlock.service.database.migrate import migrate
from genlock.service.database.transactions import DECIDING_PLANS, open_pool
from genlock.service.ledger.horizon import Horizon
from genlock.service.ledger.retention import Retention

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

RETENTION_DAYS = 14
DAY_COMMANDS = 20_000
COMMANDS_PER_BATCH = 256

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
"""The first day of the ledger, long past."""

ROUNDS = 3
COMMANDS_PER_SECOND = 100
KEEP_ALL_DAYS = 100_000
TABLES = ("ledger", "batches", "changes")

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a table, in bytes."""

    rows: int
    table: int
    indexes: int

    def __str__(self) -> str:
        """The sizes, in total and per row."""
        each = max(1, self.rows)
        return (
            f"{self.rows:>9,} rows, {self.table / MIB:6,.0f} MiB and {self.indexes / MIB:5,.0f} MiB of indexes: "
            f"{self.table / each:,.0f} + {self.indexes / each:,.0f} bytes a row"
        )


class Ledger:
    """A database with a ledger of `day_commands` commands a day."""

    def __init__(self, url: str, connection: Connection, day_commands: int) -> None:
        self.url = url
        self._connection = connection
        self.day_commands = day_commands
        self._days = 0
        self._count = 0

    async def load(self) -> None:
        """Load all days of the retention, with history and records."""
        self._count = await load(self._connection, self.day_commands * RETENTION_DAYS, lambda _: None)
        self._days = RETENTION_DAYS
        await self._date()

    async def add_day(self) -> None:
        """Add another day of decided commands."""
        await add_ledger(self._connection, self._count, self._count + self.day_commands)
        self._count += self.day_commands
        self._days += 1
        await self._date()

    async def _date(self) -> None:
        """Set the days of batches from their numbers."""
        await self._connection.execute(
            "UPDATE batches SET decided_at = $1::timestamptz + id * $3::bigint / $2::bigint * interval '1 day' "
            "WHERE decided_at = $1 AND id * $3::bigint / $2::bigint > 0",
            BEGIN,
            self.day_commands,
            COMMANDS_PER_BATCH,
        )

    async def purge_day(self) -> tuple[list[float], int]:
        """Purge commands past the retention; return the seconds of each slice, and the bytes of WAL."""
        kept_since = BEGIN + timedelta(days=self._days - RETENTION_DAYS - 0.5)
        before = await self.wal()
        taken = []
        async with await open_pool(self.url, size=1, timeout_s=60, plans=DECIDING_PLANS) as pool:
            age = datetime.now(UTC) - kept_since
            # By a monotonic clock of years between two passes: the first one only looks.
            seen = Horizon(age, seen_s=0, monotonic=count(0, 10**10).__next__)
            retention = Retention(pool, age, 60, horizon=seen)
            await retention.purge()
            forgotten = 1
            while forgotten:
                began = time.perf_counter()
                forgotten = await retention.purge()
                taken.append(time.perf_counter() - began)
        return taken[:-1], await self.wal() - before

    async def vacuum(self) -> float:
        """Vacuum as autovacuum would by now; return the seconds."""
        began = time.perf_counter()
        await self._connection.execute("VACUUM ANALYZE ledger")
        await self._connection.execute("VACUUM ANALYZE batches")
        return time.perf_counter() - began

    async def size(self, table: str) -> Size:
        """Measure a table."""
        row = await self._connection.fetchrow(
            f"SELECT count(*), pg_table_size('{table}'), pg_indexes_size('{table}') FROM {table}"  # noqa: S608 - ours
        )
        assert row is not None  # noqa: S101 - an aggregate has one
        return Size(*row)

    async def wal(self) -> int:
        """The bytes of WAL that the server has written so far."""
        written: int = await self._connection.fetchval("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn")
        return int(written)


def main() -> int:
    """Measure and print the results; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.retention", description="Measure the ledger's retention.")
    parser.add_argument("--day", type=positive, default=DAY_COMMANDS, help="commands of a day (default %(default)s)")
    options = parser.parse_args()
    return with_servers(lambda running: _run(running, options.day))


async def _run(running: servers.Servers, day_commands: int) -> int:
    async with servers.database(running.database_url) as url:
        await migrate(url)
        connection = await asyncpg.connect(url)
        try:
            ledger = Ledger(url, connection, day_commands)
            began = time.monotonic()
            await ledger.load()
            say(f"{RETENTION_DAYS} days loaded after {time.monotonic() - began:.0f} s")
            for table in TABLES:
                print(f"  {table:8} of {RETENTION_DAYS} days: {await ledger.size(table)}")
            await _pass_days(ledger)
            await _decide(running, ledger)
        finally:
            await connection.close()
    return 0


async def _pass_days(ledger: Ledger) -> None:
    slices, written, vacuums, sizes = list[float](), 0, list[float](), list[Size]()
    for _ in range(RETENTION_DAYS):
        await ledger.add_day()
        taken, wal = await ledger.purge_day()
        slices += taken
        written += wal
        vacuums.append(await ledger.vacuum())
        sizes.append(await ledger.size("ledger"))
    forgotten = RETENTION_DAYS * ledger.day_commands
    print(
        f"a slice takes {median(slices) * 1e3:.0f} ms, at most {max(slices) * 1e3:.0f}; WAL of a forgotten command: "
        f"{written / forgotten:,.0f} bytes; vacuum of a day: {median(vacuums):.1f} s"
    )
    for title, size in (("first", sizes[0]), ("last", sizes[-1])):
        print(f"  ledger after the {title} of {RETENTION_DAYS} more days: {size}")


async def _decide(running: servers.Servers, ledger: Ledger) -> None:
    """Time decisions of a service that purges nothing and of one that purges continuously, in turns."""
    keeping, forgetting = list[float](), list[float]()
    forgotten = written = 0
    each_round = int(COMMANDS_PER_SECOND * (WARM_UP_S + LOAD_S))
    for number in range(1, ROUNDS + 1):
        say(f"round {number} of {ROUNDS}")
        before = await ledger.wal()
        keeping += await _served(running, ledger, KEEP_ALL_DAYS, _commands(each_round))
        written += await ledger.wal() - before
        rows = (await ledger.size("ledger")).rows
        forgetting += await _served(running, ledger, RETENTION_DAYS, _commands(each_round))
        forgotten += rows + each_round - (await ledger.size("ledger")).rows
    print(f"publish to outcome at {COMMANDS_PER_SECOND} commands/s, {ROUNDS} rounds in turns:")
    for name, taken in (("forgetting nothing", keeping), ("forgetting", forgetting)):
        points = ", ".join(f"{point} {percentile_ms(taken, point):.1f} ms" for point in ("p50", "p99"))
        print(f"  {name:20}{points}")
    print(f"  forgotten meanwhile: {forgotten:,}; WAL of a decision: {written / ROUNDS / each_round:,.0f} bytes")


async def _served(
    running: servers.Servers, ledger: Ledger, retention_days: int, commands: Sequence[Message]
) -> list[float]:
    system = replace(GENLOCK, settings={**GENLOCK.settings, "GENLOCK_LEDGER_RETENTION_DAYS": str(retention_days)})
    async with AsyncExitStack() as stack:
        waiting = await stack.enter_async_context(queues(running.amqp_url))
        started = await stack.enter_async_context(serving(running, system, ledger.url, waiting.namespace))
        await until_consuming(started, waiting, system.consumers)
        return await timed(running, waiting, commands, COMMANDS_PER_SECOND)


def _commands(count: int) -> list[Message]:
    """Commands that create one document each."""
    began = time.monotonic_ns()
    body = {f"field-{number:02}": "w" * 4 for number in range(FIELDS)}
    change = DocumentPut(expected_generation=None, body=body)
    return [message_of(change, f"retained-{began}-{number}") for number in range(count)]


if __name__ == "__main__":
    sys.exit(main())
