"""A separate benchmark: the speed with large tables, and the memory with a backlog of a million.

python -m bench.growth [--records N,…] [--backlog N] [--rounds N] [--default-settings] [--save FILE]

The databases are loaded by SQL, 10 million records and ledger rows by default, so this needs about 40 GB of disk for a
quarter of an hour. All of it is freed in the end.
"""

import argparse
import asyncio
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from rich.console import Console

from bench import processor
from bench.drain_run import count_events, serving, until_consuming
from bench.figures import Figures, Line, Round, Target
from bench.latency import LOAD_S, WARM_UP_S, load, lone, percentile_ms
from bench.prefilled import BYTES_EACH, PrefilledDatabase, prefilled
from bench.queues import Queues, queues
from bench.report import circumstances, table
from bench.running import WIDTH, positive, say, with_servers
from bench.systems import GENLOCK
from genlock import servers

RECORDS = (1_000, 1_000_000, 10_000_000)
BACKLOG = 1_000_000
ROUNDS = 3
COMMANDS = 15_000
DRAIN_TIMEOUT_S = 120.0
LONE = 100
ALL = "all"
PROCESSES = ("Python", "PostgreSQL", "RabbitMQ", ALL)
LOAD_POINTS = ("p50", "p99")
LOAD = 0.5
"""The load, as a share of the smallest database's drain rate in the same round."""

BACKLOG_TIMEOUT_S = 1_200.0
SAMPLE_S = 2.0
"""The interval at which memory and processor time are sampled during the backlog."""

TENTHS = {0: "first", 1: "second", 9: "last"}
"""The tenths of the backlog in the table."""

SLOWER_AT_MOST = 0.15
PRODUCTION = {
    "shared_buffers": f"{os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE') // 4 >> 20}MB",
    "max_wal_size": "16GB",
    "checkpoint_timeout": "30min",
    "wal_compression": "lz4",
}
"""The settings of a started PostgreSQL: those of docs/production.md, with a quarter of the memory as buffers."""

LOG_BYTES = 16 << 30
"""Disk space for PostgreSQL's log."""

FLAT = 1.1
"""The largest ratio of memory between the last and the second tenth of the backlog."""

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample during the backlog: the events so far, the process's memory in bytes, and processor time."""

    events: int
    at_s: float
    resident: int
    processor_s: dict[str, float]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description="Measure what growth costs.")
    parser.add_argument("--records", type=_sizes, default=RECORDS, help="sizes of databases (default 1e3,1e6,1e7)")
    parser.add_argument("--backlog", type=positive, default=BACKLOG, help="of commands (default %(default)s)")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help="of the sizes in turn (default %(default)s)")
    parser.add_argument("--default-settings", action="store_true", help="of PostgreSQL, for comparison")
    parser.add_argument("--save", type=Path, help="where to keep all figures, as JSON")
    options = parser.parse_args()
    settings = [] if options.default_settings else [f"{name}={value}" for name, value in PRODUCTION.items()]
    about, fresh, later = with_servers(
        lambda running: _run(running, options.records, options.backlog, options.rounds), settings
    )
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps({"facts": about, "rounds": fresh, "later": later}, indent=1))
    print("", *about, "", sep="\n")
    least, most = options.records[0], options.records[-1]
    sections = {
        **compared(Figures(fresh), options.records, "after a checkpoint"),
        **of_backlog(Figures(fresh), most, options.backlog),
        **compared(Figures(later), (least, most), "after the backlog"),
    }
    Console(width=WIDTH).print(table(sections, options.rounds))
    return 0


def _sizes(text: str) -> list[int]:
    return [positive(number) for number in text.split(",")]


async def _run(
    running: servers.Servers, sizes: Sequence[int], backlog: int, rounds: int
) -> tuple[list[str], list[Round], list[Round]]:
    """Return the circumstances, the rounds right after a checkpoint, and those after the backlog."""
    _require_disk((sum(sizes) + backlog) * BYTES_EACH + LOG_BYTES)
    async with AsyncExitStack() as stack:
        databases = []
        for size in sizes:
            began = time.monotonic()
            databases.append(await stack.enter_async_context(prefilled(running, size)))
            say(f"{size:,} records and ledger rows loaded in {time.monotonic() - began:.0f} s")
        fresh = [await _round(running, databases, settled=True) for _ in range(rounds)]
        fresh[0] |= await _drain_backlog(running, databases[-1], backlog)
        later = [await _round(running, [databases[0], databases[-1]], settled=False) for _ in range(rounds)]
    return await circumstances(running, tuple(PRODUCTION)), fresh, later


