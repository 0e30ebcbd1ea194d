"""Commands on consumers and providers at once, in an order that a lock held from a second connection fixes.

One creates, what fits is granted and no more, and no deadlock happens.
"""

from collections.abc import AsyncIterator

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.outcomes import Conflict, GenerationToken, Rejected, Succeeded
from tests.support.allocation_arena import CONCURRENT_BATCHES, LOCK_CONSUMERS, LOCK_ONE, TOTAL, Arena, open_arena
from tests.support.allocation_rows import allocated, check_sums, generations, used
from tests.support.consumer_factories import reshape, set_allocations, set_many, wanted
from tests.support.database import Connection
from tests.support.factories import Json, new_id
from tests.support.harness import outcomes
from tests.support.provider_factories import delete_provider, provider_command
from tests.support.races import at_once, in_turn

LOCK_PROVIDERS = "SELECT id FROM providers ORDER BY id FOR UPDATE"
LOCK_CREATIONS = "LOCK TABLE consumers IN SHARE MODE"


@pytest.fixture
async def arena(database_url: str, second: Connection) -> AsyncIterator[Arena]:
    """Providers to race for; in the end no deadlock may have happened in the database."""
    async with open_arena(database_url, second) as made:
        yield made


@pytest.fixture
async def sound(second: Connection) -> AsyncIterator[None]:
    """In the end `used` equals the sum of the allocations."""
    yield
    await check_sums(second)


# Creations.


@pytest.mark.parametrize("same_provider", [True, False])
@pytest.mark.usefixtures("sound")
async def test_one_new_consumer_created_by_two_at_once_is_created_once(
    arena: Arena, second: Connection, same_provider: bool
) -> None:
    consumer = new_id()
    providers = [arena.providers[0], arena.providers[0 if same_provider else 1]]
    batches = [[set_allocations(consumer, None, {provider: {"VCPU": 2}})] for provider in providers]
    if same_provider:
        found = await in_turn(arena.decider, batches, second, LOCK_ONE, providers[0])
    else:
        # Neither knows of the other before it writes.
        found = [outcomes(answers) for answers in await at_once(arena.decider, batches, second, LOCK_CREATIONS)]
    verdicts = [outcome for [outcome] in found]
    [winner] = [verdict for verdict in verdicts if isinstance(verdict, Succeeded)]
    [loser] = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
    assert (loser.reason, loser.actual, loser.current) == (Reason.EXISTS, winner.token, winner.record)
    assert arena.tries == (2 if same_provider else 3)
    assert (await generations(second))[consumer] == 1
    assert sum(amounts["VCPU"] for amounts in (await used(second)).values()) == 2


@pytest.mark.usefixtures("sound")
async def test_removed_consumer_created_again_by_two_at_once_is_created_once(arena: Arena, second: Connection) -> None:
    """They have no provider in common: the second waits for the tombstone, and then needs the first one's provider."""
    consumer = await arena.consumer(arena.providers[2])
    await arena.decide(set_allocations(consumer, 1, {}))
    arena.steps.clear()
    batches = [[set_allocations(consumer, None, {provider: {"VCPU": 2}})] for provider in arena.providers[:2]]
    [[winner], [loser]] = await in_turn(arena.decider, batches, second, LOCK_CONSUMERS)
    assert isinstance(winner, Succeeded)
    assert isinstance(loser, Conflict)
    assert (loser.reason, loser.actual, loser.current) == (Reason.EXISTS, winner.token, winner.record)
    assert arena.tries == 3


NEW_CONSUMER = """
INSERT INTO consumers VALUES ('{}', 1, 1, 'p', 'u', NULL, false, gen_random_uuid(), 'x', '/x', 'now')
"""


