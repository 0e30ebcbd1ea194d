"""Deciders at once on providers, in an order that a lock held from a second connection fixes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, GenerationToken, Outcome, Rejected, Succeeded
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Step
from tests.support.database import Connection
from tests.support.deciders import decider_on
from tests.support.factories import Json, new_id
from tests.support.harness import outcomes, until, until_waiting
from tests.support.provider_factories import (
    create_provider,
    delete_provider,
    move_provider,
    provider_command,
    rename_provider,
)
from tests.support.races import LOCK_NAMES, in_turn

CONTENDERS = 16


def ids(count: int) -> list[str]:
    """New ids, sorted: the order in which rows are locked is known."""
    return sorted(new_id() for _ in range(count))


LOCK_ONE = "SELECT id FROM providers WHERE id = $1 FOR UPDATE"
LOCK_ALL = "SELECT id FROM providers ORDER BY id FOR UPDATE"
LOCK_CREATIONS = "LOCK TABLE providers IN SHARE MODE"


async def parents(connection: Connection) -> dict[str, str | None]:
    rows = await connection.fetch("SELECT id::text, parent_id::text FROM providers WHERE NOT deleted")
    return {row["id"]: row["parent_id"] for row in rows}


# Moves.


@pytest.mark.parametrize("first", [0, 1])
async def test_two_roots_moved_below_each_other_at_once_make_no_loop(
    decider: Decider, second: Connection, first: int
) -> None:
    pair = ids(2)
    await decider.decide([create_provider(provider) for provider in pair])
    moves = [[move_provider(pair[0], 0, pair[1])], [move_provider(pair[1], 0, pair[0])]]
    if first == 1:
        moves.reverse()
    [[moved], [refused]] = await in_turn(decider, moves, second, LOCK_ONE, pair[0])
    assert isinstance(moved, Succeeded)
    assert isinstance(refused, Rejected)
    assert refused.code is Code.PARENT_LOOP


@pytest.mark.parametrize("one_tree", [False, True])
@pytest.mark.parametrize("order", [[1, 2, 3, 4, 0], [4, 3, 2, 1, 0], [0, 2, 4, 1, 3], [3, 0, 1, 4, 2]])
async def test_two_moves_that_lock_different_rows_make_no_loop(
    decider: Decider, second: Connection, order: list[int], one_tree: bool
) -> None:
    """Each is legal alone, neither names a row of the other: together they would make the loop 1, 4, 2, 3, 1."""
    sorted_ids = ids(5)
    one, two, three, four, top = (sorted_ids[number] for number in order)
    root = top if one_tree else None
    await decider.decide(
        [
            create_provider(top),
            create_provider(one, parent_id=root),
            create_provider(two, parent_id=root),
            create_provider(four, parent_id=two),
            create_provider(three, parent_id=one),
        ]
    )
    moves = [[move_provider(one, 0, four)], [move_provider(two, 0, three)]]
    [[moved], [refused]] = await in_turn(decider, moves, second, LOCK_ALL)
    assert {type(moved), type(refused)} == {Succeeded, Rejected}
    rejected = moved if isinstance(moved, Rejected) else refused
    assert isinstance(rejected, Rejected)
    assert rejected.code is Code.PARENT_LOOP
    above = await parents(second)
    assert (above[one], above[two]) in {(four, root), (root, three)}


MOVE = """
WITH moved AS (
    UPDATE providers SET parent_id = $2, generation = generation + 1, sequence = sequence + 1 WHERE id = $1 RETURNING *
)
INSERT INTO changes
SELECT 'provider', id, sequence, generation, maker_id, maker_type, maker_source, maker_time FROM moved
"""


@dataclass
class Watched:
    """A decider, and the steps that it reached."""

    decider: Decider
    steps: list[Step] = field(default_factory=list)

    @property
    def tries(self) -> int:
        return self.steps.count(Step.BEGUN)


@pytest.fixture
def watched(pool: Pool) -> Watched:
    steps: list[Step] = []
    decider = decider_on(pool, failpoint=steps.append)
    return Watched(decider, steps)


@asynccontextmanager
async def while_the_root_moves(
    watched: Watched, second: Connection, command: Command, root: str, new_parent: str
) -> AsyncIterator[Outcome]:
    """Decide a command that has found the root and waits for it, while the root moves below another provider."""
    watched.steps.clear()
    async with second.transaction():
        await second.execute(LOCK_ONE, root)
        deciding = asyncio.create_task(watched.decider.decide([command]))
        await until_waiting(second, 1)
        await second.execute(MOVE, root, new_parent)
    [outcome] = outcomes(await deciding)
    yield outcome


async def test_tree_that_gets_another_root_meanwhile_is_decided_again(watched: Watched, second: Connection) -> None:
    root, middle, leaf, other, top = ids(5)
    await watched.decider.decide(
        [
            create_provider(root),
            create_provider(middle, parent_id=root),
            create_provider(leaf, parent_id=middle),
            create_provider(other),
            create_provider(top),
        ]
    )
    move = move_provider(leaf, 0, other)
    async with while_the_root_moves(watched, second, move, root, top) as outcome:
        assert isinstance(outcome, Succeeded)
        assert outcome.record is not None
        assert outcome.record["root_id"] == other
    assert watched.tries == 2


ADVISORY = "SELECT mode, granted FROM pg_locks WHERE locktype = 'advisory' ORDER BY mode"


async def test_batch_that_is_decided_again_for_its_trees_has_them_alone(
    watched: Watched, second: Connection, pool: Pool
) -> None:
    """Else moves that are faster could give its tree another root before each of its tries."""
    leaf, root, top, other, url_with = ids(5)
    await watched.decider.decide([create_provider(provider) for provider in (root, top, other, url_with)])
    await watched.decider.decide([create_provider(leaf, parent_id=root)])
    watched.steps.clear()

    async def has_them_alone() -> bool:
        return [tuple(row) for row in await second.fetch(ADVISORY)] == [("ExclusiveLock", True)]

    async with pool.acquire() as third, third.transaction():
        await third.execute(LOCK_ONE, top)
        async with second.transaction():
            await second.execute(LOCK_ONE, root)
            deciding = asyncio.create_task(watched.decider.decide([move_provider(leaf, 0, None)]))
            await until_waiting(second, 1)
            await second.execute(MOVE, root, top)
        # Its second try waits for the new root, and another move waits for it, though it is nowhere near.
        await until(has_them_alone)
        another = asyncio.create_task(watched.decider.decide([move_provider(other, 0, url_with)]))
        await until_waiting(second, 2)
        assert [tuple(row) for row in await second.fetch(ADVISORY)] == [("ExclusiveLock", True), ("ShareLock", False)]
    verdicts = [outcomes(answers) for answers in await asyncio.gather(deciding, another)]
    assert all(isinstance(outcome, Succeeded) for [outcome] in verdicts)
    assert watched.tries == 3


async def test_loop_that_the_other_tree_brings_meanwhile_is_seen(watched: Watched, second: Connection) -> None:
    """The move is legal when its roots are found, and would make a loop when it has got them."""
    mover, below_it, other, below_other = ids(4)
    await watched.decider.decide(
        [
            create_provider(mover),
            create_provider(below_it, parent_id=mover),
            create_provider(other),
            create_provider(below_other, parent_id=other),
        ]
    )
    move = move_provider(mover, 0, below_other)
    async with while_the_root_moves(watched, second, move, other, below_it) as outcome:
        assert isinstance(outcome, Rejected)
        assert outcome.code is Code.PARENT_LOOP
    # The root that both have now was locked already.
    assert watched.tries == 1


async def test_move_that_its_generation_forbids_meanwhile_is_told_the_new_root(
    watched: Watched, second: Connection
) -> None:
    root, other, top = ids(3)
    await watched.decider.decide([create_provider(provider) for provider in (root, other, top)])
    async with while_the_root_moves(watched, second, move_provider(root, 0, other), root, top) as outcome:
        assert isinstance(outcome, Conflict)
        assert (outcome.reason, outcome.actual) == (Reason.STALE, GenerationToken(generation=1))
        assert outcome.current is not None
        assert (outcome.current["parent_id"], outcome.current["root_id"]) == (top, top)


# A parent that goes away.


@pytest.mark.parametrize("way", ["move", "create"])
@pytest.mark.parametrize("first", ["delete", "join"])
async def test_parent_is_deleted_or_joined_but_not_both(
    decider: Decider, second: Connection, way: str, first: str
) -> None:
    parent, child = ids(2)
    await decider.decide([create_provider(parent), *([create_provider(child)] if way == "move" else [])])
    join = {"move": move_provider(child, 0, parent), "create": create_provider(child, parent_id=parent)}[way]
    batches = {"delete": [[delete_provider(parent, 0)], [join]], "join": [[join], [delete_provider(parent, 0)]]}[first]
    [[winner], [loser]] = await in_turn(decider, batches, second, LOCK_ONE, parent)
    assert isinstance(winner, Succeeded)
    assert isinstance(loser, Rejected)
    assert loser.code is (Code.PARENT_NOT_FOUND if first == "delete" else Code.PROVIDER_HAS_CHILDREN)
    above = await parents(second)
    assert above.get(child) in ({None} if first == "delete" else {parent})


async def test_parent_is_deleted_after_its_last_child_was_deleted_meanwhile(
    decider: Decider, second: Connection
) -> None:
    """The child's deletion is under way when the parent's begins, and known when it is decided."""
    child, parent = ids(2)
    await decider.decide([create_provider(parent), create_provider(child, parent_id=parent)])
    batches = [
        [delete_provider(child, 0), rename_provider(parent, 0, new_id())],
        [delete_provider(parent, 1)],
    ]
    verdicts = await in_turn(decider, batches, second, LOCK_ONE, parent)
    assert all(isinstance(outcome, Succeeded) for [*batch] in verdicts for outcome in batch)
    assert await parents(second) == {}


async def test_parent_that_is_created_again_meanwhile_is_found(decider: Decider, second: Connection) -> None:
    parent, child = ids(2)
    await decider.decide([create_provider(parent), delete_provider(parent, 0), create_provider(child)])
    batches = [[create_provider(parent)], [move_provider(child, 0, parent)]]
    [[created], [moved]] = await in_turn(decider, batches, second, LOCK_ONE, parent)
    assert isinstance(created, Succeeded)
    assert isinstance(moved, Succeeded)
    assert await parents(second) == {parent: None, child: parent}


# Names and creations.


async def test_one_new_provider_created_by_many_at_once_is_created_once(decider: Decider, second: Connection) -> None:
    provider = new_id()
    # Under different names, so that it is the id that they race for.
    batches = [[create_provider(provider, new_id())] for _ in range(CONTENDERS)]
    verdicts = [outcome for [outcome] in await in_turn(decider, batches, second, LOCK_CREATIONS)]
    [winner] = [verdict for verdict in verdicts if isinstance(verdict, Succeeded)]
    losers = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
    assert [(loser.reason, loser.actual, loser.current) for loser in losers] == [
        (Reason.EXISTS, winner.token, winner.record)
    ] * (CONTENDERS - 1)
    assert await second.fetchval("SELECT count(*) FROM names") == 1


@pytest.mark.parametrize("second_way", ["create", "rename"])
@pytest.mark.parametrize("first_way", ["create", "rename"])
async def test_one_new_name_taken_by_two_at_once_is_taken_once(
    decider: Decider, second: Connection, first_way: str, second_way: str
) -> None:
    one, other = ids(2)
    await decider.decide([create_provider(one), create_provider(other)])
    batches = [
        [create_provider(new_id(), "wanted") if way == "create" else rename_provider(provider, 0, "wanted")]
        for way, provider in ((first_way, one), (second_way, other))
    ]
    [[taken], [refused]] = await in_turn(decider, batches, second, LOCK_NAMES)
    assert isinstance(taken, Succeeded)
    assert isinstance(refused, Rejected)
    assert refused.code is Code.DUPLICATE_NAME
    assert await second.fetchval("SELECT record_id FROM names WHERE name = 'wanted'") == taken.data.id


async def test_two_that_want_each_others_names_at_once_keep_their_own(decider: Decider, second: Connection) -> None:
    one, other = ids(2)
    await decider.decide([create_provider(one, "red"), create_provider(other, "blue")])
    batches = [[rename_provider(one, 0, "blue")], [rename_provider(other, 0, "red")]]
    verdicts = [outcome for [outcome] in await in_turn(decider, batches, second, LOCK_ALL)]
    assert [verdict.code for verdict in verdicts if isinstance(verdict, Rejected)] == [Code.DUPLICATE_NAME] * 2


# What providers have.


@pytest.mark.parametrize("verb", ["set_inventories", "put_inventory", "set_traits", "set_aggregates", "update"])
async def test_of_many_changes_of_one_generation_exactly_one_wins(
    decider: Decider, second: Connection, verb: str
) -> None:
    provider = new_id()
    await decider.decide([create_provider(provider)])

    def change(number: int) -> Command:
        classes = ["VCPU", "DISK_GB", "CUSTOM_A"][: number % 3 + 1]
        data: dict[str, Json] = {
            "set_inventories": {"inventories": {name: {"total": number + 1} for name in classes}},
            "put_inventory": {"resource_class": classes[-1], "inventory": {"total": number + 1}},
            "set_traits": {"traits": [f"CUSTOM_{number}"]},
            "set_aggregates": {"aggregates": [new_id()]},
            "update": {"name": f"name {number}"},
        }
        return provider_command(verb, provider, expected_generation=0, **data[verb])

    batches = [[change(number)] for number in range(CONTENDERS)]
    verdicts = [outcome for [outcome] in await in_turn(decider, batches, second, LOCK_ALL)]
    [winner] = [verdict for verdict in verdicts if isinstance(verdict, Succeeded)]
    losers = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
    assert len(losers) == CONTENDERS - 1
    for loser in losers:
        assert loser.reason is Reason.STALE
        assert loser.actual == winner.token == GenerationToken(generation=1)
        assert loser.winner is not None
        assert loser.winner.command_id == winner.command_id
        # Under the lock of the provider its inventories are those of the winner, too.
        assert loser.current == winner.record
    assert winner.record is not None
    rows = await second.fetch("SELECT resource_class, total FROM inventories")
    assert {row["resource_class"]: row["total"] for row in rows} == {
        name: amounts["total"] for name, amounts in winner.record["inventories"].items()
    }


async def test_inventory_that_is_put_meanwhile_is_seen_and_kept(decider: Decider, second: Connection) -> None:
    """What a provider has is read after its lock: the second one expects what the first one makes, and builds on it."""
    provider = new_id()
    await decider.decide(
        [create_provider(provider), provider_command("put_inventory", provider, expected_generation=0)]
    )
    batches = [
        [provider_command("put_inventory", provider, expected_generation=1, resource_class="DISK_GB")],
        [provider_command("delete_inventory", provider, expected_generation=2)],
    ]
    [[put], [deleted]] = await in_turn(decider, batches, second, LOCK_ALL)
    assert isinstance(put, Succeeded)
    assert isinstance(deleted, Succeeded)
    assert deleted.record is not None
    assert list(deleted.record["inventories"]) == ["DISK_GB"]
    assert await second.fetchval("SELECT resource_class FROM inventories") == "DISK_GB"
