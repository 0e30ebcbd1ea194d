"""A separate benchmark: the time and the resources of `genlock verify` on a long history.

python -m bench.proof [--changes N]

The default is ten million changes and ledger rows, which take 15 GB of disk and about 15 minutes to load.
"""

import argparse
import asyncio
import resource
import sys
import time

import asyncpg

from bench.history import load
from bench.running import positive, say, with_servers
from genlock import servers
from genlock.service.database.migrate import migrate
from genlock.service.database.verify import verify
from genlock.service.kinds.registry import KINDS

CHANGES = 10_000_000
STATISTICS_LATE_S = 1.5
"""How long a backend may delay its statistics."""

MIB = 1 << 20


def main() -> int:
    """Load, verify and print the results; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.proof", description="Measure the proof of a long history.")
    parser.add_argument("--changes", type=positive, default=CHANGES, help="of records (default %(default)s)")
    options = parser.parse_args()
    return with_servers(lambda running: _run(running, options.changes))


async def _run(running: servers.Servers, changes: int) -> int:
    async with servers.database(running.database_url) as url:
        await migrate(url)
        connection = await asyncpg.connect(url)
        began = time.monotonic()
        try:
            count = await load(
                connection, changes, lambda done: say(f"{done:,} after {time.monotonic() - began:.0f} s")
            )
            size = await connection.fetchval("SELECT pg_database_size(current_database())")
            print(f"{count:,} changes and ledger rows, a database of {size / MIB:,.0f} MiB")
            before = await _temporary_bytes(connection)
            wrong = await _verify(url)
            temporary = await _temporary_bytes(connection) - before
        finally:
            await connection.close()
    resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"temporary files of the server: {temporary / MIB:,.0f} MiB; most memory of this process: {resident:,.0f} MiB"
    )
    return 1 if wrong else 0


async def _verify(url: str) -> int:
    wrong, began = 0, time.monotonic()
    async for checked in verify(url, KINDS):
        wrong += bool(checked.violations)
        print(f"{checked.seconds:7.1f} s  {'WRONG: ' if checked.violations else ''}{checked.claim}")
    print(f"{time.monotonic() - began:7.1f} s  all of them")
    return wrong


async def _temporary_bytes(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    """The bytes that the server has written to temporary files so far."""
    await asyncio.sleep(STATISTICS_LATE_S)
    statement = "SELECT temp_bytes FROM pg_stat_database WHERE datname = current_database()"
    count: int = await connection.fetchval(statement)
    return count


if __name__ == "__main__":
    sys.exit(main())
