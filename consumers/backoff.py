"""Backing off: how long to wait before the next try of something that a server refuses for now."""

from collections.abc import Iterator

PAUSE_FIRST_S = 0.1


def growing_pauses(longest_s: float) -> Iterator[float]:
    """The pauses between tries, in seconds, without end: each twice as long as the one before, up to the longest."""
    pause_s = PAUSE_FIRST_S
    while True:
        yield pause_s
        pause_s = min(2 * pause_s, longest_s)
