"""The horizon of the ledger, by clocks of the test: which jumps and pauses it follows, and how fast."""

from datetime import UTC, datetime, timedelta

import pytest

from genlock.service.database.clocks import Clocks
from genlock.service.ledger.horizon import PACE, SEEN_S, Horizon

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RETENTION = timedelta(days=14)
PASS_S = 60.0
DAYS_20_S = 20 * 86_400.0


class Passes:
    """Passes over a ledger whose oldest batch is some days old at the first of them."""

    def __init__(self, days: float) -> None:
        self.passed_s = 0.0
        self.oldest = NOW - timedelta(days=days)
        self._horizon = Horizon(RETENTION, monotonic=lambda: self.passed_s)

    def next(self, wrong_s: float = 0.0, *, database_s: float | None = None, after_s: float = PASS_S) -> float | None:
        """How many seconds behind the first pass the horizon is at the next one; None if nothing is forgotten.

        Both clocks are ahead by `wrong_s`, unless that of the database is by `database_s`.
        """
        self.passed_s += after_s
        right = NOW + timedelta(seconds=self.passed_s)
        replica = right + timedelta(seconds=wrong_s)
        database = replica if database_s is None else right + timedelta(seconds=database_s)
        before = self._horizon.of(Clocks(replica, database, replica), self.oldest)
        return None if before is None else (NOW - before).total_seconds()

    def many(self, seconds: float, wrong_s: float = 0.0) -> list[float | None]:
        """Pass for so long."""
        return [self.next(wrong_s) for _ in range(int(seconds / PASS_S))]


def retention_s(passes: Passes) -> float:
    return RETENTION.total_seconds() - passes.passed_s


def test_age_counts_once_it_was_seen_for_minutes() -> None:
    passes = Passes(14)
    assert passes.next() is None
    assert passes.many(SEEN_S - PASS_S) == [None] * int(SEEN_S / PASS_S - 1)
    assert passes.next() == RETENTION.total_seconds() - PASS_S
    assert passes.next() == RETENTION.total_seconds() - 2 * PASS_S


@pytest.mark.parametrize("wrong_s", [DAYS_20_S, 86_400.0, 3_600.0])
def test_jump_of_all_clocks_that_is_put_right_soon_forgets_nothing(wrong_s: float) -> None:
    passes = Passes(14)
    passes.many(3_600)
    for _ in range(3):
        jump = passes.many(SEEN_S, wrong_s)
        quiet = passes.many(3_600)
        assert all(behind is None or behind >= retention_s(passes) for behind in jump + quiet)


def test_jump_that_lasts_forgets_a_few_hours_in_an_hour() -> None:
    passes = Passes(14)
    passes.many(600)
    oldest_s = passes.oldest.timestamp() - NOW.timestamp()
    for hour in range(1, 4):
        behind = passes.many(3_600, DAYS_20_S)[-1]
        assert behind is not None
        assert -behind - oldest_s <= PACE * (hour * 3_600 + 600)


@pytest.mark.parametrize(("wrong_s", "database_s"), [(DAYS_20_S, 0.0), (0.0, DAYS_20_S), (0.0, -61.0)])
def test_clocks_that_disagree_stop_it_and_it_begins_anew(wrong_s: float, database_s: float) -> None:
    passes = Passes(14)
    assert passes.many(SEEN_S + PASS_S)[-1] is not None
    assert passes.next(wrong_s, database_s=database_s) is None
    assert passes.many(SEEN_S) == [None] * int(SEEN_S / PASS_S)
    assert passes.next() is not None


def test_what_is_left_behind_is_caught_up_with() -> None:
    """After a month without a service 30 days are past the retention."""
    passes = Passes(44)
    hours = [passes.many(3_600)[-1] for _ in range(24 * 14)]
    assert hours[0] is not None
    assert hours[0] > timedelta(days=43).total_seconds()
    assert hours[-1] == pytest.approx(retention_s(passes), abs=SEEN_S)


def test_clocks_may_be_centuries_off() -> None:
    passes = Passes(14)
    passes.many(SEEN_S + PASS_S)
    passes.oldest = datetime(9999, 12, 31, 23, tzinfo=UTC)
    far = Horizon(RETENTION, seen_s=0, monotonic=iter((0.0, 1e12)).__next__)
    clocks = Clocks(passes.oldest, passes.oldest, passes.oldest)
    assert far.of(clocks, passes.oldest) == passes.oldest - RETENTION
    assert far.of(clocks, passes.oldest) == passes.oldest - RETENTION
