"""The steps of a batch, so that a test can end the process between each two of them."""

from collections.abc import Callable
from enum import StrEnum


class Step(StrEnum):
    COLLECTED = "collected"
    BEGUN = "begun"
    KNOWN_ANSWERED = "known_answered"
    LOCKED = "locked"
    WRITTEN = "written"
    RECORDED = "recorded"
    COMMITTED = "committed"
    PUBLISHED = "published"
    SETTLED = "settled"
    KEPT = "kept"
    TAKEN = "taken"
    HELD = "held"
    RESUMED = "resumed"


TRIP = tuple(step for step in Step if step not in (Step.KEPT, Step.TAKEN, Step.HELD, Step.RESUMED))
"""The steps of every batch. What the broker refuses is kept before its batch counts as published, and taken later; what
cannot be decided is held before its batch is published, and resumed later."""


Failpoint = Callable[[Step], None]


def ignore(_step: Step) -> None:
    """Do nothing: what happens at a step outside of tests."""
