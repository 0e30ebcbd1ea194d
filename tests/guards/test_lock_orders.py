"""What lets batches that touch the same things wait for one another once, and what becomes of them without."""

import asyncio

from structlog.testing import capture_logs

from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Step
from tests.guards.oracle import decided_again
from tests.guards.removal import without
from tests.support.database import Connection
from tests.support.deciders import decider_on
from tests.support.factories import merge, new_id, put
from tests.support.harness import until_waiting
from tests.support.races import NEW_VERDICT, at_once

BATCHES = 16


async def tries_of_merges(pool: Pool, second: Connection) -> int:
    """How often many batches that change one document are tried, all together, until each of them is done."""
    steps: list[Step] = []
    decider = decider_on(pool, failpoint=steps.append)
    document = new_id()
    await decider.decide([put(document, None)])
    steps.clear()
    # A few at a time, so that no batch loses so often that it is put off.
    batches = [[merge(document, {str(number): number})] for number in range(BATCHES)]
    for start in range(0, BATCHES, 4):
        await at_once(decider, batches[start : start + 4], second, "SELECT id FROM documents FOR UPDATE")
    assert await second.fetchval("SELECT generation FROM documents") == BATCHES
    return steps.count(Step.BEGUN)


async def test_batches_on_one_record_are_decided_at_the_first_try(pool: Pool, second: Connection) -> None:
    assert await tries_of_merges(pool, second) == BATCHES


async def test_without_row_locks_most_batches_on_one_record_are_decided_again(pool: Pool, second: Connection) -> None:
    with without("row locks"):
        tries = await tries_of_merges(pool, second)
    # Of each four, one passes the fence at the first try.
    assert tries >= BATCHES + BATCHES * 3 // 4


async def in_the_middle(decider: Decider, second: Connection, *removed_from_the_second: str) -> list[str]:
    """Two batches meet at the middle one of three documents; return why any of them was decided again."""
    documents = sorted(new_id() for _ in range(3))
    await decider.decide([put(document, None) for document in documents])
    with capture_logs() as logs:
        async with second.transaction():
            await second.execute("SELECT id FROM documents WHERE id = $1 FOR UPDATE", documents[1])
            one = asyncio.create_task(decider.decide([merge(document, {"x": 1}) for document in documents]))
            await until_waiting(second, 1)
            with without(*removed_from_the_second):
                other = asyncio.create_task(decider.decide([merge(document, {"y": 1}) for document in documents]))
                await until_waiting(second, 2)
        await asyncio.gather(one, other)
    assert await second.fetchval("SELECT sum(generation) FROM documents") == 6
    return decided_again(logs)


async def test_rows_that_are_locked_in_one_order_make_no_deadlock(decider: Decider, second: Connection) -> None:
    assert await in_the_middle(decider, second) == []


async def test_rows_that_are_locked_in_two_orders_make_a_deadlock(decider: Decider, second: Connection) -> None:
    whys = await in_the_middle(decider, second, "one order of row locks")
    # A batch that is rolled back may meet the other one in the middle again.
    assert whys
    assert all("DeadlockDetected" in why for why in whys)


async def copies_in_opposite_orders(decider: Decider, second: Connection) -> list[str]:
    """Two consumers have the same commands, which change no record, in opposite orders."""
    commands = sorted((merge(new_id(), {}) for _ in range(3)), key=lambda command: command.id)
    with capture_logs() as logs:
        one, other = await at_once(decider, [commands, commands[::-1]], second, NEW_VERDICT.format(commands[1].id))
    assert one.events == other.events[::-1]
    return decided_again(logs)


async def test_ids_that_are_recorded_in_one_order_make_no_deadlock(decider: Decider, second: Connection) -> None:
    [why] = await copies_in_opposite_orders(decider, second)
    assert "another consumer decided one of the commands meanwhile" in why


async def test_ids_that_are_recorded_as_they_come_make_a_deadlock(decider: Decider, second: Connection) -> None:
    with without("one order of new ids"):
        whys = await copies_in_opposite_orders(decider, second)
    assert any("DeadlockDetected" in why for why in whys)
