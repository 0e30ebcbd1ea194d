"""The parts of a run, in the order in which they take their turns in each round."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench import ceilings, drain, hot, inventories, latency
from bench.figures import Figures, Line
from bench.stage import Stage


@dataclass(frozen=True, slots=True)
class Part:
    """Something to measure once in each round, and what the table says of it, by section."""

    measure: Callable[[Stage], Awaitable[None]]
    lines: Callable[[Figures], dict[str, list[Line]]]


PARTS = {
    "drain": Part(drain.measure, drain.lines),
    "ceilings": Part(ceilings.measure, ceilings.lines),
    "inventories": Part(inventories.measure, inventories.lines),
    "latency": Part(latency.measure, latency.lines),
    "hot": Part(hot.measure, hot.lines),
}


def sections(figures: Figures) -> dict[str, list[Line]]:
    """All lines of the table."""
    return {title: lines for part in PARTS.values() for title, lines in part.lines(figures).items()}
