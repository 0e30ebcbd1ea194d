"""The steady clock: the database's clock drifts, is set and put right again, beside a monotonic clock of the test."""

from datetime import UTC, datetime, timedelta

import pytest

from genlock.service.database.clocks import Clocks
from genlock.service.database.steady import SteadyClock

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
DAYS_20_S = 20 * 86_400


class Bench:
    """A steady clock, a monotonic clock that is moved by hand, and by how much the database's clock is wrong."""

    def __init__(self) -> None:
        self.passed_s = 1_000.0
        self.wrong_s = 0.0
        self.steps = 0
        self.steady = SteadyClock(lambda: self.passed_s, self._count)

    def _count(self) -> None:
        self.steps += 1

    def note(self, after_s: float = 1.0, *, took_s: float = 0.0) -> float:
        """Ask the database after so many seconds; it answers in the middle of the time that the question takes."""
        self.passed_s += after_s
        asked_s = self.passed_s
        told = NOW + timedelta(seconds=asked_s + took_s / 2 + self.wrong_s)
        self.passed_s += took_s
        return self.steady.note(asked_s, told)


@pytest.fixture
def bench() -> Bench:
    made = Bench()
    assert made.note() == pytest.approx(0)
    return made


def test_clock_that_goes_is_followed(bench: Bench) -> None:
    assert [bench.note(after_s) for after_s in (0.001, 1, 3_600, 86_400)] == pytest.approx([0] * 4)
    assert bench.steps == 0


@pytest.mark.parametrize("by_s", [DAYS_20_S, -DAYS_20_S, 61, -61])
def test_clock_that_is_set_is_told_from_one_that_goes_until_it_is_put_right(bench: Bench, by_s: float) -> None:
    bench.wrong_s = by_s
    assert bench.note() == pytest.approx(by_s, abs=0.1)
    assert bench.note(10) == pytest.approx(by_s, abs=0.2)
    assert bench.steps == 1
    bench.wrong_s = 0
    assert bench.note() == pytest.approx(0, abs=0.2)
    bench.wrong_s = by_s
    bench.note()
    assert bench.steps == 2


def test_step_of_a_time_server_is_not_counted_and_followed_in_time(bench: Bench) -> None:
    bench.wrong_s = 59
    assert bench.note() == pytest.approx(59, abs=0.1)
    assert bench.steps == 0
    assert bench.note(5_900) == pytest.approx(0)


def test_steps_that_follow_each_other_add_up(bench: Bench) -> None:
    away_s = []
    for _ in range(3):
        bench.wrong_s += 59
        away_s.append(bench.note())
    assert away_s == pytest.approx([59, 118, 177], abs=0.1)
    assert bench.steps == 1


@pytest.mark.parametrize("drift", [0.009, -0.009])
def test_slow_drift_is_followed_for_ever(bench: Bench, drift: float) -> None:
    for _ in range(1_000):
        bench.wrong_s += 600 * drift
        assert bench.note(600) == pytest.approx(0)


def test_clock_that_runs_much_too_fast_is_told(bench: Bench) -> None:
    away_s = []
    for _ in range(100):
        bench.wrong_s += 60
        away_s.append(bench.note(60))
    assert away_s[-1] == pytest.approx(100 * 60 * 0.99, rel=0.01)


def test_slow_answer_is_no_step(bench: Bench) -> None:
    assert bench.note(took_s=600) == pytest.approx(0)
    bench.wrong_s = 100
    assert bench.note(took_s=600) == pytest.approx(0)
    assert bench.note() == pytest.approx(100, abs=0.1)


def test_clock_that_was_set_is_not_trusted_and_says_so() -> None:
    clocks = Clocks(NOW, NOW, NOW, DAYS_20_S)
    assert clocks.agree
    assert not clocks.trusted
    assert (clocks.earliest, clocks.latest) == (NOW - timedelta(days=20), NOW)
    assert clocks.difference == "the clock of the database was set forward by 20 days, 0:00:00 (1728000 s)"
    back = Clocks(NOW, NOW, NOW, -90)
    assert (back.earliest, back.latest) == (NOW, NOW + timedelta(seconds=90))
    assert back.difference == "the clock of the database was set back by 0:01:30 (90 s)"
    assert Clocks(NOW, NOW, NOW, 60).trusted
