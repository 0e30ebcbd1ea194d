"""One decider and PostgreSQL: what a batch leaves behind, repeated ids, names, and the ledger's memory."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, GenerationToken, Rejected, Succeeded, outcome_id
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.footprint import Footprint
from tests.support.database import Connection
from tests.support.deciders import decider_on
from tests.support.factories import Json, delete_document, merge, new_id, put, received, refused_command, stack_command
from tests.support.factories import envelope as envelope_of
from tests.support.harness import outcomes
from tests.support.provider_factories import create_provider, move_provider

RETENTION = timedelta(days=14)


async def words(decider: Decider, commands: Sequence[Command]) -> list[str]:
    """Decide a batch, and say for each command its verdict's reason, code or word."""
    said = []
    for outcome in outcomes(await decider.decide(commands)):
        match outcome:
            case Conflict():
                said.append(outcome.reason)
            case Rejected():
                said.append(outcome.code)
            case Succeeded():
                said.append("succeeded")
    return said


async def test_one_record_many_times_in_a_batch_is_decided_one_after_the_other(
    decider: Decider, second: Connection
) -> None:
    document = new_id()
    commands = [put(document, None, {"n": 0})]
    for generation in range(60):
        commands += [put(document, generation, {"n": generation + 1}), put(document, generation, {"n": -1})]
    assert await words(decider, commands) == ["succeeded"] + ["succeeded", "stale"] * 60
    row = await second.fetchrow("SELECT * FROM documents")
    assert row is not None
    assert (row["generation"], row["sequence"], json.loads(row["body"])) == (60, 61, {"n": 60})
    assert str(row["maker_id"]) == commands[-2].id
    history = await second.fetch("SELECT sequence, token, command_id FROM changes ORDER BY sequence")
    assert [(line["sequence"], line["token"]) for line in history] == [(n + 1, str(n)) for n in range(61)]
    assert [str(line["command_id"]) for line in history] == [commands[0].id] + [c.id for c in commands[1::2]]


async def test_every_command_of_a_batch_has_one_ledger_row_in_one_batch(decider: Decider, second: Connection) -> None:
    document = new_id()
    commands = [
        put(document, None),
        put(document, 7),
        refused_command("document.put", document, {"body": 1}),
        stack_command("create", new_id()),
    ]
    answers = await decider.decide(commands)
    rows = {str(row["id"]): row for row in await second.fetch("SELECT * FROM ledger")}
    assert [rows[command.id]["verdict"] for command in commands] == ["succeeded", "conflict", "rejected", "succeeded"]
    assert [rows[command.id]["event"] for command in commands] == [event.body for event in answers.events]
    assert [rows[command.id]["content_hash"] for command in commands] == [c.content_hash for c in commands]
    assert {row["batch_id"] for row in rows.values()} == set(answers.batch_ids)
    assert len(answers.batch_ids) == 1


async def test_copies_within_a_batch_get_the_same_event_and_are_applied_once(
    decider: Decider, second: Connection
) -> None:
    document = new_id()
    command = merge(document, {"x": 1})
    first, *others = (await decider.decide([put(document, None), command, command, command])).events[1:]
    assert others == [first, first]
    assert await second.fetchval("SELECT generation FROM documents") == 1
    assert await second.fetchval("SELECT count(*) FROM ledger") == 2


async def test_a_footprint_that_is_known_is_gathered_again_only_without_copies(
    decider: Decider, monkeypatch: pytest.MonkeyPatch
) -> None:
    gathered: list[list[str]] = []
    gather = decider.kinds.footprint_of

    def noting(commands: Sequence[Command]) -> Footprint:
        gathered.append([command.id for command in commands])
        return gather(commands)

    monkeypatch.setattr(decider.kinds, "footprint_of", noting)
    first, second, third = (put(new_id(), None) for _ in range(3))
    batches = [[first, second], [first, third], [replace(first, content_hash=b"other"), third]]
    for commands in batches:
        assert len((await decider.decide(commands, (), gather(commands))).events) == 2
    assert gathered == [[third.id], [first.id]]


