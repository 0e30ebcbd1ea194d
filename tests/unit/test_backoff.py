"""The pauses between tries."""

from itertools import islice

from genlock.consumers.backoff import PAUSE_FIRST_S, growing_pauses


def test_pauses_double_up_to_the_longest() -> None:
    assert list(islice(growing_pauses(0.5), 5)) == [PAUSE_FIRST_S, 2 * PAUSE_FIRST_S, 4 * PAUSE_FIRST_S, 0.5, 0.5]


def test_each_series_begins_with_the_first_pause() -> None:
    next(growing_pauses(5.0))
    assert next(growing_pauses(5.0)) == PAUSE_FIRST_S
