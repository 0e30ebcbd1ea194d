"""Part of its own: whether it stays as fast when it has grown, and as small before a backlog of a million.

python -m bench.growth [--records N,…] [--backlog N] [--rounds N] [--save FILE]

The databases are loaded by SQL, 10 million records and ledger rows by default, so this needs some 40 GB of disk for a
quarter of an hour; all of it is given back in the end.
"""

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from statistics import median

from rich.console import Console

from bench import processor
from bench.contest import count_events, serving, until_consuming
from bench.contestants import GENLOCK
from bench.figures import Figures, Line, Round, Target
from bench.grown import BYTES_EACH, Grown, grown
from bench.latency import LOAD_S, WARM_UP_S, load, lone, percentile_ms
from bench.queues import queues
from bench.report import circumstances, table
from bench.running import WIDTH, positive, say, with_servers
from genlock import servers

RECORDS = (1_000, 1_000_000, 10_000_000)
BACKLOG = 1_000_000
ROUNDS = 3
COMMANDS = 15_000
DRAIN_TIMEOUT_S = 120.0
LONE = 100
LOAD_POINTS = ("p50", "p99")
LOAD = 0.5
"""Of the drain rate of the smallest database in the same round."""

BACKLOG_TIMEOUT_S = 1_200.0
SAMPLE_S = 2.0
"""How often memory is looked at while the backlog is drained."""

SLOWER_AT_MOST = 0.15
FLAT = 1.1
"""How many times as much memory the last tenth of the backlog may take as the second one."""

MIB = 1 << 20


