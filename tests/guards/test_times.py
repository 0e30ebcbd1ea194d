"""What keeps the times of history in order and wrong clocks from verdicts and the ledger, and what they do without."""

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from genlock.service.database.clocks import ClocksDifferError
from genlock.service.database.steady import SteadyClock
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.ledger.retention import Retention
from tests.guards.removal import without
from tests.support.database import Connection
from tests.support.deciders import decider_on
from tests.support.factories import RETENTION, merge, new_id, put
from tests.support.harness import outcomes, until_waiting

TIMES = "SELECT decided_at FROM changes WHERE record_id = $1 ORDER BY sequence"


async def times_of_overtaken(decider: Decider, second: Connection, *removed: str) -> list[str]:
    """A batch waits for the first of its two documents while another changes the second; the times of that one."""
    documents = sorted(new_id() for _ in range(2))
    await decider.decide([put(document, None) for document in documents])
    with without(*removed):
        async with second.transaction():
            await second.execute("SELECT id FROM documents WHERE id = $1 FOR UPDATE", documents[0])
            waiting = asyncio.create_task(decider.decide([merge(document, {"x": 1}) for document in documents]))
            await until_waiting(second, 1)
            await decider.decide([merge(documents[1], {"y": 1})])
        await waiting
    return [row["decided_at"] for row in await second.fetch(TIMES, documents[1])]


async def test_history_of_a_record_has_times_in_the_order_of_its_changes(decider: Decider, second: Connection) -> None:
    times = await times_of_overtaken(decider, second)
    assert len(set(times)) == 3
    assert times == sorted(times)


async def test_without_the_time_under_the_locks_a_change_is_dated_before_the_one_it_follows(
    decider: Decider, second: Connection
) -> None:
    times = await times_of_overtaken(decider, second, "the time under the locks")
    assert times[2] < times[1]


FAR = timedelta(days=20)


async def told_after_both_clocks_were_put_forward(pool: Pool) -> str:
    """What a new command with a `time` is told once the database's clock and the replica's are 20 days ahead."""
    put_forward_s = 0.0
    decider = decider_on(pool, steady=SteadyClock(lambda: time.monotonic() - put_forward_s))
    await decider.decide([put(new_id(), None)])
    put_forward_s = FAR.total_seconds()
    [outcome] = outcomes(await decider.decide([put(new_id(), None, time=(datetime.now(UTC) - FAR).isoformat())]))
    return outcome.type


async def test_new_command_is_held_while_both_clocks_are_put_forward(pool: Pool) -> None:
    with pytest.raises(ClocksDifferError):
        await told_after_both_clocks_were_put_forward(pool)


async def test_without_the_steady_clock_a_new_command_is_expired_for_good(pool: Pool) -> None:
    with without("the steady clock"):
        assert await told_after_both_clocks_were_put_forward(pool) == "document.put.rejected"


async def applied_after_a_jump(decider: Decider, pool: Pool, second: Connection, *removed: str) -> int:
    """How often a merge was applied that came again after all clocks had been 20 days ahead for some passes."""
    command = merge(new_id(), {"x": 1})
    answers = await decider.decide([put(command.subject, None), command, merge(command.subject, {"y": 1})])
    await decider.confirm(answers.batch_ids)
    jump = "UPDATE batches SET decided_at = decided_at - $1::interval"
    with without(*removed):
        retention = Retention(pool, RETENTION, 20)
        await retention.purge()
        await second.execute(jump, FAR)
        for _ in range(3):
            await retention.purge()
        await second.execute(jump, -FAR)
    await decider.decide([command])
    applied: int = await second.fetchval("SELECT count(*) FROM changes WHERE command_id = $1", command.id)
    return applied


async def test_jump_of_all_clocks_makes_the_ledger_forget_nothing(
    decider: Decider, pool: Pool, second: Connection
) -> None:
    assert await applied_after_a_jump(decider, pool, second) == 1


async def test_without_ages_seen_to_pass_a_jump_of_all_clocks_has_a_command_applied_twice(
    decider: Decider, pool: Pool, second: Connection
) -> None:
    assert await applied_after_a_jump(decider, pool, second, "ages seen to pass") == 2
