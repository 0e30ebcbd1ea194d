"""Allocations while somebody else is at work: whatever comes between reading and writing, nothing is oversold.

The second connection stands for another service, or for somebody with psql who takes no lock that the service takes.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TypeAlias

import asyncpg
import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, GenerationToken, Outcome, Rejected, Succeeded
from genlock.service.database import DECIDING_PLANS, DecideAgainError, Pool, must_write, open_pool, transaction
from genlock.service.decide import Decider
from genlock.service.records import Consumer
from genlock.service.steps import Step
from genlock.service.tables import TABLES, Table
from tests.allocation_rows import allocated, check_sums, generations, used
from tests.consumer_factories import reshape, set_allocations, set_many, wanted
from tests.factories import Json, new_id
from tests.harness import outcomes, until_waiting
from tests.provider_factories import create_provider, delete_provider, provider_command
from tests.races import at_once, check_no_deadlock, in_turn

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

CONSUMERS: Table[Consumer] = next(table for table in TABLES if table.kind == "consumer")

TOTAL = 8
CROWD = 12

LOCK_ONE = "SELECT id FROM providers WHERE id = $1 FOR UPDATE"
LOCK_PROVIDERS = "SELECT id FROM providers ORDER BY id FOR UPDATE"
LOCK_CONSUMERS = "SELECT id FROM consumers ORDER BY id FOR UPDATE"
LOCK_CREATIONS = "LOCK TABLE consumers IN SHARE MODE"


@dataclass
class Yard:
    """A decider that tells its steps, and three providers with 8 VCPU each, in the order of their ids."""

    decider: Decider
    steps: list[Step] = field(default_factory=list)
    providers: list[str] = field(default_factory=lambda: sorted(new_id() for _ in range(3)))

    @property
    def tries(self) -> int:
        """How often batches were begun since the consumer was made."""
        return self.steps.count(Step.BEGUN)

    async def decide(self, *commands: Command) -> list[Outcome]:
        return outcomes(await self.decider.decide(commands))

    async def consumer(self, *providers: str, amount: int = 2) -> str:
        """A consumer at generation 1 that has so much of each of the providers."""
        consumer = new_id()
        [made] = await self.decide(set_allocations(consumer, None, {name: {"VCPU": amount} for name in providers}))
        assert isinstance(made, Succeeded)
        self.steps.clear()
        return consumer

    async def while_changed(self, second: Connection, command: Command, *statements: tuple[str, str]) -> Outcome:
        """Decide a command that has read everything and waits to write, while the second connection changes rows.

        Each statement comes with the id of the provider that it is about.
        """
        async with second.transaction():
            for statement, provider in statements:
                assert await second.execute(statement, provider) not in ("UPDATE 0", "DELETE 0")
            deciding = asyncio.create_task(self.decider.decide([command]))
            await until_waiting(second, 1)
        [outcome] = outcomes(await deciding)
        assert self.tries == 2
        return outcome


@pytest.fixture
async def yard(database_url: str, second: Connection) -> AsyncIterator[Yard]:
    """Providers to race for; in the end no deadlock may have happened in the database."""
    steps: list[Step] = []
    async with await open_pool(database_url, size=CROWD, timeout_s=20, plans=DECIDING_PLANS) as pool:
        decider = Decider(pool, source="/tests", retention=timedelta(days=14), timeout_s=20, reached=steps.append)
        made = Yard(decider, steps)
        for provider in made.providers:
            stock = provider_command("put_inventory", provider, expected_generation=0, inventory={"total": TOTAL})
            await made.decide(create_provider(provider), stock)
        steps.clear()
        yield made
    await check_no_deadlock(second)


@pytest.fixture
async def sound(second: Connection) -> AsyncIterator[None]:
    """In the end `used` is what is allocated."""
    yield
    await check_sums(second)


# Behind the service's back.

TAKE = "UPDATE inventories SET used = used + {} WHERE provider_id = $1"


@pytest.mark.parametrize(("taken", "asked", "fits"), [(3, 5, True), (3, 6, False), (8, 1, False), (1, 8, False)])
async def test_what_is_taken_between_reading_and_writing_is_not_sold_again(
    yard: Yard, second: Connection, taken: int, asked: int, fits: bool
) -> None:
    provider, consumer = yard.providers[0], new_id()
    command = set_allocations(consumer, None, {provider: {"VCPU": asked}})
    outcome = await yard.while_changed(second, command, (TAKE.format(taken), provider))
    if fits:
        assert isinstance(outcome, Succeeded)
        assert (await used(second))[provider] == {"VCPU": taken + asked}
    else:
        assert isinstance(outcome, Rejected)
        assert [(short.asked, short.used) for short in outcome.data.shortages or []] == [(asked, taken)]
        assert (await used(second))[provider] == {"VCPU": taken}
        assert await allocated(second) == {}


async def test_what_is_given_back_between_reading_and_writing_is_not_lost(yard: Yard, second: Connection) -> None:
    provider = yard.providers[0]
    there = await yard.consumer(provider, amount=6)
    command = set_allocations(new_id(), None, {provider: {"VCPU": 2}})
    back = "UPDATE inventories SET used = used - 4 WHERE provider_id = $1"
    outcome = await yard.while_changed(second, command, (back, provider))
    assert isinstance(outcome, Succeeded)
    assert (await used(second))[provider] == {"VCPU": 6 - 4 + 2}
    assert (await allocated(second))[there] == {provider: {"VCPU": 6}}


@pytest.mark.parametrize(
    "change", ["total = 4", "reserved = 4", "allocation_ratio = 0.5", "total = 4, used = used, max_unit = 100"]
)
async def test_capacity_that_shrinks_between_reading_and_writing_is_not_exceeded(
    yard: Yard, second: Connection, change: str
) -> None:
    provider = yard.providers[0]
    shrink = f"UPDATE inventories SET {change} WHERE provider_id = $1"  # noqa: S608 - a text of our own
    command = set_allocations(new_id(), None, {provider: {"VCPU": 5}})
    outcome = await yard.while_changed(second, command, (shrink, provider))
    assert isinstance(outcome, Rejected)
    assert outcome.code is Code.CAPACITY_EXCEEDED
    assert [short.capacity for short in outcome.data.shortages or []] == [4]
    assert (await used(second))[provider] == {"VCPU": 0}


async def test_inventory_that_goes_away_between_reading_and_writing_is_not_allocated_from(
    yard: Yard, second: Connection
) -> None:
    provider = yard.providers[0]
    command = set_allocations(new_id(), None, {provider: {"VCPU": 5}})
    gone = "DELETE FROM inventories WHERE provider_id = $1"
    outcome = await yard.while_changed(second, command, (gone, provider))
    assert isinstance(outcome, Rejected)
    assert outcome.code is Code.NO_INVENTORY
    assert await allocated(second) == {}


@pytest.mark.parametrize("verb", ["delete_inventory", "set_inventories", "delete"])
async def test_inventory_that_is_taken_from_between_reading_and_writing_is_not_removed(
    yard: Yard, second: Connection, verb: str
) -> None:
    provider = yard.providers[0]
    command = provider_command(verb, provider, expected_generation=1)
    outcome = await yard.while_changed(second, command, (TAKE.format(1), provider))
    assert isinstance(outcome, Rejected)
    assert outcome.code is (Code.PROVIDER_IN_USE if verb == "delete" else Code.INVENTORY_IN_USE)
    assert (await used(second))[provider] == {"VCPU": 1}


async def test_what_is_taken_while_the_inventory_is_replaced_is_kept(yard: Yard, second: Connection) -> None:
    provider = yard.providers[0]
    command = provider_command("put_inventory", provider, expected_generation=1, inventory={"total": 2})
    outcome = await yard.while_changed(second, command, (TAKE.format(5), provider))
    assert isinstance(outcome, Succeeded)
    row = await second.fetchrow("SELECT total, used FROM inventories WHERE provider_id = $1", provider)
    assert row is not None
    assert tuple(row) == (2, 5)


async def test_all_of_a_command_is_decided_again_when_one_of_its_rows_has_changed(
    yard: Yard, second: Connection
) -> None:
    one, other, third = yard.providers
    there = await yard.consumer(one, amount=8)
    command = set_many(
        {there: wanted(1, {other: {"VCPU": 8}}), new_id(): wanted(None, {one: {"VCPU": 8}, third: {"VCPU": 8}})}
    )
    outcome = await yard.while_changed(second, command, (TAKE.format(1), third))
    assert isinstance(outcome, Rejected)
    assert outcome.code is Code.CAPACITY_EXCEEDED
    assert await allocated(second) == {there: {one: {"VCPU": 8}}}
    assert await used(second) == {one: {"VCPU": 8}, other: {"VCPU": 0}, third: {"VCPU": 1}}


# Statements that fence, one by one: a lock keeps the service from ever meeting these.


async def test_consumer_is_changed_only_at_the_generation_that_was_read(yard: Yard, pool: Pool) -> None:
    consumer = await yard.consumer(yard.providers[0])
    async with transaction(pool, 20) as connection:
        [record] = await CONSUMERS.lock(connection, [consumer])
        for generation, count in ((0, 0), (2, 0), (1, 1), (1, 0)):
            before = replace(record, generation=generation)
            after = replace(record, generation=7, sequence=7, project_id="new")
            assert await CONSUMERS.update(connection, [(before, after)]) == count
        [changed] = await CONSUMERS.lock(connection, [consumer])
    assert (changed.generation, changed.project_id) == (7, "new")


async def test_consumer_that_is_there_is_not_created(yard: Yard, pool: Pool) -> None:
    consumer = await yard.consumer(yard.providers[0])
    async with transaction(pool, 20) as connection:
        [record] = await CONSUMERS.lock(connection, [consumer])
        assert await CONSUMERS.insert(connection, [record, replace(record, id=new_id())]) == 1


async def test_allocation_that_is_not_there_is_not_removed(yard: Yard, pool: Pool) -> None:
    one, other, _ = yard.providers
    consumer = await yard.consumer(one)
    with pytest.raises(DecideAgainError):
        async with transaction(pool, 20) as connection:
            await must_write(connection, "delete_allocations", [(consumer, one, "VCPU"), (consumer, other, "VCPU")])
    async with transaction(pool, 20) as connection:
        await must_write(connection, "delete_allocations", [(consumer, one, "VCPU")])


async def test_inventory_that_is_there_is_not_added(yard: Yard, second: Connection) -> None:
    """Somebody adds it after the provider was read, and is there first."""
    provider = yard.providers[0]
    add = """
    INSERT INTO inventories SELECT provider_id, 'DISK_GB', 5, 0, 1, 1, 1, 1.0, 3 FROM inventories
    WHERE provider_id = $1
    """
    command = provider_command("put_inventory", provider, expected_generation=1, resource_class="DISK_GB")
    outcome = await yard.while_changed(second, command, (add, provider))
    assert isinstance(outcome, Succeeded)
    assert (await used(second))[provider] == {"VCPU": 0, "DISK_GB": 3}


# A consumer that turns up elsewhere between look-up and lock.


async def test_consumer_that_moved_meanwhile_is_decided_again_with_its_new_provider_locked(
    yard: Yard, second: Connection
) -> None:
    one, two, three = yard.providers
    consumer = await yard.consumer(one)
    # The first moves it from one to three; the second has looked it up at one, and expects what the first makes.
    moves = [
        [set_allocations(consumer, 1, {three: {"VCPU": 2}})],
        [set_allocations(consumer, 2, {two: {"VCPU": 2}})],
    ]
    [[first], [after]] = await in_turn(yard.decider, moves, second, LOCK_CONSUMERS)
    assert isinstance(first, Succeeded)
    assert isinstance(after, Succeeded)
    assert after.data.tokens == {"provider": {two: GenerationToken(generation=2), three: GenerationToken(generation=3)}}
    assert yard.tries == 3
    assert await allocated(second) == {consumer: {two: {"VCPU": 2}}}
    assert await used(second) == {one: {"VCPU": 0}, two: {"VCPU": 2}, three: {"VCPU": 0}}
    assert await generations(second) == {consumer: 3, one: 3, two: 2, three: 3}


async def test_consumer_that_moved_meanwhile_is_told_as_it_is_now_to_who_expected_it_as_it_was(
    yard: Yard, second: Connection
) -> None:
    one, two, three = yard.providers
    consumer = await yard.consumer(one)
    moves = [
        [set_allocations(consumer, 1, {three: {"VCPU": 2}})],
        [set_allocations(consumer, 1, {two: {"VCPU": 2}})],
    ]
    [[first], [after]] = await in_turn(yard.decider, moves, second, LOCK_CONSUMERS)
    assert isinstance(first, Succeeded)
    assert isinstance(after, Conflict)
    assert (after.reason, after.actual, after.current) == (Reason.STALE, first.token, first.record)
    assert after.winner is not None
    assert after.winner.command_id == first.command_id


async def test_consumer_that_was_created_elsewhere_meanwhile_is_seen(yard: Yard, second: Connection) -> None:
    one, two, _ = yard.providers
    consumer = new_id()
    async with second.transaction():
        await second.execute(LOCK_ONE, two)
        late = asyncio.create_task(yard.decider.decide([set_allocations(consumer, 1, {two: {"VCPU": 2}})]))
        await until_waiting(second, 1)
        [created] = await yard.decide(set_allocations(consumer, None, {one: {"VCPU": 2}}))
        assert isinstance(created, Succeeded)
    [moved] = outcomes(await late)
    assert isinstance(moved, Succeeded)
    assert yard.tries == 3
    assert await allocated(second) == {consumer: {two: {"VCPU": 2}}}
    assert await used(second) == {name: {"VCPU": 2 * (name == two)} for name in yard.providers}


async def test_consumer_that_was_removed_meanwhile_is_missing(yard: Yard, second: Connection) -> None:
    one, two, _ = yard.providers
    consumer = await yard.consumer(one)
    batches = [[set_allocations(consumer, 1, {})], [set_allocations(consumer, 1, {two: {"VCPU": 2}})]]
    [[removed], [missing]] = await in_turn(yard.decider, batches, second, LOCK_CONSUMERS)
    assert isinstance(removed, Succeeded)
    assert isinstance(missing, Conflict)
    assert (missing.reason, missing.actual, missing.current) == (Reason.MISSING, None, None)
    assert missing.winner is not None
    assert missing.winner.command_id == removed.command_id


async def test_allocation_of_a_provider_that_does_not_exist_ends_the_commands_on_its_consumer_alone(
    yard: Yard, second: Connection
) -> None:
    """The service never leaves such a row, but whoever deletes one by hand must not stop the whole inbox."""
    one, two, _ = yard.providers
    consumer = await yard.consumer(one)
    await second.execute("DELETE FROM providers WHERE id = $1", one)
    batch = [
        set_allocations(new_id(), None, {two: {"VCPU": 1}}),
        set_allocations(consumer, 1, {two: {"VCPU": 1}}),
        set_many({new_id(): wanted(None, {two: {"VCPU": 1}}), consumer: wanted(1, {})}),
        set_allocations(new_id(), None, {two: {"VCPU": 1}}),
    ]
    found = await yard.decide(*batch)
    assert [outcome.code if isinstance(outcome, Rejected) else "ok" for outcome in found] == [
        "ok",
        Code.INTERNAL_ERROR,
        Code.INTERNAL_ERROR,
        "ok",
    ]
    assert yard.tries == 1
    assert (await used(second))[two] == {"VCPU": 2}


# Creations.


@pytest.mark.parametrize("same_provider", [True, False])
@pytest.mark.usefixtures("sound")
async def test_one_new_consumer_created_by_two_at_once_is_created_once(
    yard: Yard, second: Connection, same_provider: bool
) -> None:
    consumer = new_id()
    providers = [yard.providers[0], yard.providers[0 if same_provider else 1]]
    batches = [[set_allocations(consumer, None, {provider: {"VCPU": 2}})] for provider in providers]
    if same_provider:
        found = await in_turn(yard.decider, batches, second, LOCK_ONE, providers[0])
    else:
        # Neither knows of the other before it writes.
        found = [outcomes(answers) for answers in await at_once(yard.decider, batches, second, LOCK_CREATIONS)]
    verdicts = [outcome for [outcome] in found]
    [winner] = [verdict for verdict in verdicts if isinstance(verdict, Succeeded)]
    [loser] = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
    assert (loser.reason, loser.actual, loser.current) == (Reason.EXISTS, winner.token, winner.record)
    assert yard.tries == (2 if same_provider else 3)
    assert (await generations(second))[consumer] == 1
    assert sum(amounts["VCPU"] for amounts in (await used(second)).values()) == 2


@pytest.mark.usefixtures("sound")
async def test_removed_consumer_created_again_by_two_at_once_is_created_once(yard: Yard, second: Connection) -> None:
    """They have no provider in common: the second waits for the tombstone, and then needs the first one's provider."""
    consumer = await yard.consumer(yard.providers[2])
    await yard.decide(set_allocations(consumer, 1, {}))
    yard.steps.clear()
    batches = [[set_allocations(consumer, None, {provider: {"VCPU": 2}})] for provider in yard.providers[:2]]
    [[winner], [loser]] = await in_turn(yard.decider, batches, second, LOCK_CONSUMERS)
    assert isinstance(winner, Succeeded)
    assert isinstance(loser, Conflict)
    assert (loser.reason, loser.actual, loser.current) == (Reason.EXISTS, winner.token, winner.record)
    assert yard.tries == 3