def main() -> int:
    """Run all of it; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench.growth", description="Measure what growth costs.")
    parser.add_argument("--records", type=_sizes, default=RECORDS, help="sizes of databases (default 1e3,1e6,1e7)")
    parser.add_argument("--backlog", type=positive, default=BACKLOG, help="of commands (default %(default)s)")
    parser.add_argument("--rounds", type=positive, default=ROUNDS, help="of the sizes in turn (default %(default)s)")
    parser.add_argument("--save", type=Path, help="where to keep all figures, as JSON")
    options = parser.parse_args()
    about, rounds = with_servers(lambda running: _run(running, options.records, options.backlog, options.rounds))
    if options.save:
        options.save.parent.mkdir(parents=True, exist_ok=True)
        options.save.write_text(json.dumps({"facts": about, "rounds": rounds}, indent=1))
    print("", *about, "", sep="\n")
    Console(width=WIDTH).print(table(lines(Figures(rounds), options.records, options.backlog), len(rounds)))
    return 0


def _sizes(text: str) -> list[int]:
    return [positive(number) for number in text.split(",")]


async def _run(
    running: servers.Servers, sizes: Sequence[int], backlog: int, rounds: int
) -> tuple[list[str], list[Round]]:
    _require_disk(sum(sizes) * BYTES_EACH + backlog * 2 * BYTES_EACH)
    done: list[Round] = [{} for _ in range(rounds)]
    async with AsyncExitStack() as stack:
        databases = []
        for size in sizes:
            began = time.monotonic()
            databases.append(await stack.enter_async_context(grown(running, size)))
            say(f"{size:,} records and ledger rows loaded in {time.monotonic() - began:.0f} s")
        for number, figures in enumerate(done, start=1):
            for database in databases:
                await _measure(running, database, figures, figures.get(_drain(sizes[0]), 0.0))
                say(f"round {number} of {rounds}: {_shown(figures, database.size)}")
    async with grown(running, backlog) as database:
        await _drain_backlog(running, database, done[0])
    return await circumstances(running), done


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


async def _measure(running: servers.Servers, database: Grown, figures: Round, base_per_second: float) -> None:
    """Drain once, then time lone commands and a load, on the same database."""
    async with queues(running.amqp_url) as waiting, asyncio.timeout(DRAIN_TIMEOUT_S):
        commands = database.commands(COMMANDS)
        await waiting.preload(commands)
        async with serving(running, GENLOCK, database.url, waiting.namespace) as started:
            await until_consuming(started, waiting, GENLOCK.consumers)
            groups = {"Genlock": [started[0].process.pid], **processor.server_groups(running)}
            used = processor.seconds(groups)
            events, seconds = await count_events(started, waiting, COMMANDS, DRAIN_TIMEOUT_S)
            per_second = events / seconds
            figures[_drain(database.size)] = per_second
            for name, now in processor.seconds(groups).items():
                figures[_processor(database.size, name)] = (now - used[name]) / events * 1e6
            single = database.commands(LONE)
            seconds_each = await lone(running, waiting.namespace, single)
            figures[_lone(database.size)] = percentile_ms(seconds_each, "p50")
            rate = LOAD * (base_per_second or per_second)
            several = database.commands(int(rate * (WARM_UP_S + LOAD_S)))
            seconds_each = await load(running, waiting, several, rate)
            for point in LOAD_POINTS:
                figures[_loaded(database.size, point)] = percentile_ms(seconds_each, point)
        await database.check([*commands, *single, *several])


async def _drain_backlog(running: servers.Servers, database: Grown, figures: Round) -> None:
    """Drain as many commands as there are records, and look at the memory of the process all the while."""
    async with queues(running.amqp_url) as waiting:
        began = time.monotonic()
        await waiting.preload(database.each())
        say(f"{database.size:,} commands wait after {time.monotonic() - began:.0f} s")
        async with serving(running, GENLOCK, database.url, waiting.namespace) as started:
            await until_consuming(started, waiting, GENLOCK.consumers)
            began = time.perf_counter()
            samples: list[tuple[int, int]] = []
            while not samples or samples[-1][0] < database.size:
                started[0].must_run()
                if time.perf_counter() - began > BACKLOG_TIMEOUT_S:
                    raise RuntimeError(f"the backlog was not drained in {BACKLOG_TIMEOUT_S:.0f} s: {samples[-1]}")
                await asyncio.sleep(SAMPLE_S)
                samples.append((await waiting.events(), processor.resident_bytes(started[0].process.pid)))
            seconds = time.perf_counter() - began
        await database.check_each()
    figures["backlog, commands/s"] = database.size / seconds
    for tenth, title in ((1, "second"), (9, "last")):
        figures[f"backlog, {title} tenth, MiB"] = _resident(samples, database.size, tenth)
    figures["backlog, most, MiB"] = max(resident for _, resident in samples) / MIB


def _resident(samples: Sequence[tuple[int, int]], size: int, tenth: int) -> float:
    """The median of the memory in a tenth of the backlog."""
    found = [resident for events, resident in samples if tenth * size < 10 * events <= (tenth + 1) * size]
    return median(found or [samples[-1][1]]) / MIB


def lines(figures: Figures, sizes: Sequence[int], backlog: int) -> dict[str, list[Line]]:
    """What the table says, by section."""
    least, most = sizes[0], sizes[-1]
    return {
        "drain with so many records and ledger rows: commands/s": [
            *(Line(f"{size:,}", figures.of(_drain(size)), ",.0f") for size in sizes),
            Line(
                f"{most:,} / {least:,}", figures.ratios(_drain(most), _drain(least)), ".2f", Target(1 - SLOWER_AT_MOST)
            ),
        ],
        "processor time of a drained command: µs": [
            Line(f"{size:,}, {name}", figures.of(_processor(size, process)), ",.0f")
            for size in sizes
            for name, process in (("Python", "Genlock"), ("PostgreSQL", "PostgreSQL"))
        ],
        "a lone command, p50: ms": [
            *(Line(f"{size:,}", figures.of(_lone(size)), ".1f") for size in sizes),
            Line(
                f"{most:,} / {least:,}",
                figures.ratios(_lone(most), _lone(least)),
                ".2f",
                Target(1 + SLOWER_AT_MOST, at_most=True),
            ),
        ],
        f"at half the drain rate with {least:,} records: ms": [
            Line(f"{size:,}, {point}", figures.of(_loaded(size, point)), ".1f")
            for size in sizes
            for point in LOAD_POINTS
        ],
        f"a backlog of {backlog:,} commands, one process": [
            Line("commands/s", figures.of("backlog, commands/s"), ",.0f"),
            Line("resident memory in the second tenth: MiB", figures.of("backlog, second tenth, MiB"), ",.0f"),
            Line("in the last tenth: MiB", figures.of("backlog, last tenth, MiB"), ",.0f"),
            Line("at most: MiB", figures.of("backlog, most, MiB"), ",.0f"),
            Line(
                "last tenth / second tenth",
                figures.ratios("backlog, last tenth, MiB", "backlog, second tenth, MiB"),
                ".2f",
                Target(FLAT, at_most=True),
            ),
        ],
    }


if __name__ == "__main__":
    sys.exit(main())
