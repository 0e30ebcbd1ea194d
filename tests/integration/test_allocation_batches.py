"""One decider and PostgreSQL: what commands on consumers leave behind, chains in a batch, and the ledger's memory."""

from collections.abc import AsyncIterator
from itertools import pairwise

import pytest

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, GenerationToken, Succeeded, outcome_id
from genlock.service.database.transactions import Pool
from tests.support.allocation_batch import Arena, inventories, open_arena, word
from tests.support.allocation_rows import allocated, changes_of, consumer_row, generations, used
from tests.support.consumer_factories import reshape, set_allocations, set_many, wanted
from tests.support.database import Connection
from tests.support.factories import new_id
from tests.support.provider_factories import create_provider, delete_provider, move_provider, provider_command


@pytest.fixture
async def arena(pool: Pool, second: Connection) -> AsyncIterator[Arena]:
    """Providers to allocate from; in the end `used` must equal the sum of the allocations."""
    async with open_arena(pool, second) as made:
        yield made


async def test_all_rows_are_written_for_a_new_consumer_and_each_touched_record_has_its_change(
    arena: Arena, second: Connection
) -> None:
    consumer = new_id()
    sent = set_allocations(consumer, None, {arena.one: {"VCPU": 3}, arena.other: {"VCPU": 4}}, consumer_type="INSTANCE")
    [succeeded] = await arena.outcomes(sent)
    assert isinstance(succeeded, Succeeded)
    tokens = {arena.one: GenerationToken(generation=2), arena.other: GenerationToken(generation=2)}
    assert succeeded.data.tokens == {"provider": tokens}
    assert await consumer_row(second, consumer) == {
        "project_id": "project-1",
        "user_id": "user-1",
        "consumer_type": "INSTANCE",
        "deleted": False,
        "maker_id": sent.id,
        "maker_type": "consumer.set_allocations",
        "maker_source": "/tests",
    }
    assert await allocated(second) == {consumer: {arena.one: {"VCPU": 3}, arena.other: {"VCPU": 4}}}
    assert await used(second) == {arena.one: {"VCPU": 3}, arena.other: {"VCPU": 4}}
    assert await generations(second) == {consumer: 1, arena.one: 2, arena.other: 2}
    assert await changes_of(second, sent.id) == {
        consumer: ("consumer", "1"),
        arena.one: ("provider", "2"),
        arena.other: ("provider", "2"),
    }
    makers = await second.fetch("SELECT maker_id::text FROM providers")
    assert {row["maker_id"] for row in makers} == {sent.id}


async def test_changed_allocations_are_replaced_row_by_row(arena: Arena, second: Connection) -> None:
    consumer, grown = new_id(), provider_command
    await arena.decide(
        grown("put_inventory", arena.one, expected_generation=1, resource_class="DISK_GB"),
        grown("put_inventory", arena.one, expected_generation=2, resource_class="MEMORY_MB"),
        set_allocations(consumer, None, {arena.one: {"VCPU": 3, "DISK_GB": 1}, arena.other: {"VCPU": 4}}),
    )
    before = {row["resource_class"]: row["ctid"] for row in await second.fetch("SELECT ctid, * FROM allocations")}
    amounts = {arena.one: {"VCPU": 2, "DISK_GB": 1, "MEMORY_MB": 5}}
    assert await arena.decide(set_allocations(consumer, 1, amounts, project_id="p", user_id="u")) == ["succeeded"]
    assert await allocated(second) == {consumer: amounts}
    assert await used(second) == {
        arena.one: {"VCPU": 2, "DISK_GB": 1, "MEMORY_MB": 5},
        arena.other: {"VCPU": 0},
    }
    row = await consumer_row(second, consumer)
    assert (row["project_id"], row["user_id"], row["consumer_type"]) == ("p", "u", None)
    # What stays the same is not written again.
    after = {row["resource_class"]: row["ctid"] for row in await second.fetch("SELECT ctid, * FROM allocations")}
    assert after["DISK_GB"] == before["DISK_GB"]