async def test_a_footprint_that_is_known_is_left_as_it_is(decider: Decider) -> None:
    """The batch finds the root of the tree in the database, and locks it too."""
    root, leaf, moved = (new_id() for _ in range(3))
    created = [create_provider(root), create_provider(leaf, parent_id=root), create_provider(moved)]
    assert await words(decider, created) == ["succeeded"] * 3
    move = move_provider(moved, 0, leaf)
    footprint = decider.kinds.footprint_of([move])
    (event,) = (await decider.decide([move], (), footprint)).events
    assert event.type == "provider.update.succeeded"
    assert not footprint.has(("provider", root))


async def test_a_copy_later_gets_the_same_bytes_though_the_record_has_moved_on(
    decider: Decider, second: Connection
) -> None:
    document = new_id()
    commands = [put(document, None, {"é": 1.10}), put(document, 7), refused_command("document.put", document, {})]
    before = await decider.decide(commands)
    await decider.decide([merge(document, {"x": n}) for n in range(3)])
    again = await decider.decide(commands)
    assert [event.body.encode() for event in again.events] == [event.body.encode() for event in before.events]
    assert again.events == before.events
    assert again.batch_ids == []
    assert await second.fetchval("SELECT generation FROM documents") == 3


async def test_an_id_with_other_content_in_one_batch_is_turned_down_and_not_applied(
    decider: Decider, second: Connection
) -> None:
    document = new_id()
    command = put(document, None, {"x": 1})
    other = replace(put(document, None, {"x": 2}), id=command.id)
    first, reused, copy = outcomes(await decider.decide([command, other, command]))
    assert isinstance(first, Succeeded)
    assert copy == first
    assert isinstance(reused, Rejected)
    assert reused.code is Code.ID_REUSED
    assert [(error.code, error.pointer, error.value) for error in reused.errors] == [
        (Code.ID_REUSED, "/id", command.id)
    ]
    assert reused.id != first.id
    assert reused.causationid == command.id
    assert await second.fetchval("SELECT count(*) FROM ledger") == 1
    assert json.loads(await second.fetchval("SELECT body FROM documents")) == {"x": 1}


async def test_an_id_with_other_content_later_leaves_the_first_outcome_untouched(
    decider: Decider, second: Connection
) -> None:
    document = new_id()
    command = put(document, None, {"x": 1})
    before = await decider.decide([command])
    other = replace(put(document, 0, {"x": 2}), id=command.id)
    assert await words(decider, [other]) == ["id_reused"]
    reused, again = (await decider.decide([other, command])).events
    assert again == before.events[0]
    # The same other content has the same answer's id; a third content has another one.
    third = replace(put(document, 0, {"x": 3}), id=command.id)
    [once_more] = (await decider.decide([other])).events
    [for_third] = (await decider.decide([third])).events
    assert once_more.id == reused.id != for_third.id
    assert await second.fetchval("SELECT generation FROM documents") == 0


async def test_an_id_in_other_case_is_the_same_id(decider: Decider) -> None:
    members = envelope_of("document.put", new_id(), {"expected_generation": None, "body": {}})
    first = await decider.decide([received(members)])
    again = await decider.decide([received(members | {"id": members["id"].upper()})])
    assert again.events == first.events


async def test_a_document_created_again_goes_on_from_its_tombstone(decider: Decider, second: Connection) -> None:
    document = new_id()
    commands = [
        put(document, None),
        delete_document(document, 0),
        delete_document(document, 1),
        put(document, 1),
        merge(document, {}),
        put(document, None, {"x": 1}),
        put(document, 2),
    ]
    said = ["succeeded", "succeeded", "missing", "missing", "not_found", "succeeded", "succeeded"]
    assert await words(decider, commands) == said
    assert await second.fetchval("SELECT generation FROM documents") == 3


