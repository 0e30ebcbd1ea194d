"""Measured figures, by name and round, and the lines of the table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

Round = dict[str, float]
"""One round's figures, by name."""


@dataclass(frozen=True, slots=True)
class Target:
    """The target of a median: a lower or an upper bound."""

    bound: float
    at_most: bool = False

    def met(self, value: float) -> bool:
        """Tell whether a value meets the target."""
        return value <= self.bound if self.at_most else value >= self.bound


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the table: one value for each round. `form` is a format specification."""

    label: str
    values: Sequence[float]
    form: str
    target: Target | None = None

    @property
    def met(self) -> bool | None:
        """Whether the median meets the target; None without a target."""
        return None if self.target is None else self.target.met(median(self.values))


@dataclass(frozen=True, slots=True)
class Figures:
    """All rounds. A round lacks the figures that it did not measure."""

    rounds: Sequence[Mapping[str, float]]

    def of(self, name: str) -> list[float]:
        """The values of one figure."""
        return [figures[name] for figures in self.rounds if name in figures]

    def ratios(self, name: str, other: str) -> list[float]:
        """One figure divided by another within each round, so that figures close in time are compared."""
        return [figures[name] / figures[other] for figures in self.rounds if name in figures and other in figures]