async def _round(running: servers.Servers, databases: Sequence[PrefilledDatabase], *, settled: bool) -> Round:
    """Drain all databases in immediate succession, because their rates are compared; then time them."""
    figures: Round = {}
    for measure in (_drain_once, _time):
        for database in databases:
            if settled:
                await database.settle()
            await measure(running, database, figures, databases[0].size)
    for database in databases:
        say(_shown(figures, database.size))
    return figures


def _require_disk(wanted: int) -> None:
    free = shutil.disk_usage(tempfile.gettempdir()).free
    if free < wanted:
        raise servers.ServersUnavailable(f"This takes about {wanted >> 30} GB of disk, and {free >> 30} GB are free.")


def _drain(size: int) -> str:
    return f"drain, {size:,} records"


def _processor(size: int, process: str) -> str:
    return f"processor of {process}, {size:,} records"


def _lone(size: int) -> str:
    return f"a lone command p50, {size:,} records"


def _loaded(size: int, point: str) -> str:
    return f"at half the drain rate {point}, {size:,} records"


def _shown(figures: Round, size: int) -> str:
    return ", ".join(f"{name}: {value:,.1f}" for name, value in figures.items() if f"{size:,} records" in name)


async def _drain_once(running: servers.Servers, database: PrefilledDatabase, figures: Round, _least: int) -> None:
    """Drain a queue; note the rate and the processor time of a command."""
    commands = list(database.commands(COMMANDS))
    async with queues(running.amqp_url) as waiting, asyncio.timeout(DRAIN_TIMEOUT_S):
        await waiting.preload(commands)
        async with serving(running, GENLOCK, database.url, waiting.namespace) as started:
            await until_consuming(started, waiting, GENLOCK.consumers)
            groups = {"Python": [started[0].process.pid], **processor.server_groups(running)}
            used = processor.seconds(groups)
            events, seconds = await count_events(started, waiting, COMMANDS, DRAIN_TIMEOUT_S)
            now = processor.seconds(groups)
    await database.check(commands)
    figures[_drain(database.size)] = events / seconds
    each = {name: (now[name] - used[name]) / events * 1e6 for name in groups}
    for name, microseconds in (each | {ALL: sum(each.values())}).items():
        figures[_processor(database.size, name)] = microseconds


async def _time(running: servers.Servers, database: PrefilledDatabase, figures: Round, least: int) -> None:
    """Time lone commands, and a load relative to the drain rate of the database with `least` records."""
    rate = LOAD * figures[_drain(least)]
    single = list(database.commands(LONE))
    several = list(database.commands(int(rate * (WARM_UP_S + LOAD_S))))
    async with (
        asyncio.timeout(DRAIN_TIMEOUT_S),
        queues(running.amqp_url) as waiting,
        serving(running, GENLOCK, database.url, waiting.namespace) as started,
    ):
        await until_consuming(started, waiting, GENLOCK.consumers)
        seconds_each = await lone(running, waiting.namespace, single)
        figures[_lone(database.size)] = percentile_ms(seconds_each, "p50")
        seconds_each = await load(running, waiting, several, rate)
        for point in LOAD_POINTS:
            figures[_loaded(database.size, point)] = percentile_ms(seconds_each, point)
    await database.check([*single, *several])


async def _drain_backlog(running: servers.Servers, database: PrefilledDatabase, backlog: int) -> Round:
    """Drain the backlog while sampling memory and processor time."""
    await database.settle()
    async with queues(running.amqp_url) as waiting:
        began = time.monotonic()
        await waiting.preload(database.commands(backlog))
        say(f"{backlog:,} commands wait after {time.monotonic() - began:.0f} s")
        async with serving(running, GENLOCK, database.url, waiting.namespace) as started:
            await until_consuming(started, waiting, GENLOCK.consumers)
            groups = {"Python": [started[0].process.pid], **processor.server_groups(running)}
            samples = [await _sample(waiting, groups)]
            while samples[-1].events < backlog:
                started[0].must_run()
                if samples[-1].at_s - samples[0].at_s > BACKLOG_TIMEOUT_S:
                    raise RuntimeError(f"the backlog was not drained in {BACKLOG_TIMEOUT_S:.0f} s: {samples[-1]}")
                await asyncio.sleep(SAMPLE_S)
                samples.append(await _sample(waiting, groups))
        await database.check_all()
    figures = {
        "backlog, commands/s": backlog / (samples[-1].at_s - samples[0].at_s),
        "backlog, most, MiB": max(sample.resident for sample in samples) / MIB,
    }
    for tenth, title in TENTHS.items():
        within = [sample for sample in samples if tenth * backlog <= 10 * sample.events < (tenth + 1) * backlog]
        if len(within) > 1:
            figures |= _tenth(title, within)
    return figures