NEW_CONSUMER = """
INSERT INTO consumers VALUES ('{}', 1, 1, 'p', 'u', NULL, false, gen_random_uuid(), 'x', '/x', 'now')
"""


@pytest.mark.usefixtures("sound")
async def test_new_consumers_created_by_two_at_once_in_opposite_orders_never_deadlock(
    yard: Yard, second: Connection
) -> None:
    """The second connection has the one in the middle, so that each batch would come to it with one of the others."""
    for _ in range(10):
        consumers = sorted(new_id() for _ in range(3))
        batches = [
            [set_many({consumer: wanted(None, {provider: {"VCPU": 1}}) for consumer in order})]
            for provider, order in zip(yard.providers, (consumers, consumers[::-1]), strict=False)
        ]
        answers = await at_once(yard.decider, batches, second, NEW_CONSUMER.format(consumers[1]))
        verdicts = [outcome for answer in answers for outcome in outcomes(answer)]
        assert sorted(type(verdict).__name__ for verdict in verdicts) == ["Conflict", "Succeeded"]
        [loser] = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
        assert [failed.reason for failed in loser.data.failures or []] == [Reason.EXISTS] * 3
        await yard.decide(*(set_allocations(consumer, 1, {}) for consumer in consumers))


# Many at once.


@pytest.mark.usefixtures("sound")
async def test_consumers_that_expect_no_generation_of_the_provider_all_get_what_fits(
    yard: Yard, second: Connection
) -> None:
    provider = yard.providers[0]
    batches = [[set_allocations(new_id(), None, {provider: {"VCPU": 1}})] for _ in range(CROWD)]
    verdicts = [outcome for [outcome] in await in_turn(yard.decider, batches, second, LOCK_ONE, provider)]
    assert (
        sorted(type(verdict).__name__ for verdict in verdicts) == ["Rejected"] * (CROWD - TOTAL) + ["Succeeded"] * TOTAL
    )
    tokens = [verdict.data.tokens for verdict in verdicts if isinstance(verdict, Succeeded)]
    assert sorted(next(iter(token["provider"].values())).model_dump()["generation"] for token in tokens if token) == [
        *range(2, 2 + TOTAL)
    ]