@pytest.mark.usefixtures("sound")
async def test_new_consumers_created_by_two_at_once_in_opposite_orders_never_deadlock(
    arena: Arena, second: Connection
) -> None:
    """The second connection has the one in the middle, so that each batch would come to it with one of the others."""
    for _ in range(10):
        consumers = sorted(new_id() for _ in range(3))
        batches = [
            [set_many({consumer: wanted(None, {provider: {"VCPU": 1}}) for consumer in order})]
            for provider, order in zip(arena.providers, (consumers, consumers[::-1]), strict=False)
        ]
        answers = await at_once(arena.decider, batches, second, NEW_CONSUMER.format(consumers[1]))
        verdicts = [outcome for answer in answers for outcome in outcomes(answer)]
        assert sorted(type(verdict).__name__ for verdict in verdicts) == ["Conflict", "Succeeded"]
        [loser] = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
        assert [failed.reason for failed in loser.data.failures or []] == [Reason.EXISTS] * 3
        await arena.decide(*(set_allocations(consumer, 1, {}) for consumer in consumers))


# Many at once.


@pytest.mark.usefixtures("sound")
async def test_consumers_that_expect_no_generation_of_the_provider_all_get_what_fits(
    arena: Arena, second: Connection
) -> None:
    provider = arena.providers[0]
    batches = [[set_allocations(new_id(), None, {provider: {"VCPU": 1}})] for _ in range(CONCURRENT_BATCHES)]
    verdicts = [outcome for [outcome] in await in_turn(arena.decider, batches, second, LOCK_ONE, provider)]
    assert (
        sorted(type(verdict).__name__ for verdict in verdicts)
        == ["Rejected"] * (CONCURRENT_BATCHES - TOTAL) + ["Succeeded"] * TOTAL
    )
    tokens = [verdict.data.tokens for verdict in verdicts if isinstance(verdict, Succeeded)]
    assert sorted(next(iter(token["provider"].values())).model_dump()["generation"] for token in tokens if token) == [
        *range(2, 2 + TOTAL)
    ]


@pytest.mark.usefixtures("sound")
async def test_of_consumers_that_expect_one_generation_of_the_provider_exactly_one_wins(
    arena: Arena, second: Connection
) -> None:
    provider = arena.providers[0]
    batches = [
        [set_allocations(new_id(), None, {provider: {"VCPU": 1}}, {provider: 1})] for _ in range(CONCURRENT_BATCHES)
    ]
    verdicts = [outcome for [outcome] in await in_turn(arena.decider, batches, second, LOCK_ONE, provider)]
    [winner] = [verdict for verdict in verdicts if isinstance(verdict, Succeeded)]
    losers = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
    assert len(losers) == CONCURRENT_BATCHES - 1
    for loser in losers:
        assert (loser.reason, loser.data.kind, loser.data.id) == (Reason.STALE, "provider", provider)
        assert loser.actual == GenerationToken(generation=2)
        assert loser.winner is not None
        assert loser.winner.command_id == winner.command_id


