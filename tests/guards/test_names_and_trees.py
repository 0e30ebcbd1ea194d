"""What holds between records, where no row's own fence sees it: names, parents and trees. And what breaks without."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import asyncpg
import pytest

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Outcome, Rejected, Succeeded
from genlock.service.deciding.decide import Decider
from tests.guards.oracle import NAMES, TREES, found, wrong
from tests.guards.removal import without
from tests.support.database import Connection
from tests.support.factories import new_id, stack_command
from tests.support.harness import outcomes, until_waiting
from tests.support.provider_factories import create_provider, delete_provider, move_provider
from tests.support.races import at_once

LOCK_ONE = "SELECT id FROM providers WHERE id = $1 FOR UPDATE"
LOCK_CHANGES = "LOCK TABLE changes IN SHARE MODE"
"""A batch that waits for this has read and decided everything, and written all rows but those of history and ledger."""


def accepted(verdicts: Sequence[Outcome]) -> int:
    return sum(isinstance(verdict, Succeeded) for verdict in verdicts)


async def all_at_once(decider: Decider, commands: Sequence[Command], second: Connection, *locks: str) -> list[Outcome]:
    answers = await at_once(decider, [[command] for command in commands], second, *locks)
    return [outcomes(answer)[0] for answer in answers]


# Names.


async def two_that_want_one_name(decider: Decider, second: Connection) -> list[Outcome]:
    commands = [stack_command("create", new_id(), name="wanted") for _ in range(2)]
    return await all_at_once(decider, commands, second, "LOCK TABLE names IN SHARE MODE")


@pytest.mark.parametrize("removed", [(), ("locks of names",), ("the key of names",)])
async def test_any_one_of_lock_and_key_gives_a_name_to_one_of_two(
    decider: Decider, second: Connection, database_url: str, removed: tuple[str, ...]
) -> None:
    with without(*removed):
        verdicts = await two_that_want_one_name(decider, second)
    assert accepted(verdicts) == 1
    assert {verdict.code for verdict in verdicts if isinstance(verdict, Rejected)} == {Code.DUPLICATE_NAME}
    assert await wrong(database_url) == []


async def test_without_lock_and_key_two_live_stacks_have_one_name(
    decider: Decider, second: Connection, database_url: str
) -> None:
    with without("locks of names", "the key of names"):
        assert accepted(await two_that_want_one_name(decider, second)) == 2
    assert await second.fetchval("SELECT count(*) FROM stacks WHERE name = 'wanted'") == 2
    assert found(await wrong(database_url), NAMES)


# A parent that goes away. A child that is created below it does not change its row, so no fence sees it.


async def parent_deleted_and_joined(decider: Decider, second: Connection) -> list[Outcome]:
    """A provider is deleted while another one is created below it."""
    parent, child = sorted(new_id() for _ in range(2))
    await decider.decide([create_provider(parent)])
    commands = [delete_provider(parent, 0), create_provider(child, parent_id=parent)]
    return await all_at_once(decider, commands, second, LOCK_CHANGES)


async def test_parent_is_deleted_or_joined_but_not_both(
    decider: Decider, second: Connection, database_url: str
) -> None:
    assert accepted(await parent_deleted_and_joined(decider, second)) == 1
    assert await wrong(database_url) == []


async def test_without_row_locks_a_provider_hangs_below_a_deleted_one(
    decider: Decider, second: Connection, database_url: str
) -> None:
    with without("row locks"):
        assert accepted(await parent_deleted_and_joined(decider, second)) == 2
    assert found(await wrong(database_url), TREES)


# Moves, each legal alone, that share no row.


async def moves_that_share_no_row(decider: Decider, second: Connection) -> list[Outcome]:
    """Together they would make the loop 1, 4, 2, 3, 1."""
    one, two, three, four = sorted(new_id() for _ in range(4))
    await decider.decide(
        [
            create_provider(one),
            create_provider(two),
            create_provider(three, parent_id=one),
            create_provider(four, parent_id=two),
        ]
    )
    moves = [move_provider(one, 0, four), move_provider(two, 0, three)]
    return await all_at_once(decider, moves, second, LOCK_CHANGES)


async def test_moves_that_share_no_row_make_no_loop(decider: Decider, second: Connection, database_url: str) -> None:
    verdicts = await moves_that_share_no_row(decider, second)
    assert accepted(verdicts) == 1
    assert {verdict.code for verdict in verdicts if isinstance(verdict, Rejected)} == {Code.PARENT_LOOP}
    assert await wrong(database_url) == []


async def test_without_locks_of_roots_two_moves_make_a_loop(
    decider: Decider, second: Connection, database_url: str
) -> None:
    with without("locks of roots"):
        assert accepted(await moves_that_share_no_row(decider, second)) == 2
    assert found(await wrong(database_url), TREES)


# Trees that get another root while a move waits for the one that it has found.

MOVE = "UPDATE providers SET parent_id = $2 WHERE id = $1"


@pytest.fixture
async def third(owner_url: str) -> AsyncIterator[Connection]:
    """One more connection of the owner's, to hold another lock with."""
    connection = await asyncpg.connect(owner_url)
    yield connection
    await connection.close()


async def moves_while_trees_get_other_roots(decider: Decider, second: Connection, third: Connection) -> list[Outcome]:
    """A move has found its two roots and waits for one, while both go below others; then those others move too.

    The trees are top over root over mover over leaf, and far over near over target: the one move puts mover below
    target, the other one far below leaf.
    """
    top, root, mover, leaf, far, near, target = sorted(new_id() for _ in range(7))
    await decider.decide(
        [
            *(create_provider(provider) for provider in (top, root, far, near)),
            create_provider(mover, parent_id=root),
            create_provider(leaf, parent_id=mover),
            create_provider(target, parent_id=near),
        ]
    )
    held = third.transaction()
    await held.start()
    async with second.transaction():
        await second.execute(LOCK_ONE, root)
        one = asyncio.create_task(decider.decide([move_provider(mover, 0, target)]))
        await until_waiting(second, 1)
        await second.execute(MOVE, root, top)
        await second.execute(MOVE, near, far)
        await third.execute(LOCK_CHANGES)
    await until_waiting(second, 1)
    other = asyncio.create_task(decider.decide([move_provider(far, 0, leaf)]))
    await until_waiting(second, 2)
    await held.rollback()
    return [outcomes(answers)[0] for answers in await asyncio.gather(one, other)]


async def test_roots_that_are_found_again_under_the_lock_keep_trees_without_loops(
    decider: Decider, second: Connection, third: Connection, database_url: str
) -> None:
    assert accepted(await moves_while_trees_get_other_roots(decider, second, third)) == 1
    assert not found(await wrong(database_url), TREES)


async def test_without_roots_found_again_two_moves_make_a_loop(
    decider: Decider, second: Connection, third: Connection, database_url: str
) -> None:
    with without("roots are found again"):
        assert accepted(await moves_while_trees_get_other_roots(decider, second, third)) == 2
    assert found(await wrong(database_url), TREES)
