"""Deciders at once, in an order that a lock held from a second connection fixes: one winner, no deadlock."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, GenerationToken, Rejected, Succeeded, TraversalToken
from genlock.service.deciding.batch_outcomes import BatchOutcomes
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Step
from genlock.service.deciding.store import name_lock
from tests.support.database import Connection
from tests.support.deciders import Race, racing
from tests.support.factories import delete_document, merge, new_id, put, stack_command
from tests.support.harness import outcomes, until_waiting
from tests.support.races import LOCK_NAMES, NEW_VERDICT, at_once

CONTENDERS = 32
ROUNDS = 12

LOCK_DOCUMENTS = "SELECT id FROM documents ORDER BY id FOR UPDATE"
LOCK_STACKS = "SELECT id FROM stacks ORDER BY id FOR UPDATE"
LOCK_CREATIONS = "LOCK TABLE documents, stacks IN SHARE MODE"


async def test_of_many_puts_with_one_token_exactly_one_wins(decider: Decider, second: Connection) -> None:
    document = new_id()
    await decider.decide([put(document, None)])
    commands = [put(document, 0, {"author": number}) for number in range(CONTENDERS)]
    answers = await at_once(decider, [[command] for command in commands], second, LOCK_DOCUMENTS)
    verdicts = [outcomes(answer)[0] for answer in answers]
    [winner] = [verdict for verdict in verdicts if isinstance(verdict, Succeeded)]
    losers = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
    assert len(losers) == CONTENDERS - 1
    for loser in losers:
        assert loser.reason is Reason.STALE
        assert loser.expected == GenerationToken(generation=0)
        assert loser.actual == winner.token == GenerationToken(generation=1)
        assert loser.winner is not None
        assert loser.winner.command_id == winner.command_id
        assert loser.current == winner.record
    assert await second.fetchval("SELECT generation FROM documents WHERE id = $1", document) == 1


async def test_of_many_updates_of_one_traversal_exactly_one_wins(decider: Decider, second: Connection) -> None:
    stack = new_id()
    create = stack_command("create", stack)
    await decider.decide([create])
    commands = [stack_command("update", stack, expected_traversal=create.id) for _ in range(CONTENDERS)]
    answers = await at_once(decider, [[command] for command in commands], second, LOCK_STACKS)
    verdicts = [outcomes(answer)[0] for answer in answers]
    [winner] = [verdict for verdict in verdicts if isinstance(verdict, Succeeded)]
    losers = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
    assert len(losers) == CONTENDERS - 1
    for loser in losers:
        assert loser.reason is Reason.SUPERSEDED
        assert loser.actual == winner.token
        assert loser.actual == TraversalToken(traversal=winner.command_id, previous_traversal=create.id)
        assert loser.winner is not None
        assert loser.winner.command_id == winner.command_id


async def test_of_many_reports_with_one_traversal_exactly_one_is_taken(decider: Decider, second: Connection) -> None:
    """A report leaves the traversal as it is, so it is the state that lets only one of them pass."""
    stack = new_id()
    create = stack_command("create", stack)
    await decider.decide([create])
    commands = [stack_command("set_state", stack, expected_traversal=create.id) for _ in range(8)]
    answers = await at_once(decider, [[command] for command in commands], second, LOCK_STACKS)
    verdicts = [outcomes(answer)[0] for answer in answers]
    assert sorted(type(verdict).__name__ for verdict in verdicts) == ["Rejected"] * 7 + ["Succeeded"]
    assert {verdict.code for verdict in verdicts if isinstance(verdict, Rejected)} == {Code.WRONG_STATUS}


async def test_merges_without_a_token_are_all_applied(decider: Decider, second: Connection) -> None:
    document = new_id()
    await decider.decide([put(document, None)])
    batches = [[merge(document, {f"author {number}": number})] for number in range(CONTENDERS)]
    await at_once(decider, batches, second, LOCK_DOCUMENTS)
    row = await second.fetchrow("SELECT generation, sequence, body FROM documents")
    assert row is not None
    assert (row["generation"], row["sequence"], len(json.loads(row["body"]))) == (
        CONTENDERS,
        CONTENDERS + 1,
        CONTENDERS,
    )


MOVE_ON = """
WITH moved AS (
    UPDATE documents SET generation = 6, sequence = 7, maker_id = $2 WHERE id = $1 RETURNING *
)
INSERT INTO changes SELECT 'document', id, 7, '6', maker_id, maker_type, maker_source, maker_time FROM moved
"""


@asynccontextmanager
async def moving_on(
    decider: Decider, second: Connection, command: Callable[[str], Command]
) -> AsyncIterator[BatchOutcomes]:
    """Decide a command that waits while its document goes from generation 5 to 6."""
    document, mover = new_id(), new_id()
    await decider.decide([put(document, None), *(put(document, expected) for expected in range(5))])
    async with second.transaction():
        await second.execute(MOVE_ON, document, mover)
        deciding = asyncio.create_task(decider.decide([command(document)]))
        await until_waiting(second, 1)
    yield await deciding


async def test_an_expectation_that_comes_true_while_waiting_is_applied(decider: Decider, second: Connection) -> None:
    async with moving_on(decider, second, lambda document: put(document, 6)) as answers:
        [verdict] = outcomes(answers)
    assert isinstance(verdict, Succeeded)
    assert verdict.token == GenerationToken(generation=7)


async def test_an_expectation_that_stops_being_true_while_waiting_is_told_the_true_token(
    decider: Decider, second: Connection
) -> None:
    async with moving_on(decider, second, lambda document: put(document, 5)) as answers:
        [verdict] = outcomes(answers)
    assert isinstance(verdict, Conflict)
    assert verdict.reason is Reason.STALE
    assert (verdict.expected, verdict.actual) == (GenerationToken(generation=5), GenerationToken(generation=6))
    assert verdict.winner is not None
    assert verdict.winner.command_id == str(await second.fetchval("SELECT maker_id FROM documents"))


@pytest.mark.parametrize("kind", ["put", "merge"])
async def test_one_id_in_two_deciders_at_once_is_applied_once(decider: Decider, second: Connection, kind: str) -> None:
    document = new_id()
    await decider.decide([put(document, None)])
    command = put(document, 0, {"x": 1}) if kind == "put" else merge(document, {"x": 1})
    one, other = await at_once(decider, [[command], [command]], second, LOCK_DOCUMENTS)
    assert one.events == other.events
    assert isinstance(outcomes(one)[0], Succeeded)
    # Exactly one of the two decided it, and that one batch is to be confirmed.
    assert len(one.batch_ids) + len(other.batch_ids) == 1
    assert await second.fetchval("SELECT generation FROM documents WHERE id = $1", document) == 1
    assert await second.fetchval("SELECT count(*) FROM changes WHERE command_id = $1", command.id) == 1


async def test_one_id_with_different_contents_in_two_deciders_at_once_is_decided_once(
    decider: Decider, second: Connection
) -> None:
    one_document, other_document = new_id(), new_id()
    await decider.decide([put(one_document, None), put(other_document, None)])
    command = merge(one_document, {"x": 1})
    namesake = replace(merge(other_document, {"x": 1}), id=command.id)
    answers = await at_once(decider, [[command], [namesake]], second, LOCK_DOCUMENTS)
    verdicts = [outcomes(answer)[0] for answer in answers]
    assert sorted(type(verdict).__name__ for verdict in verdicts) == ["Rejected", "Succeeded"]
    assert {verdict.code for verdict in verdicts if isinstance(verdict, Rejected)} == {Code.ID_REUSED}
    assert await second.fetchval("SELECT sum(generation) FROM documents") == 1


async def test_one_new_document_created_by_many_at_once_is_created_once(decider: Decider, second: Connection) -> None:
    document = new_id()
    commands = [put(document, None, {"author": number}) for number in range(8)]
    answers = await at_once(decider, [[command] for command in commands], second, LOCK_CREATIONS)
    verdicts = [outcomes(answer)[0] for answer in answers]
    [winner] = [verdict for verdict in verdicts if isinstance(verdict, Succeeded)]
    losers = [verdict for verdict in verdicts if isinstance(verdict, Conflict)]
    assert [(loser.reason, loser.actual, loser.current) for loser in losers] == [
        (Reason.EXISTS, winner.token, winner.record)
    ] * 7


async def test_one_new_stack_created_by_two_at_once_is_created_once(decider: Decider, second: Connection) -> None:
    stack = new_id()
    # Under different names, so that it is the id that they race for.
    batches = [[stack_command("create", stack, name=new_id())] for _ in range(2)]
    answers = await at_once(decider, batches, second, LOCK_CREATIONS)
    verdicts = [outcomes(answer)[0] for answer in answers]
    assert sorted(type(verdict).__name__ for verdict in verdicts) == ["Conflict", "Succeeded"]
    assert {verdict.reason for verdict in verdicts if isinstance(verdict, Conflict)} == {Reason.EXISTS}
    assert await second.fetchval("SELECT count(*) FROM names") == 1


async def test_one_new_name_taken_by_two_at_once_is_taken_once(decider: Decider, second: Connection) -> None:
    name = new_id()
    batches = [[stack_command("create", new_id(), name=name)] for _ in range(2)]
    answers = await at_once(decider, batches, second, LOCK_NAMES)
    verdicts = [outcomes(answer)[0] for answer in answers]
    assert sorted(type(verdict).__name__ for verdict in verdicts) == ["Rejected", "Succeeded"]
    assert {verdict.code for verdict in verdicts if isinstance(verdict, Rejected)} == {Code.DUPLICATE_NAME}
    assert await second.fetchval("SELECT count(*) FROM stacks") == 1


async def test_a_delete_and_an_update_at_once_leave_one_winner(decider: Decider, second: Connection) -> None:
    document = new_id()
    await decider.decide([put(document, None)])
    answers = await at_once(
        decider, [[delete_document(document, 0)], [put(document, 0, {"x": 1})]], second, LOCK_DOCUMENTS
    )
    verdicts = [outcomes(answer)[0] for answer in answers]
    assert sorted(type(verdict).__name__ for verdict in verdicts) == ["Conflict", "Succeeded"]


@pytest.fixture
async def race(database_url: str, second: Connection) -> AsyncIterator[Race]:
    async with racing(database_url, second, batches=2) as race:
        yield race


async def test_batches_with_opposite_orders_of_ids_never_deadlock(race: Race, second: Connection) -> None:
    decider, steps = race.decider, race.steps
    documents, stacks = [new_id() for _ in range(3)], [new_id() for _ in range(3)]
    creates = {stack: stack_command("create", stack) for stack in stacks}
    await decider.decide([*(put(document, None) for document in documents), *creates.values()])
    steps.clear()

    def touching_all() -> list[Command]:
        return [
            *(merge(document, {"x": 1}) for document in documents),
            *(stack_command("update", stack, expected_traversal=create.id) for stack, create in creates.items()),
        ]

    for _ in range(ROUNDS):
        await at_once(decider, [touching_all(), touching_all()[::-1]], second, LOCK_DOCUMENTS, LOCK_STACKS)
    # Nor was anything tried twice: all that a batch waits for, it waits for before it reads.
    assert steps.count(Step.BEGUN) == 2 * ROUNDS
    assert await second.fetchval("SELECT sum(generation) FROM documents") == 3 * 2 * ROUNDS


async def test_names_taken_in_opposite_orders_never_deadlock(race: Race, second: Connection) -> None:
    decider = race.decider
    for _ in range(ROUNDS):
        names, others = [new_id() for _ in range(4)], [new_id() for _ in range(60)]
        # The others see to it that the two batches have no order in common by chance.
        orders = (names, [*others, *reversed(names)])
        batches = [[stack_command("create", new_id(), name=name) for name in order] for order in orders]
        locks = [f"SELECT pg_advisory_xact_lock({name_lock(('stack', name))})" for name in [*names, *others]]
        answers = await at_once(decider, batches, second, *locks)
        taken = [outcome for answer in answers for outcome in outcomes(answer) if isinstance(outcome, Succeeded)]
        assert len(taken) == len(names) + len(others)


NEW_DOCUMENT = "INSERT INTO documents VALUES ('{}', 0, 1, '{{}}', gen_random_uuid(), 'x', '/x', 'now')"


async def test_new_ids_created_in_opposite_orders_never_deadlock(race: Race, second: Connection) -> None:
    """The second connection has the one in the middle, so that each batch would come to it with one of the others."""
    decider = race.decider
    for _ in range(ROUNDS):
        ids = sorted(new_id() for _ in range(3))
        batches = [[put(document, None) for document in order] for order in (ids, ids[::-1])]
        answers = await at_once(decider, batches, second, NEW_DOCUMENT.format(ids[1]))
        created = [outcome for answer in answers for outcome in outcomes(answer) if isinstance(outcome, Succeeded)]
        assert len(created) == 3


async def test_copies_of_commands_in_opposite_orders_never_deadlock(race: Race, second: Connection) -> None:
    """Refused commands change no record, so that it is the ledger alone where the two batches meet."""
    decider = race.decider
    for _ in range(ROUNDS):
        commands = sorted((merge(new_id(), {}) for _ in range(3)), key=lambda command: command.id)
        one, other = await at_once(decider, [commands, commands[::-1]], second, NEW_VERDICT.format(commands[1].id))
        assert one.events == other.events[::-1]
