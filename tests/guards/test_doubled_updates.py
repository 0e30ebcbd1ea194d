"""What keeps a command that comes twice from being applied twice, and what becomes of it without."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from genlock.schemas.outcomes import Conflict, Outcome, Succeeded
from genlock.service.deciding.batch_outcomes import BatchOutcomes
from genlock.service.deciding.decide import Decider
from tests.guards.oracle import TWICE, found, wrong
from tests.guards.removal import without
from tests.support.database import Connection
from tests.support.deciders import decider_on, deciding_pool
from tests.support.factories import merge, new_id, put
from tests.support.harness import outcomes, until_waiting
from tests.support.proxy import Cut, proxied

LOCK = "SELECT id FROM documents FOR UPDATE"


async def generation(second: Connection) -> int:
    generation: int = await second.fetchval("SELECT generation FROM documents")
    return generation


# The same command again, later.


async def test_copy_is_answered_with_the_same_bytes(decider: Decider, second: Connection) -> None:
    document = new_id()
    command = merge(document, {"x": 1})
    before = await decider.decide([put(document, None), command])
    again = await decider.decide([command])
    assert again.events == before.events[1:]
    assert await generation(second) == 1


@pytest.mark.parametrize("moved_on", [False, True])
async def test_without_known_ids_a_copy_is_never_answered(
    decider: Decider, second: Connection, *, moved_on: bool
) -> None:
    """The ledger's key still keeps it from being applied twice; but it is held, and its author waits for ever."""
    document = new_id()
    command = merge(document, {"x": 1})
    await decider.decide([put(document, None), command, *([merge(document, {"y": 1})] if moved_on else [])])
    before = await generation(second)
    with without("known ids are answered"):
        answers = await decider.decide([command])
    assert (answers.events, list(answers.held)) == ([], [command.id])
    assert await generation(second) == before


# The same command at two consumers at once.


async def at_two_consumers(decider: Decider, second: Connection) -> tuple[BatchOutcomes, BatchOutcomes]:
    """One has it with another command behind it, the other one alone; neither is known when they look."""
    document = new_id()
    await decider.decide([put(document, None)])
    command, after = merge(document, {"x": 1}), merge(document, {"y": 1})
    async with second.transaction():
        await second.execute(LOCK)
        one = asyncio.create_task(decider.decide([command, after]))
        await until_waiting(second, 1)
        other = asyncio.create_task(decider.decide([command]))
        await until_waiting(second, 2)
    return await one, await other


async def test_one_command_at_two_consumers_is_applied_once_and_answered_alike(
    decider: Decider, second: Connection, database_url: str
) -> None:
    one, other = await at_two_consumers(decider, second)
    assert one.events[0] == other.events[0]
    assert await generation(second) == 2
    assert await wrong(database_url) == []


async def test_without_missing_ledger_rows_it_is_applied_twice_and_told_two_stories_under_one_event_id(
    decider: Decider, second: Connection, database_url: str
) -> None:
    with without("missing ledger rows"):
        one, other = await at_two_consumers(decider, second)
    assert one.events[0].id == other.events[0].id
    assert one.events[0].body != other.events[0].body
    assert await generation(second) == 3
    assert found(await wrong(database_url), TWICE)


# A COMMIT whose answer was lost.


@pytest.fixture
async def remote(database_url: str) -> AsyncIterator[Decider]:
    """A decider whose first COMMIT of two merges is done and never answered."""
    async with proxied(database_url) as proxy:
        url = proxy.url if "sslmode" in proxy.url else f"{proxy.url}?sslmode=disable"
        async with deciding_pool(url, 1, 5) as pool:
            decider = decider_on(pool, timeout_s=5)
            document = new_id()
            await decider.decide([put(document, None)])
            proxy.next_cut = Cut(b"COMMIT\0", after=True)
            yield decider


async def after_a_commit_without_an_answer(remote: Decider, second: Connection) -> BatchOutcomes:
    """Have the decider repeat a batch of which it cannot know whether it was committed."""
    document = await second.fetchval("SELECT id FROM documents")
    commands = [merge(document, {"x": 1}), merge(document, {"y": 1})]
    return await remote.decide(commands)


async def test_commit_without_an_answer_is_asked_of_the_ledger(
    remote: Decider, second: Connection, database_url: str
) -> None:
    answers = await after_a_commit_without_an_answer(remote, second)
    assert answers.batch_ids == []
    assert await generation(second) == 2
    assert await wrong(database_url) == []


async def test_repeating_a_commit_without_an_answer_blindly_applies_it_twice(
    remote: Decider, second: Connection, database_url: str
) -> None:
    with without("known ids are answered", "missing ledger rows"):
        await after_a_commit_without_an_answer(remote, second)
    # The first one again: by then the second one has made the token. The second one again: the first one has.
    assert await generation(second) == 4
    assert found(await wrong(database_url), TWICE)


# A command that the ledger has forgotten.


async def winner_that_was_forgotten(decider: Decider, second: Connection) -> Outcome:
    command = put(new_id(), None)
    await decider.decide([command])
    await second.execute("DELETE FROM ledger")
    [outcome] = outcomes(await decider.decide([command]))
    return outcome


async def test_winner_that_the_ledger_forgot_is_told_that_it_won(decider: Decider, second: Connection) -> None:
    assert isinstance(await winner_that_was_forgotten(decider, second), Succeeded)


async def test_without_the_maker_of_the_token_a_winner_is_told_that_it_lost_to_itself(
    decider: Decider, second: Connection
) -> None:
    with without("the maker of a token"):
        outcome = await winner_that_was_forgotten(decider, second)
    assert isinstance(outcome, Conflict)
    assert outcome.winner is not None
    assert outcome.winner.command_id == outcome.command_id
