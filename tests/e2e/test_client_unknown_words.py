"""The client and the command line beside a newer service: kinds and events that they do not know are read as text."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

import genlock
from genlock.schemas.outcomes import CONTENT_TYPE
from genlock.service.settings import Settings
from tests.support.command_line import genlock as run
from tests.support.command_line import start
from tests.support.factories import Json, json_bytes, new_id
from tests.support.harness import DEADLINE_S, Client

SHOWN: Json = {"id": "note-1", "generation": 4, "text": "as a newer service shows it"}
SUCCEEDED: Json = {"kind": "note", "id": "note-1", "sequence": 5, "record": SHOWN, "token": {"generation": 4}}
CONFLICT: Json = {
    "kind": "note",
    "id": "note-1",
    "sequence": 5,
    "reason": "test_failed",
    "expected": {"generation": 3},
    "actual": {"generation": 4},
    "winner": None,
    "retry": {"allowed": True, "attempt": 1, "after_ms": 10},
}
NOTICE: Json = {"record": {"id": new_id()}, "traversal": new_id()}


def event(event_type: str, data: Json) -> Json:
    """An event of a newer service, with an attribute that this client does not know either."""
    return {
        "specversion": "1.0",
        "id": new_id(),
        "source": "/genlock",
        "type": event_type,
        "subject": "note-1",
        "time": "2026-03-01T12:00:00.000000Z",
        "correlationid": new_id(),
        "causationid": new_id(),
        "attempt": 1,
        "priority": "high",
        "data": data,
    }


EVENTS = [
    event("note.put.succeeded", SUCCEEDED),
    event("stack.traversal.completed", NOTICE),
    event("note.put.conflict", CONFLICT),
]


async def publish(client: Client, *events: Json) -> None:
    exchange = await client.channel.get_exchange(client.topology.events)
    for told in events:
        message = aio_pika.Message(json_bytes(told), content_type=CONTENT_TYPE)
        await exchange.publish(message, told["type"], mandatory=False)


def check(events: list[Any]) -> None:
    """Check that the events are read, with unknown words in them as text."""
    succeeded, notice, conflict = events
    assert isinstance(succeeded, genlock.Succeeded)
    assert (succeeded.data.kind, succeeded.record, succeeded.token) == (
        "note",
        SHOWN,
        genlock.GenerationToken(generation=4),
    )
    assert isinstance(notice, genlock.UnknownEvent)
    assert (notice.type, notice.data) == ("stack.traversal.completed", NOTICE)
    assert isinstance(conflict, genlock.Conflict)
    assert (conflict.data.kind, conflict.reason) == ("note", "test_failed")


@pytest.fixture
async def asking(settings: Settings, client: Client) -> AsyncIterator[genlock.Client]:
    """A client of a namespace that has its exchanges."""
    url = settings.amqp_url.get_secret_value()
    async with genlock.connect(url, namespace=client.topology.namespace) as connected:
        yield connected


@pytest.mark.parametrize("durable", [False, True])
async def test_subscription_yields_events_and_kinds_that_it_does_not_know(
    client: Client, asking: genlock.Client, durable: bool
) -> None:
    queue = f"reader-{new_id()}" if durable else None
    async with asking.events("#", queue=queue) as events, asyncio.timeout(DEADLINE_S):
        await publish(client, *EVENTS)
        check([await anext(events) for _ in EVENTS])
    if queue:
        await client.channel.queue_delete(queue)


async def test_tail_prints_events_that_it_does_not_know(client: Client, settings: Settings) -> None:
    process = await start(settings, "tail", "--count", "3")
    async with asyncio.timeout(DEADLINE_S):
        assert process.stderr is not None
        assert b"Waiting for events" in await process.stderr.readline()
        await publish(client, *EVENTS)
        out, err = await process.communicate()
    assert process.returncode == 0, err
    rows = [json.loads(line) for line in out.decode().splitlines()]
    assert [row["type"] for row in rows] == [told["type"] for told in EVENTS]
    assert [row["data"] for row in rows] == [SUCCEEDED, NOTICE, CONFLICT]


@asynccontextmanager
async def answering(client: Client, record: Json) -> AsyncIterator[None]:
    """A newer service that answers each query with a record."""

    async def answer(query: AbstractIncomingMessage) -> None:
        assert query.reply_to is not None
        body = json_bytes({"specversion": "1.0", "data": {"record": record, "sequence": 5}})
        reply = aio_pika.Message(body, correlation_id=query.correlation_id)
        await client.channel.default_exchange.publish(reply, query.reply_to)
        await query.ack()

    queue = await client.channel.get_queue(client.topology.queries)
    tag = await queue.consume(answer)
    yield
    await queue.cancel(tag)


async def test_record_of_a_kind_that_is_not_known_is_read_as_it_comes(
    client: Client, asking: genlock.Client, settings: Settings
) -> None:
    async with answering(client, SHOWN), asyncio.timeout(DEADLINE_S):
        assert await asking.get("note", "note-1") == SHOWN
        ran = await run(settings, "get", "note", "note-1")
    assert (ran.code, ran.rows) == (0, [SHOWN])