async def test_a_document_created_again_in_a_later_batch_goes_on_from_its_tombstone(decider: Decider) -> None:
    document = new_id()
    deletion = delete_document(document, 0)
    await decider.decide([put(document, None), deletion])
    [missing] = outcomes(await decider.decide([put(document, 1)]))
    assert isinstance(missing, Conflict)
    assert (missing.reason, missing.actual) == (Reason.MISSING, None)
    assert missing.winner is not None
    assert missing.winner.command_id == deletion.id
    [created] = outcomes(await decider.decide([put(document, None)]))
    assert isinstance(created, Succeeded)
    assert created.token == GenerationToken(generation=2)
    assert created.data.sequence == 3


def deletion_of(stack: str, create: Command) -> list[Command]:
    """Commands that delete a stack and free its name."""
    delete = stack_command("delete", stack, expected_traversal=create.id)
    return [delete, stack_command("set_state", stack, expected_traversal=delete.id)]


async def names_held(second: Connection) -> dict[str, str]:
    return {row["name"]: row["record_id"] for row in await second.fetch("SELECT * FROM names WHERE kind = 'stack'")}


async def test_a_name_freed_in_a_batch_is_taken_by_the_next_command(decider: Decider, second: Connection) -> None:
    old, new, name = new_id(), new_id(), new_id()
    create = stack_command("create", old, name=name)
    await decider.decide([create])
    too_early, in_time = (stack_command("create", new, name=name) for _ in range(2))
    said = await words(decider, [too_early, *deletion_of(old, create), in_time])
    assert said == ["duplicate_name", "succeeded", "succeeded", "succeeded"]
    assert await names_held(second) == {name: new}


async def test_two_stacks_swap_their_names_in_one_batch(decider: Decider, second: Connection) -> None:
    stacks, names = [new_id(), new_id()], ["one", "other"]
    creates = [stack_command("create", stack, name=name) for stack, name in zip(stacks, names, strict=True)]
    await decider.decide(creates)
    successors = [new_id(), new_id()]
    swap = [
        *deletion_of(stacks[0], creates[0]),
        *deletion_of(stacks[1], creates[1]),
        *(stack_command("create", new, name=name) for new, name in zip(successors, reversed(names), strict=True)),
    ]
    assert await words(decider, swap) == ["succeeded"] * 6
    assert await names_held(second) == {"other": successors[0], "one": successors[1]}


async def test_a_stack_created_and_deleted_in_one_batch_leaves_its_tombstone_and_no_name(
    decider: Decider, second: Connection
) -> None:
    stack = new_id()
    create = stack_command("create", stack)
    again = stack_command("create", stack)
    assert await words(decider, [create, *deletion_of(stack, create), again]) == ["succeeded"] * 3 + ["deleted"]
    assert await names_held(second) == {}
    assert await second.fetchval("SELECT (action, status)::text FROM stacks") == "(DELETE,COMPLETE)"
    assert await words(decider, [stack_command("create", stack)]) == ["deleted"]


async def test_a_traversal_of_long_ago_is_superseded_and_an_unknown_one_ahead(decider: Decider) -> None:
    stack = new_id()
    create = stack_command("create", stack)
    update = stack_command("update", stack, expected_traversal=create.id)
    newest = stack_command("update", stack, expected_traversal=update.id)
    for command in (create, update, newest):
        assert await words(decider, [command]) == ["succeeded"]
    late = [stack_command("set_state", stack, expected_traversal=old) for old in (create.id, update.id, new_id())]
    assert await words(decider, late) == ["superseded", "superseded", "ahead"]


async def test_an_id_that_made_another_stacks_traversal_is_ahead_for_this_one(decider: Decider) -> None:
    stack, other = new_id(), new_id()
    creates = [stack_command("create", stack), stack_command("create", other)]
    await decider.decide(creates)
    assert await words(decider, [stack_command("delete", stack, expected_traversal=creates[1].id)]) == ["ahead"]


async def confirmed(second: Connection) -> dict[int, bool]:
    return {row["id"]: row["confirmed_at"] is not None for row in await second.fetch("SELECT * FROM batches")}


