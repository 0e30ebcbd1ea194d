"""Further messages that no queue takes: they wait alone, come when there is room, and are dropped once not due."""

import asyncio

import aio_pika
import pytest
from aio_pika.abc import AbstractQueue

from genlock.service.database.verify import verify
from genlock.service.deciding.failpoints import Step
from genlock.service.settings import Settings
from tests.support.crashes import killed_at
from tests.support.database import Connection
from tests.support.factories import envelope
from tests.support.full_queues import BLOCKER, FULL
from tests.support.harness import Client, serving
from tests.support.notes import (
    EXCHANGE,
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

NEVER_S = 3600.0

pytestmark = pytest.mark.usefixtures("notes_exchange")


async def test_note_that_reaches_no_queue_waits_alone_and_comes_when_there_is_one(
    client: Client, second: Connection, settings: Settings, notes: AbstractQueue, database_url: str
) -> None:
    await notes.unbind(client.topology.exchange(EXCHANGE), "#")
    await notes.bind(client.topology.exchange(EXCHANGE), "here")
    bystander = await notes_queue(client, "nowhere at all")
    waiting = noted({"to": "here"}, {"to": "nowhere", "mandatory": True}, {"to": "unbound"})
    neighbours = [noted({"to": "here", "mandatory": True}) for _ in range(5)]
    async with serving(settings, kinds=WITH_NOTES):
        await client.send(waiting, *neighbours)
        await client.decided(waiting, *neighbours)
        await until_confirmed(second)
        await client.until_empty(client.topology.inbox)
        [row] = await second.fetch("SELECT routing_key, ledger_id, body FROM waiting_messages")
        assert (row["routing_key"], row["ledger_id"], row["body"]) == ("nowhere", None, None)
        assert [checked.claim async for checked in verify(database_url, WITH_NOTES) if checked.violations] == []
        await notes.bind(client.topology.exchange(EXCHANGE), "nowhere")
        await until_none(second, "waiting_messages")
        assert await second.fetchval("SELECT count(*) FROM destinations") == 0
    found = by_id(await left_notes(notes))
    expected = {note_id_of(waiting["id"], 0), note_id_of(waiting["id"], 1), *(note_id_of(c["id"]) for c in neighbours)}
    assert found.keys() == expected
    assert {len(bodies) for bodies in found.values()} == {1}
    assert [len(client.bodies[command["id"]]) for command in (waiting, *neighbours)] == [1] * 6
    assert await left_notes(bystander) == []


async def test_note_that_waits_is_dropped_once_it_is_no_longer_due(
    client: Client, second: Connection, settings: Settings, notes: AbstractQueue
) -> None:
    await notes.unbind(client.topology.exchange(EXCHANGE), "#")
    command = noted({"to": "nowhere", "mandatory": True})
    async with serving(settings, kinds=WITH_NOTES):
        await client.ask(command)
        await client.ask(envelope("document.merge", command["subject"], {"patch": {}}))
        await until_none(second, "waiting_messages")
    assert await second.fetchval("SELECT count(*) FROM outbox") == 1


async def test_two_replicas_publish_a_note_that_waits_once(
    client: Client, second: Connection, settings: Settings, notes: AbstractQueue
) -> None:
    await notes.unbind(client.topology.exchange(EXCHANGE), "#")
    commands = [noted({"to": f"key.{n % 7}", "mandatory": True}) for n in range(40)]
    async with (
        serving(settings, kinds=WITH_NOTES, batch_size_max=4, sweep_after_s=20),
        serving(settings, kinds=WITH_NOTES, batch_size_max=4, sweep_after_s=20),
    ):
        await client.flood(commands)
        await client.decided(*commands)
        await notes.bind(client.topology.exchange(EXCHANGE), "#")
        await until_none(second, "waiting_messages")
    found = by_id(await left_notes(notes))
    assert found.keys() == {note_id_of(command["id"]) for command in commands}
    assert {len(bodies) for bodies in found.values()} == {1}


@pytest.fixture
async def refusing(client: Client) -> AbstractQueue:
    """A full queue for all notes."""
    full = await notes_queue(client, arguments=FULL)
    exchange = await client.channel.get_exchange(client.topology.exchange(EXCHANGE))
    await exchange.publish(aio_pika.Message(BLOCKER), "somewhere")
    return full


async def test_note_that_was_kept_before_a_kill_comes_from_there_and_with_its_redelivered_command(
    client: Client, second: Connection, settings: Settings, refusing: AbstractQueue
) -> None:
    command = noted()
    await client.send(command)
    await killed_at(Step.KEPT, 1, settings, "notes")
    await refusing.purge()
    async with serving(settings, kinds=WITH_NOTES, sweep_after_s=NEVER_S):
        await client.decided(command)
        copies = await taken_notes(refusing, 2)
        await until_none(second, "waiting_messages")
        await until_confirmed(second)
    assert by_id(copies) == {note_id: [body] * 2 for note_id, body in (await stored_notes(second)).items()}
    assert await client.depth(client.topology.inbox) == 0


async def test_note_that_was_taken_before_a_kill_waits_on_and_comes_again(
    client: Client, second: Connection, settings: Settings, refusing: AbstractQueue
) -> None:
    command = noted()
    await client.send(command)
    killing = asyncio.create_task(killed_at(Step.TAKEN, 1, settings, "notes"))
    await client.decided(command)
    await until_confirmed(second)
    await refusing.purge()
    await killing
    first = await taken_notes(refusing, 1)
    # The claim of the dead replica ends with its time.
    await second.execute("UPDATE destinations SET next_at = clock_timestamp()")
    async with serving(settings, kinds=WITH_NOTES, sweep_after_s=NEVER_S):
        again = await taken_notes(refusing, 1)
        await until_none(second, "waiting_messages")
    assert by_id(first) == by_id(again) == {note_id: [body] for note_id, body in (await stored_notes(second)).items()}
    assert len(client.bodies[command["id"]]) == 1