@pytest.mark.usefixtures("sound")
async def test_of_many_changes_of_one_generation_of_a_consumer_exactly_one_wins(
    arena: Arena, second: Connection
) -> None:
    consumer = await arena.consumer(arena.providers[0])
    batches = [
        [set_allocations(consumer, 1, {arena.providers[number % 3]: {"VCPU": 1 + number // 3}})]
        for number in range(CONCURRENT_BATCHES)
    ]
    verdicts = [outcome for [outcome] in await in_turn(arena.decider, batches, second, LOCK_PROVIDERS)]
    [winner] = [verdict for verdict in verdicts if isinstance(verdict, Succeeded)]
    losers = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
    assert [(loser.reason, loser.actual, loser.current) for loser in losers] == [
        (Reason.STALE, winner.token, winner.record)
    ] * (CONCURRENT_BATCHES - 1)


@pytest.mark.usefixtures("sound")
async def test_batches_with_opposite_orders_of_providers_and_consumers_never_deadlock(
    arena: Arena, second: Connection
) -> None:
    consumers = [await arena.consumer(*arena.providers, amount=1) for _ in range(3)]
    for generation in range(1, 11):
        everything = [
            set_allocations(consumer, generation, {provider: {"VCPU": 1} for provider in order})
            for consumer, order in zip(
                consumers, (arena.providers, arena.providers[::-1], arena.providers), strict=True
            )
        ]
        again = [
            set_many({consumer: wanted(generation, {arena.providers[2]: {"VCPU": 1}}) for consumer in consumers[::-1]})
        ]
        answers = await at_once(arena.decider, [everything, again], second, LOCK_PROVIDERS)
        words = [[type(outcome).__name__ for outcome in outcomes(answer)] for answer in answers]
        assert words in ([["Succeeded"] * 3, ["Conflict"]], [["Conflict"] * 3, ["Succeeded"]])
        found = await generations(second)
        assert {found[consumer] for consumer in consumers} == {generation + 1}


# Against commands of providers.


@pytest.mark.parametrize("verb", ["delete", "delete_inventory", "set_inventories"])
@pytest.mark.parametrize("first", ["allocate", "remove"])
@pytest.mark.usefixtures("sound")
async def test_inventory_is_allocated_from_or_removed_but_not_both(
    arena: Arena, second: Connection, verb: str, first: str
) -> None:
    provider = arena.providers[0]
    removing = provider_command(verb, provider, expected_generation=1)
    batches = [[set_allocations(new_id(), None, {provider: {"VCPU": 1}})], [removing]]
    if first == "remove":
        batches.reverse()
    [[winner], [loser]] = await in_turn(arena.decider, batches, second, LOCK_ONE, provider)
    assert isinstance(winner, Succeeded)
    if first == "remove":
        assert isinstance(loser, Rejected)
        assert loser.code is (Code.NOT_FOUND if verb == "delete" else Code.NO_INVENTORY)
    else:
        # The generation that the allocation made is told first.
        assert isinstance(loser, Conflict)
        assert loser.winner is not None
        assert loser.winner.command_id == winner.command_id


@pytest.mark.usefixtures("sound")
async def test_provider_that_is_deleted_with_the_right_generation_is_in_use_by_then(
    arena: Arena, second: Connection
) -> None:
    provider = arena.providers[0]
    batches = [[set_allocations(new_id(), None, {provider: {"VCPU": 1}})], [delete_provider(provider, 2)]]
    [[winner], [loser]] = await in_turn(arena.decider, batches, second, LOCK_ONE, provider)
    assert isinstance(winner, Succeeded)
    assert isinstance(loser, Rejected)
    assert loser.code is Code.PROVIDER_IN_USE


@pytest.mark.parametrize("first", ["reshape", "allocate"])
@pytest.mark.usefixtures("sound")
async def test_reshape_and_an_allocation_of_what_moves_away_at_once(
    arena: Arena, second: Connection, first: str
) -> None:
    one, two, _ = arena.providers
    there, coming = await arena.consumer(one), new_id()
    moved: dict[str, Json] = {
        one: {"expected_generation": 2, "inventories": {}},
        two: {"expected_generation": 1, "inventories": {"VCPU": {"total": 2}}},
    }
    batches = [
        [reshape(moved, {there: wanted(1, {two: {"VCPU": 2}})})],
        [set_allocations(coming, None, {one: {"VCPU": 1}})],
    ]
    if first == "allocate":
        batches.reverse()
    [[winner], [loser]] = await in_turn(arena.decider, batches, second, LOCK_ONE, one)
    assert isinstance(winner, Succeeded)
    if first == "reshape":
        assert isinstance(loser, Rejected)
        assert loser.code is Code.NO_INVENTORY
        assert await allocated(second) == {there: {two: {"VCPU": 2}}}
    else:
        assert isinstance(loser, Conflict)
        assert [(failed.id, failed.reason) for failed in loser.data.failures or []] == [(one, Reason.STALE)]
        assert await allocated(second) == {there: {one: {"VCPU": 2}}, coming: {one: {"VCPU": 1}}}


@pytest.mark.usefixtures("sound")
async def test_two_at_once_that_fit_alone_but_not_together_are_granted_one(arena: Arena, second: Connection) -> None:
    """Each has a provider of its own besides, so that they meet in one of three."""
    one, two, three = arena.providers
    batches = [[set_allocations(new_id(), None, {own: {"VCPU": 1}, two: {"VCPU": 5}})] for own in (one, three)]
    [[winner], [loser]] = await in_turn(arena.decider, batches, second, LOCK_ONE, two)
    assert isinstance(winner, Succeeded)
    assert isinstance(loser, Rejected)
    assert [(short.provider_id, short.used) for short in loser.data.shortages or []] == [(two, 5)]
    # All or nothing: of its own provider the loser has nothing either.
    assert await used(second) == {one: {"VCPU": 1}, two: {"VCPU": 5}, three: {"VCPU": 0}}
