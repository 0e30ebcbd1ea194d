"""The sections of a run, in their order within each round."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench import ceilings, drain, hot, inventories, latency
from bench.figures import Figures, Line
from bench.run import Run


@dataclass(frozen=True, slots=True)
class Section:
    """A measurement of each round, and its lines of the table by title."""

    measure: Callable[[Run], Awaitable[None]]
    lines: Callable[[Figures], dict[str, list[Line]]]


SECTIONS = {
    "drain": Section(drain.measure, drain.lines),
    "ceilings": Section(ceilings.measure, ceilings.lines),
    "inventories": Section(inventories.measure, inventories.lines),
    "latency": Section(latency.measure, latency.lines),
    "hot": Section(hot.measure, hot.lines),
}


def sections(figures: Figures) -> dict[str, list[Line]]:
    """All lines of the table."""
    return {title: lines for section in SECTIONS.values() for title, lines in section.lines(figures).items()}