@pytest.mark.usefixtures("sound")
async def test_of_consumers_that_expect_one_generation_of_the_provider_exactly_one_wins(
    yard: Yard, second: Connection
) -> None:
    provider = yard.providers[0]
    batches = [[set_allocations(new_id(), None, {provider: {"VCPU": 1}}, {provider: 1})] for _ in range(CROWD)]
    verdicts = [outcome for [outcome] in await in_turn(yard.decider, batches, second, LOCK_ONE, provider)]
    [winner] = [verdict for verdict in verdicts if isinstance(verdict, Succeeded)]
    losers = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
    assert len(losers) == CROWD - 1
    for loser in losers:
        assert (loser.reason, loser.data.kind, loser.data.id) == (Reason.STALE, "provider", provider)
        assert loser.actual == GenerationToken(generation=2)
        assert loser.winner is not None
        assert loser.winner.command_id == winner.command_id


@pytest.mark.usefixtures("sound")
async def test_of_many_changes_of_one_generation_of_a_consumer_exactly_one_wins(yard: Yard, second: Connection) -> None:
    consumer = await yard.consumer(yard.providers[0])
    batches = [
        [set_allocations(consumer, 1, {yard.providers[number % 3]: {"VCPU": 1 + number // 3}})]
        for number in range(CROWD)
    ]
    verdicts = [outcome for [outcome] in await in_turn(yard.decider, batches, second, LOCK_PROVIDERS)]
    [winner] = [verdict for verdict in verdicts if isinstance(verdict, Succeeded)]
    losers = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
    assert [(loser.reason, loser.actual, loser.current) for loser in losers] == [
        (Reason.STALE, winner.token, winner.record)
    ] * (CROWD - 1)


@pytest.mark.usefixtures("sound")
async def test_batches_with_opposite_orders_of_providers_and_consumers_never_deadlock(
    yard: Yard, second: Connection
) -> None:
    consumers = [await yard.consumer(*yard.providers, amount=1) for _ in range(3)]
    for generation in range(1, 11):
        everything = [
            set_allocations(consumer, generation, {provider: {"VCPU": 1} for provider in order})
            for consumer, order in zip(consumers, (yard.providers, yard.providers[::-1], yard.providers), strict=True)
        ]
        again = [
            set_many({consumer: wanted(generation, {yard.providers[2]: {"VCPU": 1}}) for consumer in consumers[::-1]})
        ]
        answers = await at_once(yard.decider, [everything, again], second, LOCK_PROVIDERS)
        words = [[type(outcome).__name__ for outcome in outcomes(answer)] for answer in answers]
        assert words in ([["Succeeded"] * 3, ["Conflict"]], [["Conflict"] * 3, ["Succeeded"]])
        found = await generations(second)
        assert {found[consumer] for consumer in consumers} == {generation + 1}


# Against commands of providers.


@pytest.mark.parametrize("verb", ["delete", "delete_inventory", "set_inventories"])
@pytest.mark.parametrize("first", ["allocate", "remove"])
@pytest.mark.usefixtures("sound")
async def test_inventory_is_allocated_from_or_removed_but_not_both(
    yard: Yard, second: Connection, verb: str, first: str
) -> None:
    provider = yard.providers[0]
    removing = provider_command(verb, provider, expected_generation=1)
    batches = [[set_allocations(new_id(), None, {provider: {"VCPU": 1}})], [removing]]
    if first == "remove":
        batches.reverse()
    [[winner], [loser]] = await in_turn(yard.decider, batches, second, LOCK_ONE, provider)
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
    yard: Yard, second: Connection
) -> None:
    provider = yard.providers[0]
    batches = [[set_allocations(new_id(), None, {provider: {"VCPU": 1}})], [delete_provider(provider, 2)]]
    [[winner], [loser]] = await in_turn(yard.decider, batches, second, LOCK_ONE, provider)
    assert isinstance(winner, Succeeded)
    assert isinstance(loser, Rejected)
    assert loser.code is Code.PROVIDER_IN_USE


@pytest.mark.parametrize("first", ["reshape", "allocate"])
@pytest.mark.usefixtures("sound")
async def test_reshape_and_an_allocation_of_what_moves_away_at_once(yard: Yard, second: Connection, first: str) -> None:
    one, two, _ = yard.providers
    there, coming = await yard.consumer(one), new_id()
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
    [[winner], [loser]] = await in_turn(yard.decider, batches, second, LOCK_ONE, one)
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
async def test_two_at_once_that_fit_alone_but_not_together_are_granted_one(yard: Yard, second: Connection) -> None:
    """Each has a provider of its own besides, so that they meet in one of three."""
    one, two, three = yard.providers
    batches = [[set_allocations(new_id(), None, {own: {"VCPU": 1}, two: {"VCPU": 5}})] for own in (one, three)]
    [[winner], [loser]] = await in_turn(yard.decider, batches, second, LOCK_ONE, two)
    assert isinstance(winner, Succeeded)
    assert isinstance(loser, Rejected)
    assert [(short.provider_id, short.used) for short in loser.data.shortages or []] == [(two, 5)]
    # All or nothing: of its own provider the loser has nothing either.
    assert await used(second) == {one: {"VCPU": 1}, two: {"VCPU": 5}, three: {"VCPU": 0}}
