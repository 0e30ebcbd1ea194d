"""Allocations beside another writer: no change between reading and writing leads to overselling.

The second connection stands for another service, or for a person at psql, which takes none of the service's locks.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.outcomes import Conflict, GenerationToken, Outcome, Rejected, Succeeded
from genlock.service.database.transactions import DecideAgainError, Pool, must_write, transaction
from genlock.service.deciding.table import Table
from genlock.service.kinds.allocations.record import Consumer
from genlock.service.kinds.allocations.table import TABLE
from tests.support.allocation_arena import LOCK_CONSUMERS, LOCK_ONE, Arena, open_arena
from tests.support.allocation_rows import allocated, generations, used
from tests.support.consumer_factories import set_allocations, set_many, wanted
from tests.support.database import Connection
from tests.support.factories import new_id
from tests.support.harness import outcomes, until_waiting
from tests.support.provider_factories import provider_command
from tests.support.races import in_turn

CONSUMERS: Table[Consumer] = TABLE


@pytest.fixture
async def arena(database_url: str, second: Connection) -> AsyncIterator[Arena]:
    """Providers to race for; in the end no deadlock may have happened in the database."""
    async with open_arena(database_url, second) as made:
        yield made


# Behind the service's back.

TAKE = "UPDATE inventories SET used = used + {} WHERE provider_id = $1"


@pytest.mark.parametrize(("taken", "asked", "fits"), [(3, 5, True), (3, 6, False), (8, 1, False), (1, 8, False)])
async def test_units_taken_between_reading_and_writing_are_not_sold_again(
    arena: Arena, second: Connection, taken: int, asked: int, fits: bool
) -> None:
    provider, consumer = arena.providers[0], new_id()
    command = set_allocations(consumer, None, {provider: {"VCPU": asked}})
    outcome = await arena.while_changed(second, command, (TAKE.format(taken), provider))
    if fits:
        assert isinstance(outcome, Succeeded)
        assert (await used(second))[provider] == {"VCPU": taken + asked}
    else:
        assert isinstance(outcome, Rejected)
        assert [(short.asked, short.used) for short in outcome.data.shortages or []] == [(asked, taken)]
        assert (await used(second))[provider] == {"VCPU": taken}
        assert await allocated(second) == {}


async def test_units_given_back_between_reading_and_writing_are_not_lost(arena: Arena, second: Connection) -> None:
    provider = arena.providers[0]
    there = await arena.consumer(provider, amount=6)
    command = set_allocations(new_id(), None, {provider: {"VCPU": 2}})
    back = "UPDATE inventories SET used = used - 4 WHERE provider_id = $1"
    outcome = await arena.while_changed(second, command, (back, provider))
    assert isinstance(outcome, Succeeded)
    assert (await used(second))[provider] == {"VCPU": 6 - 4 + 2}
    assert (await allocated(second))[there] == {provider: {"VCPU": 6}}


@pytest.mark.parametrize(
    "change", ["total = 4", "reserved = 4", "allocation_ratio = 0.5", "total = 4, used = used, max_unit = 100"]
)
async def test_capacity_that_shrinks_between_reading_and_writing_is_not_exceeded(
    arena: Arena, second: Connection, change: str
) -> None:
    provider = arena.providers[0]
    shrink = f"UPDATE inventories SET {change} WHERE provider_id = $1"  # noqa: S608 - a text of our own
    command = set_allocations(new_id(), None, {provider: {"VCPU": 5}})
    outcome = await arena.while_changed(second, command, (shrink, provider))
    assert isinstance(outcome, Rejected)
    assert outcome.code is Code.CAPACITY_EXCEEDED
    assert [short.capacity for short in outcome.data.shortages or []] == [4]
    assert (await used(second))[provider] == {"VCPU": 0}


async def test_inventory_that_goes_away_between_reading_and_writing_is_not_allocated_from(
    arena: Arena, second: Connection
) -> None:
    provider = arena.providers[0]
    command = set_allocations(new_id(), None, {provider: {"VCPU": 5}})
    gone = "DELETE FROM inventories WHERE provider_id = $1"
    outcome = await arena.while_changed(second, command, (gone, provider))
    assert isinstance(outcome, Rejected)
    assert outcome.code is Code.NO_INVENTORY
    assert await allocated(second) == {}


@pytest.mark.parametrize("verb", ["delete_inventory", "set_inventories", "delete"])
async def test_inventory_that_is_taken_from_between_reading_and_writing_is_not_removed(
    arena: Arena, second: Connection, verb: str
) -> None:
    provider = arena.providers[0]
    command = provider_command(verb, provider, expected_generation=1)
    outcome = await arena.while_changed(second, command, (TAKE.format(1), provider))
    assert isinstance(outcome, Rejected)
    assert outcome.code is (Code.PROVIDER_IN_USE if verb == "delete" else Code.INVENTORY_IN_USE)
    assert (await used(second))[provider] == {"VCPU": 1}


async def test_units_taken_while_the_inventory_is_replaced_are_kept(arena: Arena, second: Connection) -> None:
    provider = arena.providers[0]
    command = provider_command("put_inventory", provider, expected_generation=1, inventory={"total": 2})
    outcome = await arena.while_changed(second, command, (TAKE.format(5), provider))
    assert isinstance(outcome, Succeeded)
    row = await second.fetchrow("SELECT total, used FROM inventories WHERE provider_id = $1", provider)
    assert row is not None
    assert tuple(row) == (2, 5)


async def test_all_of_a_command_is_decided_again_when_one_of_its_rows_has_changed(
    arena: Arena, second: Connection
) -> None:
    one, other, third = arena.providers
    there = await arena.consumer(one, amount=8)
    command = set_many(
        {there: wanted(1, {other: {"VCPU": 8}}), new_id(): wanted(None, {one: {"VCPU": 8}, third: {"VCPU": 8}})}
    )
    outcome = await arena.while_changed(second, command, (TAKE.format(1), third))
    assert isinstance(outcome, Rejected)
    assert outcome.code is Code.CAPACITY_EXCEEDED
    assert await allocated(second) == {there: {one: {"VCPU": 8}}}
    assert await used(second) == {one: {"VCPU": 8}, other: {"VCPU": 0}, third: {"VCPU": 1}}


# Statements that fence, one by one: a lock keeps the service from ever meeting these.


async def test_consumer_is_changed_only_at_the_generation_that_was_read(arena: Arena, pool: Pool) -> None:
    consumer = await arena.consumer(arena.providers[0])
    async with transaction(pool, 20) as connection:
        [record], _ = await CONSUMERS.lock(connection, [consumer], [])
        for generation, count in ((0, 0), (2, 0), (1, 1), (1, 0)):
            before = replace(record, generation=generation)
            after = replace(record, generation=7, sequence=7, project_id="new")
            assert await CONSUMERS.update(connection, [(before, after)]) == count
        [changed], _ = await CONSUMERS.lock(connection, [consumer], [])
    assert (changed.generation, changed.project_id) == (7, "new")


async def test_consumer_that_is_there_is_not_created(arena: Arena, pool: Pool) -> None:
    consumer = await arena.consumer(arena.providers[0])
    async with transaction(pool, 20) as connection:
        [record], _ = await CONSUMERS.lock(connection, [consumer], [])
        assert await CONSUMERS.insert(connection, [record, replace(record, id=new_id())]) == 1


async def test_allocation_that_is_not_there_is_not_removed(arena: Arena, pool: Pool) -> None:
    one, other, _ = arena.providers
    consumer = await arena.consumer(one)
    with pytest.raises(DecideAgainError):
        async with transaction(pool, 20) as connection:
            await must_write(connection, "delete_allocations", [(consumer, one, "VCPU"), (consumer, other, "VCPU")])
    async with transaction(pool, 20) as connection:
        await must_write(connection, "delete_allocations", [(consumer, one, "VCPU")])


async def test_inventory_that_is_there_is_not_added(arena: Arena, second: Connection) -> None:
    """Another writer adds it after the provider was read, and commits first."""
    provider = arena.providers[0]
    add = """
    INSERT INTO inventories SELECT provider_id, 'DISK_GB', 5, 0, 1, 1, 1, 1.0, 3 FROM inventories
    WHERE provider_id = $1
    """
    command = provider_command("put_inventory", provider, expected_generation=1, resource_class="DISK_GB")
    outcome = await arena.while_changed(second, command, (add, provider))
    assert isinstance(outcome, Succeeded)
    assert (await used(second))[provider] == {"VCPU": 0, "DISK_GB": 3}


# A consumer that turns up elsewhere between look-up and lock.


async def moved_twice(arena: Arena, second: Connection, consumer: str, *, expected: int) -> list[Outcome]:
    """Move a consumer to the third provider, and then to the second; both have looked it up at the first.

    The later move expects this generation of the consumer; the earlier one makes its generation 2.
    """
    _, two, three = arena.providers
    moves = [
        [set_allocations(consumer, 1, {three: {"VCPU": 2}})],
        [set_allocations(consumer, expected, {two: {"VCPU": 2}})],
    ]
    [[first], [after]] = await in_turn(arena.decider, moves, second, LOCK_CONSUMERS)
    return [first, after]


async def test_consumer_that_moved_meanwhile_is_decided_again_with_its_new_provider_locked(
    arena: Arena, second: Connection
) -> None:
    one, two, three = arena.providers
    consumer = await arena.consumer(one)
    first, after = await moved_twice(arena, second, consumer, expected=2)
    assert isinstance(first, Succeeded)
    assert isinstance(after, Succeeded)
    assert after.data.tokens == {"provider": {two: GenerationToken(generation=2), three: GenerationToken(generation=3)}}
    assert arena.tries == 3
    assert await allocated(second) == {consumer: {two: {"VCPU": 2}}}
    assert await used(second) == {one: {"VCPU": 0}, two: {"VCPU": 2}, three: {"VCPU": 0}}
    assert await generations(second) == {consumer: 3, one: 3, two: 2, three: 3}


async def test_conflict_shows_the_present_state_of_a_consumer_that_moved_meanwhile(
    arena: Arena, second: Connection
) -> None:
    consumer = await arena.consumer(arena.providers[0])
    first, after = await moved_twice(arena, second, consumer, expected=1)
    assert isinstance(first, Succeeded)
    assert isinstance(after, Conflict)
    assert (after.reason, after.actual, after.current) == (Reason.STALE, first.token, first.record)
    assert after.winner is not None
    assert after.winner.command_id == first.command_id


async def test_consumer_that_was_created_elsewhere_meanwhile_is_seen(arena: Arena, second: Connection) -> None:
    one, two, _ = arena.providers
    consumer = new_id()
    async with second.transaction():
        await second.execute(LOCK_ONE, two)
        late = asyncio.create_task(arena.decider.decide([set_allocations(consumer, 1, {two: {"VCPU": 2}})]))
        await until_waiting(second, 1)
        [created] = await arena.decide(set_allocations(consumer, None, {one: {"VCPU": 2}}))
        assert isinstance(created, Succeeded)
    [moved] = outcomes(await late)
    assert isinstance(moved, Succeeded)
    assert arena.tries == 3
    assert await allocated(second) == {consumer: {two: {"VCPU": 2}}}
    assert await used(second) == {name: {"VCPU": 2 * (name == two)} for name in arena.providers}


async def test_consumer_that_was_removed_meanwhile_is_missing(arena: Arena, second: Connection) -> None:
    one, two, _ = arena.providers
    consumer = await arena.consumer(one)
    batches = [[set_allocations(consumer, 1, {})], [set_allocations(consumer, 1, {two: {"VCPU": 2}})]]
    [[removed], [missing]] = await in_turn(arena.decider, batches, second, LOCK_CONSUMERS)
    assert isinstance(removed, Succeeded)
    assert isinstance(missing, Conflict)
    assert (missing.reason, missing.actual, missing.current) == (Reason.MISSING, None, None)
    assert missing.winner is not None
    assert missing.winner.command_id == removed.command_id


async def test_allocation_of_a_provider_that_does_not_exist_ends_the_commands_on_its_consumer_alone(
    arena: Arena, second: Connection
) -> None:
    """The service never leaves such a row, but one that was deleted by hand must not stop the whole inbox."""
    one, two, _ = arena.providers
    consumer = await arena.consumer(one)
    await second.execute("DELETE FROM providers WHERE id = $1", one)
    batch = [
        set_allocations(new_id(), None, {two: {"VCPU": 1}}),
        set_allocations(consumer, 1, {two: {"VCPU": 1}}),
        set_many({new_id(): wanted(None, {two: {"VCPU": 1}}), consumer: wanted(1, {})}),
        set_allocations(new_id(), None, {two: {"VCPU": 1}}),
    ]
    found = await arena.decide(*batch)
    assert [outcome.code if isinstance(outcome, Rejected) else "ok" for outcome in found] == [
        "ok",
        Code.INTERNAL_ERROR,
        Code.INTERNAL_ERROR,
        "ok",
    ]
    assert arena.tries == 1
    assert (await used(second))[two] == {"VCPU": 2}
