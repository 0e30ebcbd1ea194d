"""What keeps an update from being overwritten unseen, and what becomes of it without."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, Outcome, Rejected, Succeeded
from genlock.service.deciding.decide import Decider
from tests.guards.oracle import UNCHANGED, found, wrong
from tests.guards.removal import without
from tests.support.consumer_factories import set_allocations
from tests.support.database import Connection
from tests.support.factories import delete_document, new_id, put, stack_command
from tests.support.harness import outcomes
from tests.support.provider_factories import create_provider, provider_command
from tests.support.races import at_once

LAYERS = ("row locks", "the fence", "the history's key")
NOT_ALL = [some for count in range(len(LAYERS)) for some in combinations(LAYERS, count)]

Race = tuple[Command, Callable[[], Command]]


def race_for_a_document() -> Race:
    document = new_id()
    return put(document, None), lambda: put(document, 0, {"author": new_id()})


def race_for_a_provider() -> Race:
    provider = new_id()
    traits = ["CUSTOM_A"]
    return create_provider(provider), lambda: provider_command(
        "set_traits", provider, expected_generation=0, traits=traits
    )


def race_for_a_stack() -> Race:
    """Reports leave the traversal as it is, so that it is not what tells them apart."""
    create = stack_command("create", new_id())
    return create, lambda: stack_command("set_state", create.subject, expected_traversal=create.id)


RACES = {"documents": race_for_a_document, "providers": race_for_a_provider, "stacks": race_for_a_stack}


async def two_for_the_last_unit(decider: Decider, second: Connection) -> list[Outcome]:
    """Two consumers want capacity that is enough for one; both have been read before either of them is written."""
    provider = new_id()
    inventory = {"resource_class": "VCPU", "inventory": {"total": 1}}
    await decider.decide(
        [create_provider(provider), provider_command("put_inventory", provider, expected_generation=0, **inventory)]
    )
    batches = [[set_allocations(new_id(), None, {provider: {"VCPU": 1}})] for _ in range(2)]
    answers = await at_once(decider, batches, second, "SELECT id FROM providers FOR UPDATE")
    return [outcomes(answer)[0] for answer in answers]


async def two_with_one_token(decider: Decider, second: Connection, table: str) -> list[Outcome]:
    """Two authors have seen the same; both have been read before either of them is written."""
    create, change = RACES[table]()
    await decider.decide([create])
    lock = f"SELECT id FROM {table} FOR UPDATE"  # noqa: S608 - no input
    answers = await at_once(decider, [[change()], [change()]], second, lock)
    return [outcomes(answer)[0] for answer in answers]


def accepted(verdicts: Sequence[Outcome]) -> int:
    return sum(isinstance(verdict, Succeeded) for verdict in verdicts)


@pytest.mark.parametrize("table", RACES)
async def test_any_one_of_row_lock_fence_and_history_lets_one_of_two_authors_pass(
    decider: Decider, second: Connection, database_url: str, table: str
) -> None:
    for removed in NOT_ALL:
        with without(*removed):
            assert accepted(await two_with_one_token(decider, second, table)) == 1, removed
    assert await wrong(database_url) == []


@pytest.mark.parametrize("table", RACES)
async def test_without_row_lock_fence_and_history_an_accepted_update_is_lost(
    decider: Decider, second: Connection, database_url: str, table: str
) -> None:
    with without(*LAYERS):
        assert accepted(await two_with_one_token(decider, second, table)) == 2
    # Both were told that theirs is stored; the row has room for one, and so has history.
    assert await second.fetchval("SELECT count(*) FROM changes") == 2
    assert found(await wrong(database_url), UNCHANGED)


CAPACITY = (*LAYERS, "the fence of capacity")


@pytest.mark.parametrize("kept", CAPACITY)
async def test_any_one_of_row_lock_fences_and_history_grants_the_last_unit_once(
    decider: Decider, second: Connection, kept: str
) -> None:
    with without(*(guard for guard in CAPACITY if guard != kept)):
        verdicts = await two_for_the_last_unit(decider, second)
    assert [verdict.code for verdict in verdicts if isinstance(verdict, Rejected)] == [Code.CAPACITY_EXCEEDED]
    assert await second.fetchval("SELECT sum(amount) FROM allocations") == 1


async def test_without_row_lock_fences_and_history_the_last_unit_is_granted_twice(
    decider: Decider, second: Connection
) -> None:
    with without(*CAPACITY):
        assert accepted(await two_for_the_last_unit(decider, second)) == 2
    assert await second.fetchval("SELECT sum(amount) FROM allocations") == 2


async def author_of_the_past(decider: Decider) -> Outcome:
    """A publisher writes its change of generation 0 when it is 1 already."""
    document = new_id()
    await decider.decide([put(document, None), put(document, 0, {"owner": "team-a"})])
    return outcomes(await decider.decide([put(document, 0, {"owner": "team-b"})]))[0]


async def test_stale_author_is_told_so(decider: Decider) -> None:
    assert isinstance(await author_of_the_past(decider), Conflict)


async def test_without_the_expected_token_a_stale_author_overwrites_what_they_never_saw(decider: Decider) -> None:
    with without("the expected token"):
        assert isinstance(await author_of_the_past(decider), Succeeded)


async def author_of_a_former_life(decider: Decider) -> Outcome:
    """A publisher writes its change of a document that was deleted and created again meanwhile."""
    document = new_id()
    await decider.decide([put(document, None), delete_document(document, 0)])
    await decider.decide([put(document, None, {"owner": "team-a"})])
    return outcomes(await decider.decide([put(document, 0, {"owner": "team-b"})]))[0]


async def test_generation_of_a_former_life_is_stale(decider: Decider) -> None:
    assert isinstance(await author_of_a_former_life(decider), Conflict)


async def test_without_tombstones_that_count_on_a_new_life_is_overwritten_unseen(decider: Decider) -> None:
    with without("tokens never go back"):
        assert isinstance(await author_of_a_former_life(decider), Succeeded)


async def other_content_under_a_used_id(decider: Decider, second: Connection) -> tuple[Outcome, bool]:
    """The verdict that its author is told, and whether the update is stored."""
    one, other = new_id(), new_id()
    first = put(one, None)
    await decider.decide([first])
    [told] = outcomes(await decider.decide([replace(put(other, None), id=first.id)]))
    return told, await second.fetchval("SELECT count(*) = 1 FROM documents WHERE id = $1", other)


async def test_other_content_under_a_used_id_is_turned_down(decider: Decider, second: Connection) -> None:
    told, stored = await other_content_under_a_used_id(decider, second)
    assert isinstance(told, Rejected)
    assert told.code is Code.ID_REUSED
    assert not stored


async def test_without_the_contents_hash_an_update_that_was_never_made_is_reported_as_made(
    decider: Decider, second: Connection
) -> None:
    with without("the content's hash"):
        told, stored = await other_content_under_a_used_id(decider, second)
    assert isinstance(told, Succeeded)
    assert not stored
