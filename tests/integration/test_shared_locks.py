"""Locks of records that a batch only reads: many batches share them, and none of them changes meanwhile."""

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Succeeded
from genlock.service.database.statements import statement
from genlock.service.database.transactions import DECIDING_PLANS, open_pool
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.kind import RecordKind
from genlock.service.kinds.registry import KINDS
from tests.support.database import Connection
from tests.support.factories import new_id, put, refused_command, stack_command
from tests.support.harness import outcomes, until_waiting
from tests.support.provider_factories import create_provider, delete_provider, move_provider, rename_provider
from tests.support.races import check_no_deadlock

SHARE = "SELECT FROM providers WHERE id = $1 FOR SHARE"
CHANGE = "SELECT FROM providers WHERE id = $1 FOR NO KEY UPDATE"

DECIDERS = 6


@pytest.fixture
async def sharing(database_url: str, second: Connection) -> AsyncIterator[Decider]:
    """A decider for as many batches at once; in the end no deadlock may have happened."""
    async with await open_pool(database_url, size=DECIDERS, timeout_s=20, plans=DECIDING_PLANS) as pool:
        yield Decider(pool, KINDS, source="/tests", retention=timedelta(days=14), timeout_s=20)
    await check_no_deadlock(second)


@pytest.fixture
async def parent(decider: Decider) -> str:
    provider = new_id()
    await decider.decide([create_provider(provider)])
    return provider


async def test_batches_that_only_read_one_record_do_not_wait_for_one_another(
    decider: Decider, second: Connection, parent: str
) -> None:
    async with second.transaction():
        await second.execute(SHARE, parent)
        creations = [decider.decide([create_provider(new_id(), parent_id=parent)]) for _ in range(2)]
        async with asyncio.timeout(10):
            decided = await asyncio.gather(*creations)
    assert [type(outcomes(batch)[0]) for batch in decided] == [Succeeded, Succeeded]


async def test_records_that_are_read_beside_changed_ones_are_shared_in_the_same_batch(
    decider: Decider, second: Connection, parent: str
) -> None:
    changed = new_id()
    await decider.decide([create_provider(changed)])
    async with second.transaction():
        await second.execute(SHARE, parent)
        batch = [rename_provider(changed, 0, "new"), create_provider(new_id(), parent_id=parent)]
        async with asyncio.timeout(10):
            answers = await decider.decide(batch)
    assert [type(outcome) for outcome in outcomes(answers)] == [Succeeded, Succeeded]


@pytest.mark.parametrize("held", [SHARE, CHANGE])
async def test_changing_a_record_waits_for_those_that_read_it_and_reading_it_for_those_that_change_it(
    decider: Decider, second: Connection, parent: str, held: str
) -> None:
    command = rename_provider(parent, 0, "new") if held == SHARE else create_provider(new_id(), parent_id=parent)
    async with second.transaction():
        await second.execute(held, parent)
        deciding = asyncio.create_task(decider.decide([command]))
        await until_waiting(second, 1)
        assert not deciding.done()
    assert isinstance(outcomes(await deciding)[0], Succeeded)


async def test_record_that_is_read_and_changed_in_one_batch_is_locked_exclusively_at_once(
    decider: Decider, second: Connection, parent: str
) -> None:
    """A shared lock that had to become exclusive would meet another one that has to as well."""
    async with second.transaction():
        await second.execute(SHARE, parent)
        batch = [create_provider(new_id(), parent_id=parent), rename_provider(parent, 0, "new")]
        deciding = asyncio.create_task(decider.decide(batch))
        await until_waiting(second, 1)
        assert not deciding.done()
    assert [type(outcome) for outcome in outcomes(await deciding)] == [Succeeded, Succeeded]


async def test_every_kind_is_read_under_a_shared_lock_where_commands_are_refused(
    decider: Decider, second: Connection
) -> None:
    """A refusal shows the sequence of its record."""
    document, stack = new_id(), new_id()
    await decider.decide([put(document, None), stack_command("create", stack, name=stack)])
    refusals = [
        refused_command("document.put", document, {"unknown": 1}),
        refused_command("stack.update", stack, {"unknown": 1}),
        refused_command("consumer.set_allocations", new_id(), {"unknown": 1}),
        refused_command("provider.delete", new_id(), {"unknown": 1}),
    ]
    async with second.transaction():
        await second.execute("SELECT FROM documents FOR SHARE")
        await second.execute("SELECT FROM stacks FOR SHARE")
        async with asyncio.timeout(10):
            answers = await decider.decide([*refusals, put(new_id(), None)])
    assert [outcome.data.sequence for outcome in outcomes(answers)] == [1, 1, 0, 0, 1]


@pytest.mark.parametrize("kind", KINDS.all, ids=lambda kind: kind.kind)
def test_both_statements_that_lock_a_kind_read_the_same_columns(kind: RecordKind) -> None:
    name = kind.table.name

    def columns(text: str) -> str:
        return " ".join(text[text.index("SELECT") : text.index("FROM")].split())

    assert columns(statement(f"lock_{name}")) == columns(statement(f"share_{name}"))


async def test_shared_and_exclusive_locks_in_all_orders_make_no_deadlock(sharing: Decider) -> None:
    """Batches that change what others read, and read what others change: all lock in the order of the ids."""
    providers = [new_id() for _ in range(6)]
    await sharing.decide([create_provider(provider) for provider in providers])

    async def act(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(15):
            changed, *read = chance.sample(providers, 4)
            batch: list[Command] = [create_provider(new_id(), parent_id=provider) for provider in read]
            batch.append(rename_provider(changed, 0, new_id()))
            batch.append(move_provider(read[0], 0, chance.choice([None, changed])))
            batch.append(delete_provider(chance.choice(providers), 0))
            chance.shuffle(batch)
            await sharing.decide(batch)

    async with asyncio.timeout(90):
        await asyncio.gather(*(act(seed) for seed in range(DECIDERS)))


async def test_a_change_gets_its_turn_between_batches_that_never_stop_reading(sharing: Decider) -> None:
    parent = new_id()
    await sharing.decide([create_provider(parent)])
    changed = asyncio.Event()
    created = [0]

    async def read() -> None:
        while not changed.is_set():
            await sharing.decide([create_provider(new_id(), parent_id=parent) for _ in range(5)])
            created[0] += 1

    readers = [asyncio.create_task(read()) for _ in range(DECIDERS - 1)]
    async with asyncio.timeout(60):
        for generation in range(5):
            [outcome] = outcomes(await sharing.decide([rename_provider(parent, generation, new_id())]))
            assert isinstance(outcome, Succeeded)
    changed.set()
    await asyncio.gather(*readers)
    assert created[0] >= len(readers)
