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


Reached = Callable[[Step], None]


def ignore(_step: Step) -> None:
    """Do nothing: what happens at a step outside of tests."""
