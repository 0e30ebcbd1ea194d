"""The outbox and waiting messages in the database: when rows are written, claimed and purged."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from genlock.service.database.statements import statement
from genlock.service.database.transactions import Pool
from genlock.service.database.verify import verify
from genlock.service.deciding.batch_outcomes import BatchOutcomes
from genlock.service.deciding.decide import Decider
from genlock.service.ledger.outbox import Outbox
from genlock.service.ledger.retention import Retention
from genlock.service.ledger.waiting import LONGEST, PAUSE_FIRST_S, Refused, WaitingTable
from tests.support.ageing import age
from tests.support.database import Connection
from tests.support.factories import command, new_id, put, received
from tests.support.forgetting import at_once
from tests.support.harness import NO_PROPERTIES
from tests.support.notes import NOTES, WITH_NOTES, note_id_of, noted

RETENTION = timedelta(days=14)
LEASE_S = 60.0


@pytest.fixture
def noting(pool: Pool) -> Decider:
    """Return a decider whose `document.put` gives notes."""
    return Decider(pool, WITH_NOTES, source="/tests", retention=RETENTION, timeout_s=20)


@pytest.fixture
def waiting(pool: Pool) -> WaitingTable:
    return WaitingTable(pool, 20)


@pytest.fixture
def outbox(pool: Pool) -> Outbox:
    return Outbox(pool, 20, WITH_NOTES.messages)


def given(outcomes: BatchOutcomes) -> list[list[str]]:
    """The ids of the messages that each outcome has."""
    return [[stored.message.id for stored in outcome.messages] for outcome in outcomes.outcomes]


async def in_outbox(second: Connection) -> list[str]:
    return [
        row["message_id"] for row in await second.fetch("SELECT message_id FROM outbox ORDER BY batch_id, position")
    ]


async def test_messages_are_stored_with_the_batch_that_decided_them_in_the_order_of_its_commands(
    noting: Decider, second: Connection
) -> None:
    first, without, last = (received(each) for each in (noted({"to": "a"}, {"to": "b"}), noted(), noted()))
    plain = put(new_id(), None)
    outcomes = await noting.decide([first, plain, without, last, first])
    expected = [[note_id_of(first.id, 0), note_id_of(first.id, 1)], [], [note_id_of(without.id)], [note_id_of(last.id)]]
    assert given(outcomes) == [*expected, []]
    assert await in_outbox(second) == [note_id for ids in expected for note_id in ids]
    assert {row["batch_id"] for row in await second.fetch("SELECT batch_id FROM outbox")} == set(outcomes.batch_ids)


async def test_command_that_is_not_accepted_gives_no_messages_and_a_dry_run_stores_none(
    noting: Decider, second: Connection
) -> None:
    document = new_id()
    await noting.decide([put(document, None)])
    body = {"expected_generation": 3, "body": {"notes": [{"to": "a"}]}}
    await noting.dry_run(received(noted()))
    outcomes = await noting.decide([command("document.put", document, body)])
    assert (given(outcomes), await in_outbox(second)) == ([[]], [])


async def test_rule_that_fails_on_its_messages_is_an_internal_error_of_its_command_alone(
    noting: Decider, second: Connection
) -> None:
    broken, neighbour = received(noted({"nothing": "of use"})), received(noted())
    outcomes = await noting.decide([broken, neighbour])
    assert outcomes.faulty == {broken.id}
    assert given(outcomes) == [[], [note_id_of(neighbour.id)]]
    assert await second.fetchval("SELECT count(*) FROM documents") == 1


async def test_batch_is_told_with_its_copies_until_it_is_confirmed(noting: Decider) -> None:
    note = received(noted())
    first = await noting.decide([note])
    assert [outcome.unconfirmed for outcome in first.outcomes] == [None]
    [again] = (await noting.decide([note])).outcomes
    assert ([again.unconfirmed], again.messages) == (first.batch_ids, ())
    await noting.confirm(first.batch_ids)
    [again] = (await noting.decide([note])).outcomes
    assert again.unconfirmed is None


async def test_only_messages_that_are_still_due_are_read(noting: Decider, outbox: Outbox) -> None:
    current, outdated = received(noted({"to": "a"}, {"to": "b"})), received(noted())
    outcomes = await noting.decide([current, outdated])
    await noting.decide([put(outdated.subject, 0)])
    pages = [page async for page in outbox.of_batches(outcomes.batch_ids)]
    assert [stored.message.id for page in pages for stored in page] == given(outcomes)[0]
    messages, commands = await outbox.of_commands(dict.fromkeys([outdated.id], outcomes.batch_ids[0]))
    assert messages == {}
    assert commands == {outcomes.batch_ids[0]: {current.id, outdated.id}}


async def test_message_for_an_exchange_that_its_kind_does_not_name_is_left_to_a_newer_program(
    noting: Decider, pool: Pool
) -> None:
    outcomes = await noting.decide([received(noted())])
    older = Outbox(pool, 20, {NOTES.name: replace(NOTES, exchanges=frozenset({"others"}))})
    assert [page async for page in older.of_batches(outcomes.batch_ids)] == [[]]
    assert await older.foreign(outcomes.batch_ids) == set(outcomes.batch_ids)
    (stored,) = outcomes.outcomes[0].messages
    assert not older.knows(stored)


async def test_messages_of_a_large_batch_are_read_in_pages(noting: Decider, outbox: Outbox) -> None:
    many = received(noted(*({"to": str(n)} for n in range(250))))
    outcomes = await noting.decide([many])
    pages = [page async for page in outbox.of_batches(outcomes.batch_ids)]
    assert [len(page) for page in pages] == [100, 100, 50]
    assert [stored.message.id for page in pages for stored in page] == given(outcomes)[0]


def refused(key: str = "key", body: bytes = b"{}") -> Refused:
    return Refused("t.events", key, NO_PROPERTIES, body)


async def until_due(second: Connection) -> None:
    await second.execute("UPDATE destinations SET next_at = clock_timestamp()")


async def test_destination_is_tried_by_one_at_a_time(waiting: WaitingTable, second: Connection) -> None:
    await waiting.add([refused("a"), refused("b"), refused("a")])
    await second.execute("UPDATE destinations SET next_at = next_at + interval '1 minute'")
    assert await waiting.claim(LEASE_S) is None
    await until_due(second)
    claims = await asyncio.gather(*(waiting.claim(LEASE_S) for _ in range(4)))
    assert sorted(claim.routing_key for claim in claims if claim) == ["a", "b"]
    # A claim whose holder has died is over in time.
    await until_due(second)
    assert await waiting.claim(LEASE_S) is not None


async def test_pauses_grow_while_a_destination_refuses_and_messages_take_turns(pool: Pool, second: Connection) -> None:
    waiting = WaitingTable(pool, 20, pause_max_s=1.0)
    await waiting.add([refused(body=b"%d" % n) for n in range(3)])
    tried, pauses = [], []
    for _ in range(6):
        await until_due(second)
        claim = await waiting.claim(LEASE_S)
        assert claim
        (message,) = claim.messages
        tried.append(message.body)
        await waiting.release(claim, done=(), refused=[message.id])
        pauses.append(await waiting.next_try_s() or 0)
    assert tried == [b"0", b"1", b"2"] * 2
    assert all(pause <= limit for pause, limit in zip(pauses, (0.4, 0.8, 1, 1, 1, 1), strict=True))
    assert pauses[0] > PAUSE_FIRST_S
    assert pauses[-1] > pauses[0]


async def take_all(waiting: WaitingTable) -> list[int]:
    """Have a queue take everything; return how many messages it was given at once."""
    sizes = []
    while claim := await waiting.claim(LEASE_S):
        sizes.append(len(claim.messages))
        await waiting.release(claim, done=[message.id for message in claim.messages], refused=())
    assert await waiting.next_try_s() is None
    return sizes


async def test_destination_gets_twice_as_many_at_once_each_time_that_it_takes_all(
    waiting: WaitingTable, second: Connection
) -> None:
    """A refused message is repeated to all other subscribers: not to be tried on a queue that has room for few."""
    await waiting.add([refused(body=b"%d" % n) for n in range(600)])
    await until_due(second)
    for _ in range(3):
        claim = await waiting.claim(LEASE_S)
        assert claim
        await waiting.release(claim, done=[message.id for message in claim.messages], refused=())
    claim = await waiting.claim(LEASE_S)
    assert claim
    tried = [message.id for message in claim.messages]
    assert len(tried) == 8
    await waiting.release(claim, done=tried[:1], refused=tried[1:])
    await until_due(second)
    assert await take_all(waiting) == [1, 2, 4, 8, 16, 32, 64, 128, 128, 128, 81]


async def test_destination_gets_only_so_many_bytes_at_once(waiting: WaitingTable, second: Connection) -> None:
    large = b"x" * 3_000_000
    await waiting.add([refused(body=body) for body in (b"0", b"1", b"2", large, large, b"5")])
    await until_due(second)
    assert await take_all(waiting) == [1, 2, 2, 1]


async def test_message_that_waits_already_waits_once(
    noting: Decider, waiting: WaitingTable, second: Connection
) -> None:
    outcomes = await noting.decide([received(noted())])
    [outcome] = outcomes.outcomes
    [stored] = outcome.messages
    event = Refused(
        "t.events", outcome.event.type, NO_PROPERTIES, outcome.event.body.encode(), command_id=outcome.command.id
    )
    note = Refused("t.notes", "a", NO_PROPERTIES, stored.message.body, outbox=(stored.batch_id, stored.position))
    for _ in range(2):
        await waiting.add([event, note])
    rows = await second.fetch("SELECT ledger_id, batch_id, body FROM waiting_messages ORDER BY id")
    assert [(row["ledger_id"] is None, row["batch_id"], row["body"]) for row in rows] == [
        (False, None, None),
        (True, stored.batch_id, None),
    ]


async def test_answer_that_the_ledger_does_not_have_is_kept_with_its_bytes(
    noting: Decider, waiting: WaitingTable, second: Connection
) -> None:
    outcomes = await noting.decide([put(new_id(), None)])
    command_id = outcomes.outcomes[0].command.id
    await waiting.add([Refused("t.events", "a", NO_PROPERTIES, b"other bytes", command_id=command_id)])
    assert await second.fetchval("SELECT body FROM waiting_messages WHERE ledger_id IS NULL") == b"other bytes"


# Retention.


async def old(noting: Decider, second: Connection, *notes: Sequence[str]) -> BatchOutcomes:
    """A batch past the retention whose commands have notes to these places."""
    outcomes = await noting.decide([received(noted(*({"to": to} for to in places))) for places in notes])
    await noting.confirm(outcomes.batch_ids)
    await age(second, 15)
    return outcomes


@pytest.mark.parametrize("days", [1, 20])
async def test_destination_that_was_put_off_while_the_clock_was_ahead_waits_for_no_days(
    waiting: WaitingTable, second: Connection, days: int
) -> None:
    """A claim of that time ends too, and a destination that is due for no good reason is tried with one message."""
    await waiting.add([refused()])
    await second.execute("UPDATE destinations SET next_at = next_at + $1::interval", timedelta(days=days))
    assert await waiting.next_try_s() == 0
    claim = await waiting.claim(LEASE_S)
    assert claim is not None
    assert len(claim.messages) == 1
    assert await waiting.claim(LEASE_S) is None
    left_s = await waiting.next_try_s()
    assert left_s is not None
    assert 0 < left_s <= LEASE_S


async def test_destination_is_put_off_for_the_longest_pause_by_a_clock_that_is_right(
    waiting: WaitingTable, second: Connection
) -> None:
    await waiting.add([refused()])
    await second.execute("UPDATE destinations SET next_at = clock_timestamp() + $1::interval", LONGEST)
    assert await waiting.claim(LEASE_S) is None
    assert await waiting.next_try_s() == pytest.approx(LONGEST.total_seconds(), abs=60)


async def claims(database_url: str) -> list[str]:
    return [checked.claim async for checked in verify(database_url, WITH_NOTES) if checked.violations]


async def test_messages_are_forgotten_with_their_batch_in_bounded_slices(
    noting: Decider, pool: Pool, second: Connection, database_url: str
) -> None:
    keeper = Retention(pool, RETENTION, 20, horizon=at_once(RETENTION), slice_commands=4)
    await old(noting, second, "ab", "cd", "ef")
    young = await noting.decide([received(noted())])
    slices = []
    while purged := await keeper.purge():
        slices.append((purged, await second.fetchval("SELECT count(*) FROM outbox")))
        assert await claims(database_url) == []
    assert slices == [(4, 3), (3, 1)]
    assert await in_outbox(second) == given(young)[0]
    assert await second.fetchval("SELECT count(*) FROM batches") == 1 + 1


async def test_message_that_waits_outlives_its_batch_and_goes_when_it_is_taken(
    noting: Decider, waiting: WaitingTable, pool: Pool, second: Connection, database_url: str
) -> None:
    [outcome] = (await old(noting, second, "ab")).outcomes
    stored = outcome.messages[1]
    event = Refused("t.events", "e", NO_PROPERTIES, outcome.event.body.encode(), command_id=outcome.command.id)
    answer = refused()
    note = Refused("t.notes", "b", NO_PROPERTIES, stored.message.body, outbox=(stored.batch_id, stored.position))
    await waiting.add([event, answer, note])
    await second.execute("UPDATE waiting_messages SET since = since - interval '15 days'")
    assert await Retention(pool, RETENTION, 20, horizon=at_once(RETENTION)).purge() == 1
    assert await in_outbox(second) == [stored.message.id]
    assert await second.fetchval("SELECT count(*) FROM ledger") == 0
    # What told of a command that is forgotten, and what only answered, is given up.
    rows = await second.fetch("SELECT batch_id, position FROM waiting_messages")
    assert [tuple(row) for row in rows] == [(stored.batch_id, stored.position)]
    assert await claims(database_url) == []
    await until_due(second)
    while claim := await waiting.claim(LEASE_S):
        bodies = [message.body for message in claim.messages]
        assert bodies in ([], [stored.message.body])
        await waiting.release(claim, done=[message.id for message in claim.messages], refused=())
    assert await in_outbox(second) == []
    assert await second.fetchval("SELECT count(*) FROM destinations") == 0


async def test_message_that_is_taken_while_its_batch_is_deleted_is_forgotten_by_the_next_slice(
    noting: Decider, waiting: WaitingTable, pool: Pool, second: Connection, database_url: str
) -> None:
    [outcome] = (await old(noting, second, "a")).outcomes
    [stored] = outcome.messages
    await waiting.add([Refused("t.notes", "a", NO_PROPERTIES, b"", outbox=(stored.batch_id, stored.position))])
    await until_due(second)
    claim = await waiting.claim(LEASE_S)
    assert claim
    last = stored.batch_id
    async with second.transaction():
        assert await second.execute(statement("delete_outbox"), last, 10) == "DELETE 0"
        await waiting.release(claim, done=[message.id for message in claim.messages], refused=())
        await second.execute(statement("delete_ledger"), last, 10)
        await second.execute(statement("delete_batches"), last + 1, 10)
    assert await in_outbox(second) == [stored.message.id]
    young = await noting.decide([received(noted())])
    await Retention(pool, RETENTION, 20, horizon=at_once(RETENTION)).purge()
    assert await in_outbox(second) == given(young)[0]
    assert await claims(database_url) == []


# What `genlock verify` finds.


@pytest.mark.parametrize(
    ("damage", "claim"),
    [
        ("UPDATE outbox SET batch_id = batch_id + 1000", "Every further message"),
        ("UPDATE outbox SET command_id = gen_random_uuid()", "Every further message"),
        ("DELETE FROM ledger", "Every further message"),
        ("DELETE FROM destinations", "Every message that waits"),
        ("UPDATE destinations SET routing_key = routing_key || '!'", "Every message that waits"),
        ("UPDATE waiting_messages SET position = 77 WHERE batch_id IS NOT NULL", "Every message that waits"),
        ("UPDATE waiting_messages SET ledger_id = gen_random_uuid() WHERE ledger_id IS NOT NULL", "Every message that"),
    ],
)
async def test_what_must_not_be_is_found(
    noting: Decider, waiting: WaitingTable, second: Connection, database_url: str, *, damage: str, claim: str
) -> None:
    outcomes = await noting.decide([received(noted({"to": "a"}, {"to": "b"}))])
    await noting.confirm(outcomes.batch_ids)
    [outcome] = outcomes.outcomes
    stored = outcome.messages[1]
    event = Refused("t.events", "e", NO_PROPERTIES, outcome.event.body.encode(), command_id=outcome.command.id)
    note = Refused("t.notes", "b", NO_PROPERTIES, stored.message.body, outbox=(stored.batch_id, stored.position))
    await waiting.add([event, note, refused()])
    assert await claims(database_url) == []
    await second.execute(damage)
    assert any(text.startswith(claim) for text in await claims(database_url))
