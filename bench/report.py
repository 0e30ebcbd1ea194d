"""The report: the circumstances, and one table of medians, ranges, ratios and targets."""

import os
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from statistics import median

import asyncpg
from rich.table import Table
from rich.text import Text

from bench import drain
from bench.figures import Figures, Line
from bench.systems import BROKER_CEILING, CELERY, FASTSTREAM, GENLOCK
from genlock import servers
from genlock.servers.probes import ask_rabbit

PACKAGES = ("aio-pika", "aiormq", "asyncpg", "pydantic", "celery", "faststream", "psycopg", "openstack-placement")
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes", "wal_level")


async def facts(running: servers.Servers, figures: Figures) -> list[str]:
    """The facts needed to judge the table, one a line."""
    systems = [f"{system.name}: {system.about}." for system in (GENLOCK, FASTSTREAM, CELERY, BROKER_CEILING)]
    return [*await circumstances(running), *systems, *drain.sizes(figures)]


async def circumstances(running: servers.Servers, settings: Sequence[str] = ()) -> list[str]:
    """The machine, the servers with their durability settings and further settings of PostgreSQL, and the packages."""
    connection = await asyncpg.connect(running.database_url)
    try:
        postgres = (await connection.fetchval("SHOW server_version")).split()[0]
        shown = [f"{name} {await connection.fetchval(f'SHOW {name}')}" for name in (*DURABILITY, *settings)]
    finally:
        await connection.close()
    packages = [f"{name} {metadata.version(name)}" for name in PACKAGES]
    machine = f"{os.cpu_count()} processors for everything, {platform.system()} {platform.release()}"
    broker = f"RabbitMQ {ask_rabbit(running.amqp_url)}, one node"
    return [
        f"Machine: {machine}; servers: {running.how}.",
        f"PostgreSQL {postgres}, {', '.join(shown)}.",
        f"{broker}: quorum queues for commands and events, persistent messages, acknowledgement after the confirm.",
        f"Python {platform.python_version()}, {', '.join(packages)}.",
    ]


def table(sections: Mapping[str, Sequence[Line]], rounds: int) -> Table:
    """The table: all measured lines by title, with their targets."""
    made = Table()
    made.add_column(f"{rounds} rounds" if rounds > 1 else "1 round", no_wrap=True)
    made.add_column("median", justify="right")
    made.add_column("least to most", justify="right", no_wrap=True)
    made.add_column("target", justify="right")
    made.add_column("met")
    for title, lines in sections.items():
        measured = [line for line in lines if line.values]
        if not measured:
            continue
        made.add_section()
        made.add_row(Text(title, style="bold"))
        for line in measured:
            made.add_row(*_cells(line))
    return made


def _cells(line: Line) -> Sequence[str]:
    middle = f"{median(line.values):{line.form}}"
    spread = f"{min(line.values):{line.form}} to {max(line.values):{line.form}}"
    if line.target is None:
        return "  " + line.label, middle, spread, "", ""
    bound = f"{'≤' if line.target.at_most else '≥'} {line.target.bound:,g}"
    return "  " + line.label, middle, spread, bound, "met" if line.met else "NOT MET"
