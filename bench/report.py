"""What is printed: the circumstances, and one table of medians, ranges and ratios."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from statistics import median

import asyncpg
from rich.table import Table

from bench.contestants import CONTESTANTS, Contestant
from bench.drain import DRAIN_MAX_S, Drained
from bench.workloads import Preload, Workload
from genlock import servers
from genlock.servers_local import ask_rabbit

PACKAGES = ("aio-pika", "asyncpg", "pydantic")
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")


Preloads = Mapping[Workload, Preload]


async def facts(running: servers.Servers, preloads: Preloads, results: Sequence[Drained]) -> list[str]:
    """What one has to know to judge the table, a line each."""
    connection = await asyncpg.connect(running.database_url)
    try:
        postgres = (await connection.fetchval("SHOW server_version")).split()[0]
        durability = [f"{name} {await connection.fetchval(f'SHOW {name}')}" for name in DURABILITY]
    finally:
        await connection.close()
    packages = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    broker = (
        f"RabbitMQ {ask_rabbit(running.amqp_url)}, one node, quorum queues, persistent messages, publisher confirms"
    )
    return [
        *(f"{contestant.name}: {contestant.about}." for contestant in CONTESTANTS),
        f"PostgreSQL {postgres}, {', '.join(durability)}; {broker}; servers: {running.how}.",
        f"Python {platform.python_version()}, {', '.join(packages)}; {os.cpu_count()} processors for all of it.",
        *(_sizes(workload, preload, results) for workload, preload in preloads.items()),
        f"A drain ends with the last command or after {DRAIN_MAX_S:g} s; contestants take turns; median (min to max).",
    ]


def _sizes(workload: Workload, preload: Preload, results: Sequence[Drained]) -> str:
    firsts = [_of(results, workload, contestant)[0] for contestant in CONTESTANTS]
    events = ", ".join(f"{first.event_bytes} ({first.contestant.name})" for first in firsts)
    name, count, size = workload.name.capitalize(), len(preload.commands), preload.command_bytes
    return f"{name}: {count} commands of {size} bytes; bytes of an event: {events}."


def table(preloads: Preloads, results: Sequence[Drained]) -> Table:
    """Commands in a second, and how many times as fast the first contestant is, compared within each round."""
    first, *others = CONTESTANTS
    made = Table("drain")
    for title in (f"{contestant.name}, commands/s" for contestant in CONTESTANTS):
        made.add_column(title, justify="right")
    for title in (f"{first.name} / {other.name}" for other in others):
        made.add_column(title, justify="right")
    for workload in preloads:
        speeds = [[result.per_second for result in _of(results, workload, contestant)] for contestant in CONTESTANTS]
        ratios = [[ours / theirs for ours, theirs in zip(speeds[0], other, strict=True)] for other in speeds[1:]]
        made.add_row(
            workload.name,
            *(_spread(figures, ",.0f") for figures in speeds),
            *(_spread(figures, ".1f") for figures in ratios),
        )
    return made


def _of(results: Sequence[Drained], workload: Workload, contestant: Contestant) -> list[Drained]:
    return [result for result in results if (result.workload, result.contestant) == (workload, contestant)]


def _spread(figures: Sequence[float], form: str) -> str:
    return f"{median(figures):{form}} ({min(figures):{form}} to {max(figures):{form}})"
