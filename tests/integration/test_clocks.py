"""Clocks that are wrong: what a replica decides, what it holds, and what it does not forget."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from genlock.service.database.clocks import ClocksDifferError, WrongClockError, check_clocks
from genlock.service.database.steady import SteadyClock
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.ledger.retention import Retention
from tests.support.database import Connection
from tests.support.deciders import decider_on
from tests.support.factories import new_id, put
from tests.support.forgetting import at_once
from tests.support.harness import outcomes

RETENTION = timedelta(days=14)
FAR = timedelta(days=20)


def decider_off(pool: Pool, by: timedelta) -> Decider:
    """A decider of a machine whose clock is ahead by so much."""
    return decider_on(pool, clock=lambda: datetime.now(UTC) + by)


def ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


@pytest.mark.parametrize(("by", "days"), [(FAR, 0), (-FAR, 14)])
async def test_command_that_one_clock_alone_calls_expired_is_held_and_no_other(
    pool: Pool, second: Connection, by: timedelta, days: float
) -> None:
    doubtful, other = put(new_id(), None, time=ago(days)), put(new_id(), None)
    decider = decider_off(pool, by)
    with pytest.raises(ClocksDifferError) as held:
        await decider.decide([doubtful, other])
    assert held.value.command_ids == {doubtful.id}
    assert await second.fetchval("SELECT count(*) FROM ledger") == 0
    assert await second.fetchval("SELECT count(*) FROM documents") == 0
    assert [event.type for event in outcomes(await decider.decide([other]))] == ["document.put.succeeded"]
    right = decider_off(pool, timedelta(0))
    verdict = "document.put.succeeded" if days == 0 else "document.put.rejected"
    assert [event.type for event in outcomes(await right.decide([doubtful]))] == [verdict]
    assert [event.type for event in outcomes(await decider.decide([doubtful]))] == [verdict]


class Passed:
    """A monotonic clock past which the database's clock can be set."""

    def __init__(self) -> None:
        self.set_by = timedelta(0)

    def __call__(self) -> float:
        return time.monotonic() - self.set_by.total_seconds()


@pytest.mark.parametrize(("by", "days", "verdict"), [(FAR, 20, "rejected"), (-FAR, 0, "succeeded")])
async def test_command_is_held_that_is_expired_only_since_or_until_the_databases_clock_was_set(
    pool: Pool, second: Connection, by: timedelta, days: float, verdict: str
) -> None:
    """The replica's clock was set too, as on one machine: both say that the command is so many days old."""
    passed = Passed()
    decider = decider_on(pool, steady=SteadyClock(passed))
    await decider.decide([put(new_id(), None)])
    passed.set_by = by
    doubtful, other = put(new_id(), None, time=ago(days)), put(new_id(), None)
    with pytest.raises(ClocksDifferError, match=r"^the clock of the database was set") as held:
        await decider.decide([doubtful, other])
    assert held.value.command_ids == {doubtful.id}
    assert await second.fetchval("SELECT count(*) FROM ledger") == 1
    assert [event.type for event in outcomes(await decider.decide([other]))] == ["document.put.succeeded"]
    passed.set_by = timedelta(0)
    assert [event.type for event in outcomes(await decider.decide([doubtful]))] == [f"document.put.{verdict}"]


async def test_command_that_both_clocks_call_expired_is_rejected_though_they_disagree(pool: Pool) -> None:
    old = put(new_id(), None, time=ago(40))
    for by in (FAR, -FAR):
        assert [event.type for event in outcomes(await decider_off(pool, by).decide([old]))] == [
            "document.put.rejected"
        ]


@pytest.mark.parametrize("by", [FAR, -FAR, timedelta(seconds=90)])
async def test_nothing_is_forgotten_while_the_clocks_disagree(
    pool: Pool, decider: Decider, second: Connection, by: timedelta
) -> None:
    answers = await decider.decide([put(new_id(), None)])
    await decider.confirm(answers.batch_ids)
    await second.execute("UPDATE batches SET decided_at = decided_at - interval '15 days'")
    assert (
        await Retention(pool, RETENTION, 20, horizon=at_once(RETENTION), clock=lambda: datetime.now(UTC) + by).purge()
        == 0
    )
    assert await Retention(pool, RETENTION, 20, horizon=at_once(RETENTION)).purge() == 1


@pytest.mark.parametrize(("by", "way"), [(FAR, "ahead of"), (-FAR, "behind")])
async def test_start_is_refused_in_one_sentence(database_url: str, by: timedelta, way: str) -> None:
    with pytest.raises(WrongClockError, match=rf"^The clock of this machine is .* {way} .*: set the wrong one right"):
        await check_clocks(database_url, lambda: datetime.now(UTC) + by)
    await check_clocks(database_url, lambda: datetime.now(UTC) + by / (FAR / timedelta(seconds=50)))
