"""Ready and live, by the clock of the test."""

import pytest

from genlock.consumers import health, vitals
from genlock.consumers.health import Monitor
from genlock.consumers.vitals import Vitals

TIMEOUT_S = 30.0


class Clock:
    """The monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(health, "monotonic", clock)
    monkeypatch.setattr(vitals, "monotonic", clock)
    return clock


async def none() -> int:
    return 0


async def one() -> int:
    return 1


async def no_answer() -> int:
    raise OSError


def working(clock: Clock) -> Vitals:
    signs = Vitals()
    signs.settled(0)
    signs.registered = True
    assert signs.still_s() == 0
    clock.now += 0.1
    return signs


async def test_idle_service_is_ready_and_alive_for_ever(clock: Clock) -> None:
    monitor = Monitor(working(clock), unconfirmed=none, waiting=none, progress_timeout_s=TIMEOUT_S)
    for _ in range(5):
        clock.now += TIMEOUT_S
        status = await monitor.check()
        assert (status.unready, status.dead) == ([], [])


async def test_service_that_was_idle_is_not_dead_when_a_message_comes(clock: Clock) -> None:
    messages = [0, 1]

    async def waiting() -> int:
        return messages.pop(0)

    monitor = Monitor(working(clock), unconfirmed=none, waiting=waiting, progress_timeout_s=TIMEOUT_S)
    clock.now += 10 * TIMEOUT_S
    assert (await monitor.check()).dead == []
    assert (await monitor.check()).dead == []
    assert messages == []


async def test_held_delivery_that_does_not_move_is_unready_and_then_dead(clock: Clock) -> None:
    signs = working(clock)
    monitor = Monitor(signs, unconfirmed=none, waiting=none, progress_timeout_s=TIMEOUT_S)
    signs.took(again=False)
    clock.now += 2
    assert (await monitor.check()).dead == []
    clock.now += TIMEOUT_S + 1
    status = await monitor.check()
    assert status.unready
    assert status.dead


async def test_outage_is_unready_but_never_dead(clock: Clock) -> None:
    signs = working(clock)
    monitor = Monitor(signs, unconfirmed=no_answer, waiting=one, progress_timeout_s=TIMEOUT_S)
    signs.took(again=False)
    for _ in range(5):
        clock.now += TIMEOUT_S
        status = await monitor.check()
        assert status.unready
        assert status.dead == []


async def test_broker_that_takes_no_outcomes_makes_it_unready_but_never_dead(clock: Clock) -> None:
    signs = working(clock)
    monitor = Monitor(signs, unconfirmed=none, waiting=one, progress_timeout_s=TIMEOUT_S)
    signs.took(again=False)
    with signs.publishing():
        for _ in range(5):
            clock.now += TIMEOUT_S + 1
            status = await monitor.check()
            assert any("the broker has not taken outcomes" in reason for reason in status.unready)
            assert status.dead == []
    signs.settled(1)
    clock.now += 2
    assert (await monitor.check()).unready == []
