"""Ready and live, by the clock of the test."""

from collections.abc import Awaitable, Callable

import pytest

from genlock.consumers.amqp.session import SessionLostError
from genlock.consumers.amqp.topology import CommandQueue
from genlock.consumers.health.activity import Activity, ProcessActivity
from genlock.consumers.health.monitor import CHECK_EVERY_S, CHECKS_LATE, Monitor, Status

TIMEOUT_S = 30.0


class Clock:
    """The monotonic clock, moved by hand."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


async def none() -> int:
    return 0


async def one() -> int:
    return 1


async def no_answer() -> int:
    raise OSError


async def no_session() -> int:
    raise SessionLostError("lost")


INBOX = CommandQueue("inbox", in_order=False)
LANES = [CommandQueue("one", in_order=True), CommandQueue("other", in_order=True)]
Check = Callable[[], Awaitable[int]]


def working(clock: Clock, *queues: CommandQueue) -> ProcessActivity:
    """The activity of a process that has just settled something from each queue; from the inbox, if none is named."""
    process = ProcessActivity(queues or [INBOX], clock)
    process.in_session = True
    for signs in consumers(process, *queues):
        signs.settled(0)
        signs.joined()
    clock.now += 0.1
    return process


def consumers(process: ProcessActivity, *queues: CommandQueue) -> list[Activity]:
    return [process.of(queue) for queue in queues or [INBOX]]


def monitor_of(
    process: ProcessActivity, *, unconfirmed: Check = none, waiting: Check = none, committing: Check = none
) -> Monitor:
    return Monitor(
        process, unconfirmed=unconfirmed, waiting=waiting, committing=committing, progress_timeout_s=TIMEOUT_S
    )


def quiet_monitor(process: ProcessActivity, timeout_s: float) -> Monitor:
    """A monitor whose servers answer. It calls a part dead after so many seconds."""
    return Monitor(process, unconfirmed=none, waiting=none, committing=none, progress_timeout_s=timeout_s)


async def watched(monitor: Monitor, clock: Clock, seconds: float = 2 * TIMEOUT_S) -> Status:
    """Let time go by as it does in a process that runs, and return the last status."""
    status = await monitor.check()
    end = clock.now + seconds
    while clock.now < end:
        clock.now += CHECK_EVERY_S
        status = await monitor.check()
    return status


async def test_idle_service_is_ready_and_alive_for_ever(clock: Clock) -> None:
    status = await watched(monitor_of(working(clock)), clock, 5 * TIMEOUT_S)
    assert (status.unready, status.dead) == ([], [])


async def test_held_delivery_that_does_not_move_is_unready_and_then_dead(clock: Clock) -> None:
    process = working(clock)
    monitor = monitor_of(process)
    process.of(INBOX).took(again=False)
    assert (await watched(monitor, clock, TIMEOUT_S / 2)).dead == []
    status = await watched(monitor, clock)
    assert status.unready
    assert status.dead


async def test_more_deliveries_do_not_hide_that_nothing_moves(clock: Clock) -> None:
    process = working(clock)
    monitor = monitor_of(process)
    for _ in range(10):
        process.of(INBOX).took(again=False)
        await watched(monitor, clock, TIMEOUT_S / 4)
    assert (await monitor.check()).dead


async def test_slow_service_that_moves_now_and_then_is_not_dead(clock: Clock) -> None:
    process = working(clock)
    signs = process.of(INBOX)
    monitor = monitor_of(process, waiting=one)
    signs.took(again=False)
    for _ in range(5):
        assert (await watched(monitor, clock, 0.9 * TIMEOUT_S)).dead == []
        signs.settled(0)


@pytest.mark.parametrize("timeout_s", [TIMEOUT_S, CHECK_EVERY_S])
async def test_process_that_was_stopped_for_a_while_is_not_dead_when_it_goes_on(clock: Clock, timeout_s: float) -> None:
    """As with a suspended machine, a paused container, or a process without processor time."""
    process = working(clock)
    monitor = quiet_monitor(process, timeout_s)
    process.of(INBOX).took(again=False)
    await monitor.look()
    clock.now += 3 * timeout_s
    await monitor.look()
    assert monitor.status.dead == []


async def test_part_that_two_checks_find_stuck_for_longer_than_it_may_be_is_dead(clock: Clock) -> None:
    process = working(clock)
    monitor = quiet_monitor(process, CHECK_EVERY_S)
    process.of(INBOX).took(again=False)
    for _ in range(3):
        clock.now += CHECK_EVERY_S
        await monitor.look()
    assert monitor.status.dead


async def test_outage_is_unready_but_never_dead(clock: Clock) -> None:
    for wrong in ({"unconfirmed": no_answer}, {"waiting": no_answer}):
        process = working(clock)
        process.of(INBOX).took(again=False)
        status = await watched(monitor_of(process, **wrong), clock, 5 * TIMEOUT_S)
        assert status.unready
        assert status.dead == []


async def test_primary_that_answers_reads_and_no_commit_makes_it_unready(clock: Clock) -> None:
    """As a primary does while its synchronous standby is away."""
    process = working(clock)
    process.of(INBOX).took(again=False)
    status = await watched(monitor_of(process, committing=no_answer), clock, 2)
    assert "PostgreSQL does not commit" in status.unready


async def test_statement_that_the_database_is_at_explains_a_standstill_for_as_long_as_it_may_take(
    clock: Clock,
) -> None:
    """One after the other, each as slow as it may be; not one that is never answered and never given up."""
    process = working(clock)
    monitor = monitor_of(process)
    progress = process.of(INBOX).progress
    process.of(INBOX).took(again=False)
    for _ in range(10):
        with progress.waiting(10.0):
            assert (await watched(monitor, clock, 10.0)).dead == []
    with progress.waiting(10.0):
        assert (await watched(monitor, clock, 10.0 + 2 * TIMEOUT_S)).dead


async def test_database_that_cannot_decide_makes_it_unready_with_its_reason_but_never_dead(clock: Clock) -> None:
    process = working(clock)
    monitor = monitor_of(process)
    signs = process.of(INBOX)
    signs.took(again=False)
    with signs.asking() as asking:
        for _ in range(30):
            asking.met("InsufficientPrivilegeError: permission denied for table documents")
            with signs.progress.waiting(5.0):
                status = await watched(monitor, clock, 5.0)
            assert status.dead == []
        unready = (await monitor.check()).unready
    assert (
        "PostgreSQL cannot decide the held commands: InsufficientPrivilegeError: permission denied for table documents"
        in unready
    )
    signs.settled(1)
    assert (await watched(monitor, clock, 2)).unready == []


async def test_broker_that_takes_no_outcomes_makes_it_unready_but_never_dead(clock: Clock) -> None:
    process = working(clock)
    monitor = monitor_of(process, waiting=one)
    signs = process.of(INBOX)
    signs.took(again=False)
    with signs.publishing():
        status = await watched(monitor, clock, 5 * TIMEOUT_S)
        assert any("the broker has not taken outcomes" in reason for reason in status.unready)
        assert status.dead == []
    signs.settled(1)
    assert (await watched(monitor, clock, 2)).unready == []


async def test_wait_of_one_consumer_does_not_explain_that_another_is_stuck(clock: Clock) -> None:
    process = working(clock, *LANES)
    stuck, waiting = consumers(process, *LANES)
    monitor = monitor_of(process)
    for signs in (stuck, waiting):
        signs.took(again=False)
    with waiting.publishing():
        assert (await watched(monitor, clock)).dead


async def test_a_lane_that_does_not_move_is_noticed_beside_one_that_does(clock: Clock) -> None:
    process = working(clock, *LANES)
    stuck, busy = consumers(process, *LANES)
    monitor = monitor_of(process)
    stuck.took(again=False)
    for _ in range(50):
        busy.took(again=False)
        busy.settled(1)
        await watched(monitor, clock, 1)
    status = await monitor.check()
    assert status.unready
    assert status.dead


async def test_an_idle_lane_does_not_spoil_the_health_of_a_busy_one(clock: Clock) -> None:
    process = working(clock, *LANES)
    busy = process.of(LANES[0])
    monitor = monitor_of(process, waiting=one)
    for _ in range(50):
        busy.took(again=False)
        busy.settled(1)
        status = await watched(monitor, clock, 1)
        assert (status.unready, status.dead) == ([], [])


async def test_consumer_that_should_register_and_does_not_is_dead_and_one_that_leaves_is_not(clock: Clock) -> None:
    process = working(clock)
    signs = process.of(INBOX)
    signs.left()
    signs.leaving = True
    assert (await watched(monitor_of(process), clock)).dead == []
    signs.leaving = False
    assert (await watched(monitor_of(process), clock)).dead


async def test_session_that_is_lost_and_does_not_end_is_dead(clock: Clock) -> None:
    process = working(clock)
    assert (await watched(monitor_of(process, waiting=no_session), clock)).dead


async def test_sessions_that_cannot_be_opened_make_it_unready_but_never_dead(clock: Clock) -> None:
    process = working(clock)
    process.lost()
    monitor = monitor_of(process, waiting=no_session)
    for _ in range(20):
        with process.sessions.waiting(TIMEOUT_S):
            status = await watched(monitor, clock, TIMEOUT_S)
        with process.sessions.waiting(5.0):
            status = await watched(monitor, clock, 5.0)
        assert status.unready == ["the broker does not answer", "a consumer is not registered"]
        assert status.dead == []
    assert (await watched(monitor, clock)).dead


async def test_messages_that_wait_while_none_is_brought_ask_for_another_session_and_for_no_restart(
    clock: Clock,
) -> None:
    asked: list[str] = []
    process = working(clock)
    monitor = Monitor(
        process, unconfirmed=none, waiting=one, committing=none, progress_timeout_s=TIMEOUT_S, starved=asked.append
    )
    assert (await watched(monitor, clock, TIMEOUT_S - 2)).unready == []
    assert asked == []
    clock.now += 2.5
    status = await monitor.check()
    assert status.unready == asked == ["messages wait, and the broker has brought none for 30 s"]
    assert (await watched(monitor, clock, 10 * TIMEOUT_S)).dead == []
    process.of(INBOX).took(again=False)
    process.of(INBOX).settled(1)
    asked.clear()
    await watched(monitor, clock, TIMEOUT_S - 2)
    assert asked == []


async def test_check_that_does_not_end_is_dead(clock: Clock) -> None:
    monitor = monitor_of(working(clock))
    await monitor.look()
    clock.now += CHECKS_LATE * (TIMEOUT_S + CHECK_EVERY_S) - 1
    assert monitor.status.dead == []
    clock.now += 2
    assert monitor.status.dead
    assert monitor.status.unready


async def test_a_lane_is_active_where_its_commands_come_until_it_is_left(clock: Clock) -> None:
    process = working(clock, *LANES, INBOX)
    assert process.lanes == []
    for lane in (*LANES, INBOX):
        process.of(lane).took(again=False)
    assert process.lanes == ["one", "other"]
    process.of(LANES[0]).left()
    assert process.lanes == ["other"]
    process.lost()
    assert process.lanes == []


async def test_one_consumer_that_is_not_registered_makes_the_process_unready(clock: Clock) -> None:
    process = working(clock, *LANES)
    monitor = monitor_of(process)
    assert (await monitor.check()).unready == []
    process.of(LANES[1]).left()
    assert (await monitor.check()).unready == ["a consumer is not registered"]
