"""Two clocks: how far they are apart at least, and which commands both find expired, or leave waiting."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from pamqp.commands import Basic

from genlock.consumers.commands.deliveries import Delivery, Part
from genlock.consumers.commands.parking import Parking
from genlock.consumers.commands.settlement import LateDeliveries
from genlock.consumers.health.activity import Progress
from genlock.service.database.clocks import Clocks
from genlock.service.deciding.fold import Folded, fold
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.events import timestamp
from tests.support.factories import declare, put, state_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
RETENTION = timedelta(days=14)
MEMORY = timedelta(days=13)


def at(*, replica_s: float = 0, took_s: float = 0, stepped_s: float = 0) -> Clocks:
    """The times of both clocks if this machine's is so many seconds ahead, and the question took so long."""
    before = NOW + timedelta(seconds=replica_s - took_s / 2)
    return Clocks(before, NOW, before + timedelta(seconds=took_s), stepped_s)


@pytest.mark.parametrize(
    ("clocks", "ahead_s", "agree"),
    [
        (at(), 0, True),
        (at(replica_s=60), 60, True),
        (at(replica_s=60.001), 60.001, False),
        (at(replica_s=-60), -60, True),
        (at(replica_s=-60.001), -60.001, False),
        (at(replica_s=65, took_s=20), 55, True),
        (at(replica_s=-65, took_s=20), -55, True),
        (at(replica_s=71, took_s=20), 61, False),
        (at(took_s=600), 0, True),
    ],
)
def test_clocks_are_apart_as_far_as_is_certain(clocks: Clocks, ahead_s: float, agree: bool) -> None:
    assert clocks.ahead_s == pytest.approx(ahead_s)
    assert clocks.agree is agree


def test_difference_says_how_far_and_which_way() -> None:
    ahead = "the clock of this machine is 20 days, 0:00:00 (1728000 s) ahead of that of the database"
    assert at(replica_s=20 * 86_400).difference == ahead
    assert at(replica_s=-90).difference == "the clock of this machine is 0:01:30 (90 s) behind that of the database"


def folded(age: timedelta, clocks: Clocks) -> Folded:
    """Fold a command of that age by the clock of the database."""
    state, command = state_of(), put("d", None, time=timestamp(NOW - age))
    declare(state, [command])
    return fold(state, [command], clocks.before, RETENTION, KINDS.rules, clocks=clocks)


MOMENT = timedelta(seconds=1)


@pytest.mark.parametrize(
    ("replica_s", "age", "verdict"),
    [
        (0, MEMORY - MOMENT, "SucceededData"),
        (0, MEMORY + MOMENT, "RejectedData"),
        (50, MEMORY - MOMENT, "SucceededData"),
        (-50, MEMORY + MOMENT, "SucceededData"),
        (-50, MEMORY + 51 * MOMENT, "RejectedData"),
        (20 * 86_400, timedelta(0), "held"),
        (20 * 86_400, -8 * timedelta(days=1), "SucceededData"),
        (20 * 86_400, MEMORY + MOMENT, "RejectedData"),
        (-20 * 86_400, timedelta(0), "SucceededData"),
        (-20 * 86_400, MEMORY + MOMENT, "held"),
        (-20 * 86_400, MEMORY + timedelta(days=20) + MOMENT, "RejectedData"),
    ],
)
def test_command_is_expired_by_both_clocks_or_held_where_they_disagree(
    replica_s: float, age: timedelta, verdict: str
) -> None:
    result = folded(age, at(replica_s=replica_s))
    assert (["held"] if result.doubtful else [type(each).__name__ for each in result.verdicts]) == [verdict]


@pytest.mark.parametrize(
    ("stepped_s", "age", "verdict"),
    [
        # Both wall clocks were put forward: they call a new command expired.
        (20 * 86_400, timedelta(days=20), "held"),
        (20 * 86_400, MEMORY - MOMENT, "SucceededData"),
        (20 * 86_400, MEMORY + timedelta(days=20) + MOMENT, "RejectedData"),
        # Both were put back: they call new what may be forgotten.
        (-20 * 86_400, timedelta(0), "held"),
        (-20 * 86_400, -8 * timedelta(days=1), "SucceededData"),
        (-20 * 86_400, MEMORY + MOMENT, "RejectedData"),
        (59, MEMORY + 30 * MOMENT, "SucceededData"),
        (-59, MEMORY - 30 * MOMENT, "SucceededData"),
    ],
)
def test_command_is_held_that_both_clocks_call_expired_only_since_they_were_set(
    stepped_s: float, age: timedelta, verdict: str
) -> None:
    result = folded(age, at(stepped_s=stepped_s))
    assert (["held"] if result.doubtful else [type(each).__name__ for each in result.verdicts]) == [verdict]


def delivery(tag: int) -> Delivery:
    return Delivery(tag, "document.put", Basic.Properties(), (Part(put(f"d{tag}", None), b""),), 0, False, 0, False)


async def test_others_of_a_batch_go_on_and_the_parked_delivery_comes_back() -> None:
    back: asyncio.Queue[Delivery] = asyncio.Queue()
    late = LateDeliveries()
    parking = Parking(back.put_nowait, late, Progress(), pause_s=0)
    batch = [delivery(tag) for tag in (4, 5, 6)]
    held = batch[1].commands[0].id
    assert [each.tag for each in parking.park(batch, {held}, "the test")] == [4, 6]
    assert list(late.acknowledgements([4, 6])) == [(4, False), (6, False)]
    running = asyncio.create_task(parking.run())
    async with asyncio.timeout(5):
        assert (await back.get()).tag == 5
    assert list(late.acknowledgements([8, 5])) == [(8, True)]
    running.cancel()
