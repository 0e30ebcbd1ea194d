"""Section one: the drain rate of a backlog, by system, processes, share of conflicts, and batch size."""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from bench.figures import Figures, Line, Target
from bench.run import Run
from bench.systems import (
    BROKER_CEILING,
    CELERY,
    FASTSTREAM,
    GENLOCK,
    System,
    with_batches,
    with_copies,
    with_lanes,
    with_workers,
)
from bench.workloads import BULK, BULK_SIZE, EACH, HOT_MERGES, MANY_CONFLICTS, MERGES, SOME_CONFLICTS, Workload

CORES = os.cpu_count() or 1
BATCH_SIZES = (1, 16, 64, 512)
"""The batch sizes besides the default."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A drain of each round. `share` is its part of a full drain's commands."""

    system: System
    workload: Workload
    share: float = 1.0

    @property
    def name(self) -> str:
        """The name of its figure."""
        return f"{self.workload.name}: {self.system.name}"


_GENLOCK = Entry(GENLOCK, EACH)
_FASTSTREAM = Entry(FASTSTREAM, EACH)
_CELERY = Entry(CELERY, EACH)
_CEILING = Entry(BROKER_CEILING, EACH)
_GENLOCK_CORES = Entry(with_workers(CORES), EACH)
_FASTSTREAM_CORES = Entry(with_copies(FASTSTREAM, CORES), EACH)
_LANES = Entry(with_lanes(CORES), EACH)
_BULK = Entry(GENLOCK, BULK, share=2.0)
_BULK_CORES = Entry(with_workers(CORES), BULK, share=2.0)
_HOT = Entry(GENLOCK, HOT_MERGES)
_MERGES = Entry(GENLOCK, MERGES)
_CONFLICTS = [Entry(GENLOCK, SOME_CONFLICTS), Entry(GENLOCK, MANY_CONFLICTS)]
_HOT_PEERS = [Entry(FASTSTREAM, HOT_MERGES), Entry(CELERY, HOT_MERGES)]
_BATCHES = [Entry(with_batches(size), EACH, share=0.5) for size in BATCH_SIZES]

ENTRIES: Sequence[Entry] = (
    _CELERY,
    _FASTSTREAM,
    # Drains compared by a ratio are neighbours.
    _GENLOCK,
    _CEILING,
    _GENLOCK_CORES,
    _FASTSTREAM_CORES,
    _LANES,
    _BULK,
    _BULK_CORES,
    *_HOT_PEERS,
    _HOT,
    _MERGES,
    *_CONFLICTS,
    *_BATCHES,
)

RATE = _GENLOCK.name
"""The name of the drain rate: one process, a record each."""

CORES_RATE, CEILING_RATE, CELERY_RATE = _GENLOCK_CORES.name, _CEILING.name, _CELERY.name
BULK_RATE, BULK_CORES_RATE = _BULK.name, _BULK_CORES.name
FASTSTREAM_RATE, FASTSTREAM_CORES_RATE = _FASTSTREAM.name, _FASTSTREAM_CORES.name

SHAPES = {
    "no conflicts": RATE,
    **{entry.workload.name: entry.name for entry in _CONFLICTS},
    "merges, one hot record": _HOT.name,
    **{f"batches of at most {size}": entry.name for entry, size in zip(_BATCHES, BATCH_SIZES, strict=True)},
}
"""The figures of one process, by workload and batch size."""


async def measure(run: Run) -> None:
    """Drain once with each entry."""
    for entry in ENTRIES:
        await _note(run, entry)


async def rate(run: Run) -> float:
    """The drain rate of this round, measured now if it is missing."""
    if RATE not in run.so_far:
        await _note(run, _GENLOCK)
    return run.so_far[RATE]


async def _note(run: Run, entry: Entry) -> None:
    drained = await run.drain(entry.system, entry.workload, int(run.commands * entry.share))
    run.note(entry.name, drained.per_second, f"{drained.per_second:,.0f}/s")
    run.so_far[f"{entry.name}, event bytes"] = drained.event_bytes
    run.so_far[f"{entry.workload.name}, command bytes"] = drained.command_bytes
    run.note_processor(entry.name, drained.processor_s, drained.events)


def sizes(figures: Figures) -> list[str]:
    """The sizes of commands and events by workload, in sentences."""
    found = []
    for workload in dict.fromkeys(entry.workload for entry in ENTRIES):
        events = [
            f"{figures.of(f'{entry.name}, event bytes')[0]:.0f} ({entry.system.name})"
            for entry in ENTRIES
            if entry.workload == workload and entry.system in (GENLOCK, FASTSTREAM, CELERY) and figures.of(entry.name)
        ]
        if events:
            command = figures.of(f"{workload.name}, command bytes")[0]
            found.append(f"{workload.name.capitalize()}: {command:.0f} bytes a command, {', '.join(events)} an event.")
    return found


def lines(figures: Figures) -> dict[str, list[Line]]:
    """The lines of the table, by title."""

    def rate(entry: Entry, label: str, target: float | None = None) -> Line:
        return Line(label, figures.of(entry.name), ",.0f", Target(target) if target else None)

    def ratio(entry: Entry, other: Entry, label: str, target: float | None = None) -> Line:
        return Line(label, figures.ratios(entry.name, other.name), ".2f", Target(target) if target else None)

    return {
        "drain a backlog, a record each, one process: commands/s": [
            rate(_GENLOCK, "Genlock"),
            rate(_FASTSTREAM, "FastStream"),
            rate(_CELERY, "Celery"),
            rate(_CEILING, "ceiling: RabbitMQ alone, through Genlock's edges"),
            ratio(_GENLOCK, _FASTSTREAM, "Genlock / FastStream", 6.0),
            ratio(_GENLOCK, _CELERY, "Genlock / Celery"),
            ratio(_GENLOCK, _CEILING, "Genlock / RabbitMQ alone", 0.7),
        ],
        f"the same, {CORES} processes: commands/s": [
            rate(_GENLOCK_CORES, "Genlock"),
            rate(_LANES, f"Genlock, {CORES} lanes"),
            rate(_FASTSTREAM_CORES, "FastStream"),
            ratio(_GENLOCK_CORES, _FASTSTREAM_CORES, "Genlock / FastStream"),
        ],
        f"drain a backlog in bulk, {BULK_SIZE} commands in a message: commands/s": [
            rate(_BULK, "Genlock, one process"),
            rate(_BULK_CORES, f"Genlock, {CORES} processes", 10_000),
        ],
        "drain merges that commute: commands/s": [
            rate(_HOT, "Genlock, one hot record"),
            *(rate(entry, f"{entry.system.name}, one hot record") for entry in _HOT_PEERS),
            rate(_MERGES, "Genlock, a record each"),
            ratio(_HOT, _MERGES, "one hot record / a record each", 0.7),
        ],
        "drain with conflicts: commands/s": [
            rate(_GENLOCK, "0 % conflicts"),
            *(rate(entry, entry.workload.name) for entry in _CONFLICTS),
        ],
        "drain by the size of a batch: commands/s": [
            *(rate(entry, f"at most {size}") for entry, size in zip(_BATCHES, BATCH_SIZES, strict=True)),
        ],
        "processor time of a command: µs": [
            Line(f"{entry.system.name}: {process}", figures.of(f"{entry.name}, processor of {name}"), ",.0f")
            for entry in (_GENLOCK, _CEILING, _FASTSTREAM, _CELERY)
            for process, name in (("Python", entry.system.name), ("PostgreSQL",) * 2, ("RabbitMQ",) * 2)
        ],
    }
