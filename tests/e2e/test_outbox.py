"""Further messages of decisions: published with the outcome, once, to the exchange of their kind."""

import json

import aio_pika
import pytest
from aio_pika.abc import AbstractQueue

from genlock.consumers.commands.deliveries import OWN, REASON_HEADER
from genlock.service.settings import Settings
from tests.support.command_line import genlock
from tests.support.crashes import killed_before_publishing
from tests.support.database import Connection
from tests.support.factories import Json, envelope, json_bytes
from tests.support.harness import Client, serving
from tests.support.notes import (
    EXCHANGE,
    TYPE,
    WITH_NOTES,
    by_id,
    left_notes,
    note_id_of,
    noted,
    notes_queue,
    stored_notes,
    taken_notes,
)
from tests.support.tables import until_confirmed, until_none

pytestmark = pytest.mark.usefixtures("notes_exchange")


async def test_notes_are_published_with_the_outcome_that_gave_them_and_once(
    client: Client, second: Connection, settings: Settings, notes: AbstractQueue
) -> None:
    command = noted({"to": "a"}, {"to": "b"}, correlationid="mine")
    conflict = noted({"to": "c"}, subject=command["subject"], expected=None)
    async with serving(settings, kinds=WITH_NOTES):
        await client.ask(command)
        _, lost = await client.ask(command, conflict)
        await client.decided(command, command)
        messages = await taken_notes(notes, 2)
        await until_confirmed(second)
    assert lost["type"] == "document.put.conflict"
    assert [message.routing_key for message in messages] == ["a", "b"]
    assert by_id(messages) == {note_id: [body] for note_id, body in (await stored_notes(second)).items()}
    for message in messages:
        assert message.exchange == client.topology.exchange(EXCHANGE)
        assert (message.type, message.correlation_id) == (TYPE, "mine")
        assert message.app_id == settings.source
        assert message.headers == {"subject": command["subject"]}
        assert message.delivery_mode is aio_pika.DeliveryMode.PERSISTENT
    assert await left_notes(notes) == []


async def test_replica_declares_the_exchange_of_notes(client: Client, settings: Settings, second: Connection) -> None:
    commands = [noted() for _ in range(5)]
    async with serving(settings, kinds=WITH_NOTES):
        await client.ask(*commands)
        await until_confirmed(second)
        await client.until_empty(client.topology.inbox)
    assert [len(client.bodies[command["id"]]) for command in commands] == [1] * 5
    await client.channel.get_exchange(client.topology.exchange(EXCHANGE))


async def test_exchange_that_is_deleted_meanwhile_is_declared_with_the_next_session(
    client: Client, settings: Settings, second: Connection
) -> None:
    first, command, last = noted(), noted(), noted()
    async with serving(settings, kinds=WITH_NOTES, retry_delay_max_s=0.2):
        await client.ask(first)
        await client.channel.exchange_delete(client.topology.exchange(EXCHANGE))
        await client.ask(command)
        await until_confirmed(second)
        await client.until_empty(client.topology.inbox)
        await client.ask(last)
        await until_confirmed(second)
    assert len(client.bodies[last["id"]]) == 1


@pytest.mark.parametrize("slip", [{"exchange": "nowhere"}, {"exchange": ""}, {"kind": "gone"}, {"to": "k" * 256}])
async def test_note_that_cannot_be_published_ends_its_command_alone_as_internal_error(
    slip: Json, client: Client, settings: Settings, second: Connection, notes: AbstractQueue
) -> None:
    before, slipped, after = noted(), noted({"to": "a"}, {"to": "b", **slip}), noted()
    async with serving(settings, kinds=WITH_NOTES):
        told = await client.ask(before, slipped, after)
        await until_confirmed(second)
        await client.until_depth(client.topology.dead_letters, 1)
        await client.until_empty(client.topology.inbox)
    assert [event["data"].get("code") for event in told] == [None, "internal_error", None]
    assert [len(client.bodies[command["id"]]) for command in (before, slipped, after)] == [1] * 3
    assert {message.message_id for message in await left_notes(notes)} == {note_id_of(c["id"]) for c in (before, after)}
    assert await second.fetchval("SELECT count(*) FROM documents") == 2


async def test_batch_with_messages_of_an_unknown_kind_is_left_to_a_newer_replica(
    client: Client, second: Connection, settings: Settings, notes: AbstractQueue
) -> None:
    before, command, after = envelope("document.delete", "x", {"expected_generation": 0}), noted(), noted()
    await killed_before_publishing(client, settings, [command])
    async with serving(settings, sweep_after_s=0.1):
        await client.decided(command)
        await client.ask(before)
        # One that is older, and can be swept, is not held up by it.
        await second.execute(
            "INSERT INTO batches (decided_at) VALUES (clock_timestamp() - interval '1 minute')",
        )
        await until_none(second, "batches", "confirmed_at IS NULL AND id NOT IN (SELECT batch_id FROM outbox)")
        ran = await genlock(settings, "republish", "--since", "1h")
        assert ran.code == 0
    assert await second.fetchval("SELECT count(*) FROM batches WHERE confirmed_at IS NULL") == 1
    assert await left_notes(notes) == []
    async with serving(settings, kinds=WITH_NOTES, sweep_after_s=0.1):
        await until_confirmed(second)
        await client.ask(after)
    assert {message.message_id for message in await left_notes(notes)} == {
        note_id_of(each["id"]) for each in (command, after)
    }


async def test_message_of_genlock_is_never_a_command(
    client: Client, settings: Settings, second: Connection, notes: AbstractQueue
) -> None:
    """A loop: notes and events are bound to the inbox."""
    inbox = await client.channel.get_queue(client.topology.inbox)
    await inbox.bind(client.topology.exchange(EXCHANGE), "#")
    await inbox.bind(client.topology.events, "#")
    command, unknown = noted(), envelope("no.such", None, {})
    async with serving(settings, kinds=WITH_NOTES):
        await client.ask(command, unknown)
        await client.until_depth(client.topology.dead_letters, 3)
        # With the properties of a publisher, whose source and type these are.
        await client.publish(json_bytes(envelope("note.written", None, {}, source=settings.source)), "note.written")
        await client.until_depth(client.topology.dead_letters, 4)
        await client.ask(noted())
        await client.until_depth(client.topology.dead_letters, 6)
    letters = await client.drain(client.topology.dead_letters)
    reasons = [letter.headers[REASON_HEADER] for letter in letters]
    assert reasons.count(OWN) == 3
    assert reasons.count("an outcome event, not a command") == 3
    assert len(client.events) == 3
    assert await second.fetchval("SELECT count(*) FROM ledger") == 3
    assert json.loads((await left_notes(notes))[0].body)["id"] == note_id_of(command["id"])


async def test_note_of_a_new_document_id_is_found_by_its_command(client: Client, settings: Settings) -> None:
    """An id that is used again for other content brings no notes."""
    command = noted()
    other = {**command, "data": {"expected_generation": None, "body": {"notes": [{"to": "b"}, {"to": "c"}]}}}
    queue = await notes_queue(client)
    async with serving(settings, kinds=WITH_NOTES):
        await client.ask(command)
        await client.send(other)
        await client.decided(command, command)
    assert {message.message_id for message in await left_notes(queue)} == {note_id_of(command["id"])}