async def _sample(waiting: Queues, groups: Mapping[str, Sequence[int]]) -> Sample:
    resident = processor.resident_bytes(groups["Python"][0])
    return Sample(await waiting.events(), time.perf_counter(), resident, processor.seconds(groups))


def _tenth(title: str, samples: Sequence[Sample]) -> Round:
    """The figures of a tenth of the backlog, from at least two samples."""
    first, last = samples[0], samples[-1]
    events = last.events - first.events
    each = {name: (last.processor_s[name] - first.processor_s[name]) / events * 1e6 for name in first.processor_s}
    return {
        f"backlog, {title} tenth, commands/s": events / (last.at_s - first.at_s),
        f"backlog, {title} tenth, MiB": median(sample.resident for sample in samples) / MIB,
        **{_backlog_processor(title, name): value for name, value in (each | {ALL: sum(each.values())}).items()},
    }


def _backlog_processor(title: str, process: str) -> str:
    return f"backlog, {title} tenth, processor of {process}"


def compared(figures: Figures, sizes: Sequence[int], moment: str) -> dict[str, list[Line]]:
    """The lines of the table for one comparison of all sizes, by title."""
    least, most = sizes[0], sizes[-1]
    return {
        f"{moment}, drain: commands/s": [
            *(Line(f"{size:,}", figures.of(_drain(size)), ",.0f") for size in sizes),
            Line(
                f"{most:,} / {least:,}", figures.ratios(_drain(most), _drain(least)), ".2f", Target(1 - SLOWER_AT_MOST)
            ),
        ],
        f"{moment}, processor time: µs": [
            *(
                Line(f"{size:,}, {process}", figures.of(_processor(size, process)), ",.0f")
                for size in sizes
                for process in PROCESSES
            ),
            Line(
                f"{most:,} / {least:,}, {ALL}",
                figures.ratios(_processor(most, ALL), _processor(least, ALL)),
                ".2f",
            ),
        ],
        f"{moment}, lone command, p50: ms": [
            *(Line(f"{size:,}", figures.of(_lone(size)), ".1f") for size in sizes),
            Line(
                f"{most:,} / {least:,}",
                figures.ratios(_lone(most), _lone(least)),
                ".2f",
                Target(1 + SLOWER_AT_MOST, at_most=True),
            ),
        ],
        f"{moment}, load: ms": [
            Line(f"{size:,}, {point}", figures.of(_loaded(size, point)), ".1f")
            for size in sizes
            for point in LOAD_POINTS
        ],
    }


def of_backlog(figures: Figures, size: int, backlog: int) -> dict[str, list[Line]]:
    """The lines of the table for the backlog."""
    return {
        f"a backlog of {backlog:,} commands with {size:,} records": [
            Line("commands/s", figures.of("backlog, commands/s"), ",.0f"),
            *(
                Line(f"{title} tenth: commands/s", figures.of(f"backlog, {title} tenth, commands/s"), ",.0f")
                for title in TENTHS.values()
            ),
            *(
                Line(f"{title} tenth, {process}: µs", figures.of(_backlog_processor(title, process)), ",.0f")
                for title in TENTHS.values()
                for process in ("PostgreSQL", ALL)
            ),
            *(
                Line(f"{title} tenth, resident memory: MiB", figures.of(f"backlog, {title} tenth, MiB"), ",.0f")
                for title in TENTHS.values()
            ),
            Line("at most: MiB", figures.of("backlog, most, MiB"), ",.0f"),
            Line(
                "memory, last tenth / second tenth",
                figures.ratios("backlog, last tenth, MiB", "backlog, second tenth, MiB"),
                ".2f",
                Target(FLAT, at_most=True),
            ),
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