async def test_removed_consumer_leaves_a_tombstone_that_a_later_batch_goes_on_from(
    arena: Arena, second: Connection
) -> None:
    consumer = new_id()
    amounts = {arena.one: {"VCPU": 3}}
    await arena.decide(set_allocations(consumer, None, amounts, consumer_type="INSTANCE"))
    removal = set_allocations(consumer, 1, {})
    assert await arena.decide(removal) == ["succeeded"]
    assert await allocated(second) == {}
    assert await used(second) == {arena.one: {"VCPU": 0}, arena.other: {"VCPU": 0}}
    row = await consumer_row(second, consumer)
    assert (row["deleted"], row["maker_id"]) == (True, removal.id)
    [missing, gone, again] = await arena.outcomes(
        set_allocations(consumer, 2, amounts),
        set_allocations(consumer, None, {}),
        set_allocations(consumer, None, amounts),
    )
    assert [word(outcome) for outcome in (missing, gone, again)] == ["missing", "not_found", "succeeded"]
    assert isinstance(missing, Conflict)
    assert missing.winner is not None
    assert missing.winner.command_id == removal.id
    assert await generations(second) == {consumer: 3, arena.one: 4, arena.other: 1}
    assert (await consumer_row(second, consumer))["consumer_type"] is None


async def test_consumer_created_and_removed_in_one_batch_leaves_its_tombstone_alone(
    arena: Arena, second: Connection
) -> None:
    consumer = new_id()
    amounts = {arena.one: {"VCPU": 8}}
    said = await arena.decide(set_allocations(consumer, None, amounts), set_allocations(consumer, 1, {}))
    assert said == ["succeeded"] * 2
    assert (await consumer_row(second, consumer))["deleted"]
    assert await generations(second) == {consumer: 2, arena.one: 3, arena.other: 1}
    history = await second.fetch("SELECT token FROM changes WHERE record_id = $1 ORDER BY sequence", consumer)
    assert [row["token"] for row in history] == ["1", "2"]


# Chains within one batch.


async def test_full_providers_are_swapped_within_a_batch(arena: Arena, second: Connection) -> None:
    one, other = new_id(), new_id()
    full = {"VCPU": 8}
    await arena.decide(set_allocations(one, None, {arena.one: full}), set_allocations(other, None, {arena.other: full}))
    swap = set_many({one: wanted(1, {arena.other: full}), other: wanted(1, {arena.one: full})})
    said = await arena.decide(
        set_allocations(new_id(), None, {arena.one: {"VCPU": 1}}),
        swap,
        set_allocations(new_id(), None, {arena.one: {"VCPU": 1}}),
    )
    assert said == ["capacity_exceeded", "succeeded", "capacity_exceeded"]
    assert await allocated(second) == {one: {arena.other: full}, other: {arena.one: full}}
    assert await generations(second) == {one: 2, other: 2, arena.one: 3, arena.other: 3}


async def test_room_that_one_gives_back_is_taken_by_the_next_in_the_batch(arena: Arena, second: Connection) -> None:
    consumers = [new_id() for _ in range(20)]
    full = {arena.one: {"VCPU": 8}}
    commands = [set_allocations(consumers[0], None, full)]
    for leaving, coming in pairwise(consumers):
        commands += [
            set_allocations(coming, None, full),
            set_allocations(leaving, 1, {}),
            set_allocations(coming, None, full),
        ]
    said = await arena.decide(*commands)
    assert said == ["succeeded"] + ["capacity_exceeded", "succeeded", "succeeded"] * 19
    assert await allocated(second) == {consumers[-1]: full}
    assert (await generations(second))[arena.one] == 1 + 39


async def test_provider_is_created_filled_emptied_and_deleted_in_one_batch(arena: Arena, second: Connection) -> None:
    provider, consumer = new_id(), new_id()
    said = await arena.decide(
        create_provider(provider),
        set_allocations(consumer, None, {provider: {"VCPU": 1}}),
        provider_command("put_inventory", provider, expected_generation=0),
        set_allocations(consumer, None, {provider: {"VCPU": 8}}),
        delete_provider(provider, 2),
        set_allocations(consumer, 1, {arena.one: {"VCPU": 8}}),
        delete_provider(provider, 3),
        set_allocations(consumer, 2, {provider: {"VCPU": 8}}),
    )
    assert said == [
        "succeeded",
        "no_inventory",
        "succeeded",
        "succeeded",
        "provider_in_use",
        "succeeded",
        "succeeded",
        "not_found",
    ]
    assert await allocated(second) == {consumer: {arena.one: {"VCPU": 8}}}


