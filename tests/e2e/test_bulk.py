"""Bulk: many commands in one message, each decided as if it had come alone."""

import asyncio
import json
from collections.abc import AsyncIterator

import aio_pika
import pytest

from genlock.consumers.commands.registration import FIRST_MESSAGES
from genlock.consumers.process.serve import Service
from genlock.schemas.decode import BULK_COMMANDS_MAX, COMMAND_BYTES_MAX
from genlock.schemas.outcomes import BULK_CONTENT_TYPE, CONTENT_TYPE
from genlock.service.settings import Settings
from tests.support.database import Connection
from tests.support.factories import Json, envelope, json_bytes, new_id
from tests.support.harness import DEADLINE_S, Client, serving, until_waiting


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """A replica in this process."""
    async with serving(settings) as service:
        yield service


def put(document: str, expected: int | None = None) -> Json:
    return envelope("document.put", document, {"expected_generation": expected, "body": {"é": 1}})


@pytest.mark.usefixtures("service")
async def test_each_command_has_its_usual_outcome_and_the_reply_is_one_batch_of_them(client: Client) -> None:
    document = new_id()
    commands = [put(document), put(document, 0), put(document, 0), put(new_id(), 7), {**put(document), "data": {}}]
    replies = await client.channel.declare_queue(exclusive=True)
    arrived: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
    await replies.consume(arrived.put, no_ack=True)
    await client.send_bulk(commands, reply_to=replies.name, correlation_id="c-1")
    events = await client.decided(*commands)
    assert [event["type"].rpartition(".")[2] for event in events] == [
        *("succeeded", "succeeded", "conflict", "conflict", "rejected")
    ]
    async with asyncio.timeout(DEADLINE_S):
        reply = await arrived.get()
    assert (reply.content_type, reply.correlation_id) == (BULK_CONTENT_TYPE, "c-1")
    assert json.loads(reply.body) == events
    assert arrived.empty()


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    "content_type",
    [
        "Application/CloudEvents-Batch+JSON; charset=utf-8",
        "application/cloudevents-batch+json; charset=iso-8859-1",
        'application/cloudevents-batch+json ;x=";"',
    ],
)
async def test_bulk_is_known_by_its_media_type_in_any_spelling(client: Client, content_type: str) -> None:
    commands = [put(new_id()) for _ in range(2)]
    await client.publish(b"\xef\xbb\xbf" + json_bytes(commands), "document.put", content_type=content_type)
    assert [event["type"] for event in await client.decided(*commands)] == ["document.put.succeeded"] * 2


@pytest.mark.usefixtures("service")
async def test_bad_elements_spoil_no_other(client: Client) -> None:
    good = [put(new_id()) for _ in range(3)]
    answered = [
        {**put(new_id()), "type": "document.delete"},
        {**put(new_id()), "data": {"expected_generation": 2**70, "body": {}}},
    ]
    too_deep = {"id": new_id()}
    deep = f'{{"id": "{too_deep["id"]}", "deep": {"[" * 5_000 + "]" * 5_000}}}'
    parts = [json.dumps(element) for element in (good[0], 5, answered[0], {"no": "id"}, good[1], answered[1])]
    body = f"[{', '.join(parts)}, {deep} ,{json.dumps(good[2])}]"
    await client.publish(body.encode(), "document.put", content_type=f"{BULK_CONTENT_TYPE}; charset=utf-8")
    await client.decided(*good)
    codes = [event["data"]["code"] for event in await client.decided(*answered, too_deep)]
    assert codes == ["routing_key_mismatch", "invalid_data", "invalid_data"]
    await client.until_depth(client.topology.dead_letters, 2)
    dead_letters = await client.drain(client.topology.dead_letters)
    assert [dead_letter.body for dead_letter in dead_letters] == [b"5", b'{"no": "id"}']
    assert {(dead_letter.content_type, dead_letter.headers["x-genlock-reason"]) for dead_letter in dead_letters} == {
        (CONTENT_TYPE, "no UUID as its id")
    }


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"[1 2]",
        b"\xff",
        json_bytes(put("no-array")),
        json_bytes([put("many")] * (BULK_COMMANDS_MAX + 1)),
        b"[" + b" " * COMMAND_BYTES_MAX + b"]",
    ],
    ids=["nothing", "empty", "broken", "not UTF-8", "an object", "too many", "too large"],
)
async def test_message_that_is_no_batch_is_a_dead_letter_as_it_came(client: Client, body: bytes) -> None:
    await client.publish(body, "document.put", content_type=BULK_CONTENT_TYPE)
    await client.until_depth(client.topology.dead_letters, 1)
    (dead_letter,) = await client.drain(client.topology.dead_letters)
    assert (dead_letter.body, dead_letter.content_type) == (body, BULK_CONTENT_TYPE)


@pytest.mark.usefixtures("service")
async def test_copies_within_and_between_bulk_messages_are_answered_alike(client: Client, second: Connection) -> None:
    commands = [put(new_id()) for _ in range(20)]
    copies = [*commands, *commands]
    await client.send_bulk(copies)
    await client.send_bulk(commands)
    await client.send(commands[0])
    await client.decided(*copies, *commands, commands[0])
    assert all(len(set(client.bodies[command["id"]])) == 1 for command in commands)
    assert await second.fetchval("SELECT count(*) FROM changes") == len(commands)


async def test_held_messages_are_counted_in_commands(client: Client, settings: Settings, second: Connection) -> None:
    """A consumer that may hold 64 commands holds two messages of 32, once it has seen one of them."""
    batches = [[put(f"{number}-{n}") for n in range(32)] for number in range(12)]
    async with serving(settings, prefetch=64):
        await client.send_bulk(batches[0])
        await client.decided(*batches[0])
        async with second.transaction():
            await second.execute("LOCK TABLE documents")
            for batch in batches[1:]:
                await client.send_bulk(batch)
            await until_waiting(second, 1)
            await client.until_depth(client.topology.inbox, len(batches) - 1 - 2)
        await client.decided(*(command for batch in batches for command in batch))


async def test_of_a_backlog_a_replica_takes_little_before_it_knows_how_many_commands_messages_have(
    client: Client, settings: Settings, second: Connection
) -> None:
    batches = [[put(f"{number}-{n}") for n in range(32)] for number in range(FIRST_MESSAGES + 4)]
    for batch in batches:
        await client.send_bulk(batch)
    locking = second.transaction()
    await locking.start()
    await second.execute("LOCK TABLE documents")
    async with serving(settings, prefetch=64) as service:
        await until_waiting(second, 1)
        await client.until_depth(client.topology.inbox, len(batches) - FIRST_MESSAGES)
        assert service._activity.held == FIRST_MESSAGES
        await locking.rollback()
        await client.decided(*(command for batch in batches for command in batch))