async def test_a_batch_is_unconfirmed_until_a_later_transaction_says_otherwise(
    decider: Decider, second: Connection
) -> None:
    batches = [(await decider.decide([put(new_id(), None)])).batch_ids for _ in range(3)]
    [first], [other], [third] = batches
    assert await confirmed(second) == {first: False, other: False, third: False}
    [fourth] = (await decider.decide([put(new_id(), None)], [first])).batch_ids
    await decider.confirm([other, first])
    assert await confirmed(second) == {first: True, other: True, third: False, fourth: False}


async def test_copies_alone_carry_confirmations_and_make_no_batch(decider: Decider, second: Connection) -> None:
    command = put(new_id(), None)
    batch_ids = (await decider.decide([command])).batch_ids
    assert (await decider.decide([command], batch_ids)).batch_ids == []
    assert await confirmed(second) == dict.fromkeys(batch_ids, True)


def decider_at(pool: Pool, now: datetime) -> Decider:
    return decider_on(pool, clock=lambda: now)


def dated_merge(document: str, time: datetime) -> Command:
    return replace(merge(document, {"x": 1}), time=time)


async def test_an_unknown_command_of_the_last_day_of_the_ledgers_memory_is_expired(pool: Pool) -> None:
    now = datetime.now(UTC)
    decider, document = decider_at(pool, now), new_id()
    await decider.decide([put(document, None)])
    edge = now - RETENTION + timedelta(days=1)
    commands = [dated_merge(document, edge - timedelta(seconds=1)), dated_merge(document, edge + timedelta(seconds=1))]
    assert await words(decider, commands) == ["expired", "succeeded"]


async def test_a_known_command_is_answered_however_old_it_is(pool: Pool) -> None:
    now = datetime.now(UTC)
    document = new_id()
    command = dated_merge(document, now)
    before = await decider_at(pool, now).decide([put(document, None), command])
    later = await decider_at(pool, now + timedelta(days=100)).decide([command])
    assert later.events == before.events[1:]


async def test_a_command_that_the_ledger_forgot_succeeds_again_if_it_made_the_token(
    decider: Decider, second: Connection
) -> None:
    document, stack = new_id(), new_id()
    made: list[Command] = [put(document, None, {"x": 1}), stack_command("create", stack)]
    before = outcomes(await decider.decide(made))
    await second.execute("DELETE FROM ledger")
    after = outcomes(await decider.decide(made))
    assert [outcome.id for outcome in after] == [outcome_id(command.id) for command in made]
    assert [outcome.data for outcome in after] == [outcome.data for outcome in before]
    assert await second.fetchval("SELECT count(*) FROM changes") == 2
    assert await second.fetchval("SELECT count(*) FROM ledger") == 2


async def test_a_deletion_that_the_ledger_forgot_succeeds_again(decider: Decider, second: Connection) -> None:
    document = new_id()
    deletion = delete_document(document, 0)
    await decider.decide([put(document, None), deletion])
    await second.execute("DELETE FROM ledger")
    [again] = outcomes(await decider.decide([deletion]))
    assert isinstance(again, Succeeded)
    assert (again.record, again.token) == (None, GenerationToken(generation=1))


async def test_a_forgotten_command_whose_token_was_overtaken_conflicts(decider: Decider, second: Connection) -> None:
    document = new_id()
    command = put(document, None, {"x": 1})
    await decider.decide([command, put(document, 0, {"x": 2})])
    await second.execute("DELETE FROM ledger")
    assert await words(decider, [command]) == ["exists"]


async def test_stored_numbers_equal_the_sent_ones_to_the_last_digit(decider: Decider) -> None:
    document = new_id()
    body: Json = {"z": 1, "a": [2**63 - 1, -(2**63), 0.1, 1e300, -0.0], "é😀": "\u2028\u007f", "": None}
    await decider.decide([put(document, None, body)])
    [stale] = outcomes(await decider.decide([put(document, 9)]))
    assert isinstance(stale, Conflict)
    assert stale.current is not None
    assert json.dumps(stale.current["body"]) == json.dumps(body)