async def test_provider_moves_in_its_tree_while_it_is_allocated_from(arena: Arena, second: Connection) -> None:
    consumer = new_id()
    said = await arena.decide(
        set_allocations(consumer, None, {arena.one: {"VCPU": 1}}),
        move_provider(arena.one, 2, arena.other),
        set_allocations(consumer, 1, {arena.one: {"VCPU": 2}}, {arena.one: 3}),
        set_allocations(consumer, 2, {arena.one: {"VCPU": 2}}, {arena.one: 3}),
    )
    assert said == ["succeeded", "succeeded", "succeeded", "stale"]
    assert await second.fetchval("SELECT parent_id::text FROM providers WHERE id = $1", arena.one) == arena.other


async def test_inventory_that_ends_as_it_began_is_no_reason_to_decide_again(arena: Arena, second: Connection) -> None:
    """In between it had room for more: the fence must not take the end for an oversold beginning."""

    def total(expected: int, amount: int) -> Command:
        return provider_command("put_inventory", arena.one, expected_generation=expected, inventory={"total": amount})

    first, late = new_id(), new_id()
    said = await arena.decide(
        total(1, 100),
        set_allocations(first, None, {arena.one: {"VCPU": 50}}),
        total(3, 8),
        set_allocations(late, None, {arena.one: {"VCPU": 1}}),
    )
    assert said == ["succeeded", "succeeded", "succeeded", "capacity_exceeded"]
    assert (await used(second))[arena.one] == {"VCPU": 50}
    assert await second.fetchval("SELECT total FROM inventories WHERE provider_id = $1", arena.one) == 8


async def test_overage_is_given_back_bit_by_bit(arena: Arena, second: Connection) -> None:
    """While there is one, the fence lets pass what makes it smaller, or leaves it as it is."""
    one, other = new_id(), new_id()
    await arena.decide(*(set_allocations(consumer, None, {arena.one: {"VCPU": 4}}) for consumer in (one, other)))
    shrink = provider_command("put_inventory", arena.one, expected_generation=3, inventory={"total": 2})
    assert await arena.decide(shrink) == ["succeeded"]
    for generation, amount in enumerate((4, 3, 3, 1), 1):
        again = set_allocations(one, generation, {arena.one: {"VCPU": amount}})
        more = set_allocations(other, 1, {arena.one: {"VCPU": 5}})
        assert await arena.decide(again, more) == ["succeeded", "capacity_exceeded"]
        assert (await used(second))[arena.one] == {"VCPU": amount + 4}
    swap = {one: wanted(5, {arena.one: {"VCPU": 4}}), other: wanted(1, {arena.one: {"VCPU": 1}})}
    assert await arena.decide(set_many(swap)) == ["succeeded"]
    assert (await used(second))[arena.one] == {"VCPU": 5}


async def test_inventory_that_is_removed_and_put_again_in_one_batch_is_used_anew(
    arena: Arena, second: Connection
) -> None:
    consumer, other = new_id(), new_id()
    await arena.decide(set_allocations(consumer, None, {arena.one: {"VCPU": 8}}))
    said = await arena.decide(
        set_allocations(consumer, 1, {}),
        provider_command("delete_inventory", arena.one, expected_generation=3),
        provider_command("put_inventory", arena.one, expected_generation=4, inventory={"total": 9}),
        set_allocations(other, None, {arena.one: {"VCPU": 9}}),
        provider_command("put_inventory", arena.one, expected_generation=6),
    )
    assert said == ["succeeded"] * 5
    assert await used(second) == {arena.one: {"VCPU": 9}, arena.other: {"VCPU": 0}}


