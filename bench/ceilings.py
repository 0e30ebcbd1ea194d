"""Section two: the rate of PostgreSQL alone, with the same statements and arguments and without a broker.

The statements are those that Genlock sends for the same commands, one batch after the other. They are recorded once,
from a working decider, and then replayed on a fresh database by a minimal client. The other ceiling, RabbitMQ alone,
is one of the systems (`broker_ceiling.py`).
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import asyncpg
import structlog

from bench import processor
from bench.drain import BULK_CORES_RATE, BULK_RATE, CORES
from bench.drain_run import prepare
from bench.figures import Figures, Line, Target
from bench.run import Run
from bench.systems import GENLOCK
from bench.workloads import EACH, FIRST, Preload
from genlock import servers
from genlock.schemas.decode import Command, decode
from genlock.service.database.transactions import DECIDING_PLANS, Pool, open_pool
from genlock.service.deciding.decide import Decider
from genlock.service.kinds.registry import KINDS
from genlock.service.settings import Settings

BATCH_SIZE: int = Settings.model_fields["batch_size_max"].default
TIMEOUT_S: float = Settings.model_fields["decide_timeout_s"].default

ONE = "PostgreSQL alone, one connection"
ALL = f"PostgreSQL alone, {CORES} connections"
DECIDER = "the decider alone"


@dataclass(slots=True)
class Tape:
    """The statements of each transaction, with their arguments, in order."""

    transactions: list[list[tuple[str, Sequence[Any]]]] = field(default_factory=list)

    def take(self, logged: Any) -> None:
        """Record a statement; asyncpg calls this after each."""
        if logged.query.startswith("BEGIN"):
            self.transactions.append([])
        self.transactions[-1].append((logged.query, logged.args))


async def measure(run: Run) -> None:
    """Replay on one connection and on as many as there are cores, and let a decider work without a broker."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    preload = run.preload(EACH, GENLOCK, 2 * run.commands)
    if (tape := run.once("tape", Tape)).transactions == []:
        await _decide(run.running, preload, tape)
    for name, connections in ((ONE, 1), (ALL, CORES)):
        per_second = await _replay(run.running, preload, tape, connections)
        run.note(name, per_second, f"{per_second:,.0f}/s")
    per_second = await _decide(run.running, preload, None)
    run.note(DECIDER, per_second, f"{per_second:,.0f}/s")


@asynccontextmanager
async def _database(running: servers.Servers, preload: Preload, connections: int) -> AsyncIterator[Pool]:
    """Yield a database with the records of the commands. Afterwards all commands must have taken effect."""
    async with servers.database(running.database_url) as url:
        await prepare(GENLOCK, url, preload)
        async with await open_pool(url, size=connections, timeout_s=TIMEOUT_S, plans=DECIDING_PLANS) as pool:
            yield pool
            done = await pool.fetchval("SELECT sum(generation - $1)::bigint FROM documents", FIRST)
            recorded = await pool.fetchval("SELECT count(*) FROM ledger")
    if not done == recorded == preload.commands:
        raise RuntimeError(f"{done} documents were changed and {recorded} verdicts recorded, not {preload.commands}")


async def _decide(running: servers.Servers, preload: Preload, tape: Tape | None) -> float:
    """Decide all commands, one batch after the other; return commands/s."""
    commands = [decode(message.body, message.routing_key) for message in preload.messages]
    decoded = [command for command in commands if isinstance(command, Command)]
    async with _database(running, preload, 1) as pool:
        if tape:
            async with pool.acquire() as connection:
                connection.add_query_logger(tape.take)
        decider = Decider(pool, KINDS, source="/bench", retention=timedelta(days=14), timeout_s=TIMEOUT_S)
        confirmed: list[int] = []
        with processor.no_collection():
            began = time.perf_counter()
            for start in range(0, len(decoded), BATCH_SIZE):
                # As if the events of the previous batch were confirmed.
                confirmed = (await decider.decide(decoded[start : start + BATCH_SIZE], confirmed)).batch_ids
            seconds = time.perf_counter() - began
        # asyncpg calls the logger after the statement, in a later iteration of the event loop.
        await asyncio.sleep(0)
    return len(decoded) / seconds


async def _replay(running: servers.Servers, preload: Preload, tape: Tape, connections: int) -> float:
    """Replay the recorded statements over several connections; return commands/s."""
    waiting = list(reversed(tape.transactions))
    async with _database(running, preload, connections) as pool:
        held = [await pool.acquire() for _ in range(connections)]

        async def replay(connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]") -> None:
            while waiting:
                for statement, arguments in waiting.pop():
                    # A statement without arguments is BEGIN or COMMIT.
                    await (connection.fetch if arguments else connection.execute)(statement, *arguments)

        with processor.no_collection():
            began = time.perf_counter()
            await asyncio.gather(*map(replay, held))
            seconds = time.perf_counter() - began
        for connection in held:
            await pool.release(connection)
    return preload.commands / seconds


def lines(figures: Figures) -> dict[str, list[Line]]:
    """The lines of the table, by title."""
    return {
        "ceiling, PostgreSQL alone, the same statements: commands/s": [
            Line("one connection", figures.of(ONE), ",.0f"),
            Line(f"{CORES} connections", figures.of(ALL), ",.0f"),
            Line("with Genlock's decider, one connection", figures.of(DECIDER), ",.0f"),
            Line("bulk, one process / one connection", figures.ratios(BULK_RATE, ONE), ".2f"),
            Line(
                f"bulk, {CORES} processes / {CORES} connections",
                figures.ratios(BULK_CORES_RATE, ALL),
                ".2f",
                Target(0.6),
            ),
        ]
    }
