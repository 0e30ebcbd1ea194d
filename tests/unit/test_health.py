"""Ready and live, by the clock of the test."""

import pytest

from genlock.consumers import health, vitals
from genlock.consumers.health import Monitor
from genlock.consumers.topology import CommandQueue
from genlock.consumers.vitals import ProcessVitals, Vitals

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


INBOX = CommandQueue("inbox", in_order=False)
LANES = [CommandQueue("one", in_order=True), CommandQueue("other", in_order=True)]


def working(clock: Clock, *queues: CommandQueue) -> ProcessVitals:
    """The vitals of a process that has just settled something from each queue; from the inbox, if none is named."""
    process = ProcessVitals(queues or [INBOX])
    for signs in consumers(process, *queues):
        signs.settled(0)
        signs.registered = True
    assert process.still_s() == 0
    clock.now += 0.1
    return process


def consumers(process: ProcessVitals, *queues: CommandQueue) -> list[Vitals]:
    return [process.of(queue) for queue in queues or [INBOX]]


async def test_idle_service_is_ready_and_alive_for_ever(clock: Clock) -> None:
    monitor = Monitor(working(clock), unconfirmed=none, waiting=none, committing=none, progress_timeout_s=TIMEOUT_S)
    for _ in range(5):
        clock.now += TIMEOUT_S
        status = await monitor.check()
        assert (status.unready, status.dead) == ([], [])


async def test_service_that_was_idle_is_not_dead_when_a_message_comes(clock: Clock) -> None:
    messages = [0, 1]

    async def waiting() -> int:
        return messages.pop(0)

    monitor = Monitor(working(clock), unconfirmed=none, waiting=waiting, committing=none, progress_timeout_s=TIMEOUT_S)
    clock.now += 10 * TIMEOUT_S
    assert (await monitor.check()).dead == []
    assert (await monitor.check()).dead == []
    assert messages == []


async def test_held_delivery_that_does_not_move_is_unready_and_then_dead(clock: Clock) -> None:
    signs = working(clock)
    monitor = Monitor(signs, unconfirmed=none, waiting=none, committing=none, progress_timeout_s=TIMEOUT_S)
    signs.of(INBOX).took(again=False)
    clock.now += 2
    assert (await monitor.check()).dead == []
    clock.now += TIMEOUT_S + 1
    status = await monitor.check()
    assert status.unready
    assert status.dead


async def test_slow_service_that_moves_now_and_then_is_not_dead(clock: Clock) -> None:
    """Checks that ask a slow database come at any time, and may miss each move."""
    process = working(clock)
    signs = process.of(INBOX)
    monitor = Monitor(process, unconfirmed=none, waiting=one, committing=none, progress_timeout_s=TIMEOUT_S)
    for _ in range(40):
        clock.now += 1.5
        assert (await monitor.check()).dead == []
        signs.settled(0)


async def test_outage_is_unready_but_never_dead(clock: Clock) -> None:
    signs = working(clock)
    monitor = Monitor(signs, unconfirmed=no_answer, waiting=one, committing=none, progress_timeout_s=TIMEOUT_S)
    signs.of(INBOX).took(again=False)
    for _ in range(5):
        clock.now += TIMEOUT_S
        status = await monitor.check()
        assert status.unready
        assert status.dead == []


async def test_primary_that_answers_reads_and_no_commit_makes_it_unready_but_never_dead(clock: Clock) -> None:
    """As one does whose synchronous standby is away."""
    signs = working(clock)
    monitor = Monitor(signs, unconfirmed=none, waiting=one, committing=no_answer, progress_timeout_s=TIMEOUT_S)
    signs.of(INBOX).took(again=False)
    for _ in range(5):
        clock.now += TIMEOUT_S + 1
        status = await monitor.check()
        assert "PostgreSQL does not commit" in status.unready
        assert status.dead == []


async def test_broker_that_takes_no_outcomes_makes_it_unready_but_never_dead(clock: Clock) -> None:
    process = working(clock)
    monitor = Monitor(process, unconfirmed=none, waiting=one, committing=none, progress_timeout_s=TIMEOUT_S)
    signs = process.of(INBOX)
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


async def test_a_lane_that_does_not_move_is_noticed_beside_one_that_does(clock: Clock) -> None:
    signs = working(clock, *LANES)
    stuck, busy = consumers(signs, *LANES)
    monitor = Monitor(signs, unconfirmed=none, waiting=none, committing=none, progress_timeout_s=TIMEOUT_S)
    stuck.took(again=False)
    for _ in range(20):
        clock.now += TIMEOUT_S / 10
        busy.took(again=False)
        busy.settled(1)
        await monitor.check()
    status = await monitor.check()
    assert status.unready
    assert status.dead


async def test_an_idle_lane_does_not_spoil_the_health_of_a_busy_one(clock: Clock) -> None:
    signs = working(clock, *LANES)
    busy = signs.of(LANES[0])
    monitor = Monitor(signs, unconfirmed=none, waiting=one, committing=none, progress_timeout_s=TIMEOUT_S)
    for _ in range(20):
        clock.now += TIMEOUT_S / 10
        busy.took(again=False)
        busy.settled(1)
        status = await monitor.check()
        assert (status.unready, status.dead) == ([], [])


async def test_a_lane_is_active_where_its_commands_come_until_it_is_left(clock: Clock) -> None:
    signs = working(clock, *LANES, INBOX)
    assert signs.lanes == []
    for lane in (*LANES, INBOX):
        signs.of(lane).took(again=False)
    assert signs.lanes == ["one", "other"]
    signs.of(LANES[0]).left()
    assert signs.lanes == ["other"]
    signs.lost()
    assert signs.lanes == []


async def test_one_consumer_that_is_not_registered_makes_the_process_unready(clock: Clock) -> None:
    signs = working(clock, *LANES)
    monitor = Monitor(signs, unconfirmed=none, waiting=none, committing=none, progress_timeout_s=TIMEOUT_S)
    assert (await monitor.check()).unready == []
    signs.of(LANES[1]).left()
    assert (await monitor.check()).unready == ["a consumer is not registered"]