@pytest.mark.parametrize("ratio", [2.3, 1.1, 0.7, 1e-3, 3.40282e38])
async def test_fold_and_fence_have_the_same_arithmetic(arena: Arena, second: Connection, ratio: float) -> None:
    """Up to the last unit, for a fence that is stricter would have the batch decided again for ever."""
    for total in (1, 3, 7, 10, 41, 100, 1_000_003, 2**31 - 1):
        generation = (await generations(second))[arena.one]
        inventory = {"total": total, "allocation_ratio": ratio}
        sent = provider_command("put_inventory", arena.one, expected_generation=generation, inventory=inventory)
        assert await arena.decide(sent) == ["succeeded"]
        consumer, fits = new_id(), min(int(total * ratio), 2**31 - 1)
        if fits < 2**31 - 1:
            too_much = set_allocations(consumer, None, {arena.one: {"VCPU": fits + 1}})
            assert await arena.decide(too_much) == ["capacity_exceeded"]
        if fits:
            assert await arena.decide(set_allocations(consumer, None, {arena.one: {"VCPU": fits}})) == ["succeeded"]
            assert (await used(second))[arena.one] == {"VCPU": fits}
            assert await arena.decide(set_allocations(consumer, 1, {})) == ["succeeded"]


# Ids, copies and the ledger's memory.


async def test_copies_are_answered_byte_for_byte_and_applied_once(arena: Arena, second: Connection) -> None:
    commands = [
        set_allocations(new_id(), None, {arena.one: {"VCPU": 1}}),
        set_many({new_id(): wanted(None, {arena.one: {"VCPU": 1}, arena.other: {"VCPU": 1}})}),
        reshape(inventories(arena.other, 2, VCPU=4), {new_id(): wanted(None, {arena.other: {"VCPU": 3}})}),
        set_allocations(new_id(), None, {arena.one: {"VCPU": 9}}),
        set_allocations(new_id(), 4, {}),
    ]
    first = await arena.decider.decide([*commands, *commands])
    assert first.events[:5] == first.events[5:]
    rows = [await generations(second), await allocated(second)]
    again = await arena.decider.decide(commands[::-1])
    assert again.events[::-1] == first.events[:5]
    assert [await generations(second), await allocated(second)] == rows


async def test_commands_that_the_ledger_forgot_succeed_again_and_are_not_applied(
    arena: Arena, second: Connection
) -> None:
    leaving = new_id()
    await arena.decide(set_allocations(leaving, None, {arena.one: {"VCPU": 1}}))
    made = [
        set_many({new_id(): wanted(None, {arena.one: {"VCPU": 1}}), leaving: wanted(1, {})}),
        reshape(inventories(arena.other, 1, VCPU=4), {new_id(): wanted(None, {arena.other: {"VCPU": 3}})}),
    ]
    before = await arena.outcomes(*made)
    rows = [await generations(second), await allocated(second), await used(second)]
    await second.execute("DELETE FROM ledger")
    after = await arena.outcomes(*made)
    assert [outcome.id for outcome in after] == [outcome_id(sent.id) for sent in made]
    assert [outcome.data for outcome in after] == [outcome.data for outcome in before]
    assert [await generations(second), await allocated(second), await used(second)] == rows


async def test_large_command_is_decided_in_one_batch(arena: Arena, second: Connection) -> None:
    providers = [new_id() for _ in range(300)]
    for start in range(0, 300, 100):
        batch = [create_provider(provider) for provider in providers[start : start + 100]]
        batch += [
            provider_command("put_inventory", provider, expected_generation=0)
            for provider in providers[start : start + 100]
        ]
        await arena.decide(*batch)
    consumers = [new_id() for _ in range(300)]
    new = {
        consumer: wanted(None, {provider: {"VCPU": 4}, providers[number - 1]: {"VCPU": 4}})
        for number, (consumer, provider) in enumerate(zip(consumers, providers, strict=True))
    }
    sent = set_many(new)
    assert await arena.decide(sent) == ["succeeded"]
    assert len(await changes_of(second, sent.id)) == 600
    assert {amounts["VCPU"] for provider, amounts in (await used(second)).items() if provider in providers} == {8}
