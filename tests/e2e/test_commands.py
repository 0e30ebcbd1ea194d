"""Commands in, events out, through the broker: each type, each message property, copies to queues of replies."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage, DeliveryMode

from genlock.consumers.process.serve import Service
from genlock.schemas.outcomes import outcome_id
from genlock.service.settings import Settings
from tests.support.database import Connection
from tests.support.factories import Json, envelope, json_bytes, new_id
from tests.support.harness import DEADLINE_S, Client, serving


@pytest.fixture
async def service(settings: Settings) -> AsyncIterator[Service]:
    """A replica in this process."""
    async with serving(settings) as service:
        yield service


def put(document: str, expected: int | None, **attributes: object) -> Json:
    return envelope("document.put", document, {"expected_generation": expected, "body": {"é": 1}}, **attributes)


def stack(verb: str, subject: str, **data: object) -> Json:
    return envelope(f"stack.{verb}", subject, data)


def chain() -> list[Json]:
    """Every type of command, each over what the ones before it left."""
    document, one, other = new_id(), new_id(), new_id()
    created = stack("create", one, name=one, template={"servers": 1})
    updated = stack("update", one, expected_traversal=created["id"], template={"servers": 2})
    cancelled = stack("cancel", one, expected_traversal=updated["id"])
    rolled_back = stack("rollback", one, expected_traversal=cancelled["id"])
    deleted = stack("delete", one, expected_traversal=rolled_back["id"])
    failing = stack("create", other, name=other, template={"servers": 1}, disable_rollback=False)
    return [
        put(document, None),
        envelope("document.merge", document, {"patch": {"x": 1}}),
        envelope("document.delete", document, {"expected_generation": 1}),
        created,
        updated,
        cancelled,
        rolled_back,
        deleted,
        stack("set_state", one, expected_traversal=deleted["id"], status="COMPLETE"),
        failing,
        stack("set_state", other, expected_traversal=failing["id"], status="FAILED", reason="no room"),
    ]


@pytest.mark.usefixtures("service")
async def test_every_type_of_command_has_its_event_with_its_properties(client: Client, namespace: str) -> None:
    began = datetime.now(UTC).replace(microsecond=0)
    commands = chain()
    for command, event in zip(commands, await client.ask(*commands), strict=True):
        message = client.message_of(command)
        assert event["type"] == f"{command['type']}.succeeded" == message.routing_key
        assert event["id"] == outcome_id(command["id"]) == message.message_id
        assert event["source"] == f"/{namespace}" == message.app_id
        assert event["subject"] == command["subject"] == message.headers["subject"]
        assert event["causationid"] == event["correlationid"] == command["id"]
        assert (event["specversion"], event["datacontenttype"]) == ("1.0", "application/json")
        assert (event["attempt"], event["data"]["id"]) == (1, command["subject"])
        assert message.type == event["type"]
        assert message.content_type == "application/cloudevents+json"
        assert message.delivery_mode == DeliveryMode.PERSISTENT
        assert message.timestamp is not None
        assert began <= message.timestamp <= began + timedelta(minutes=2)
        assert datetime.fromisoformat(event["time"]).replace(microsecond=0) == message.timestamp
        assert message.exchange == f"{namespace}.events"


@pytest.mark.usefixtures("service")
async def test_events_say_what_became_of_the_record(client: Client) -> None:
    document_put, merge, delete, *_, set_state, failing, rolling_back = chain()
    events = await client.ask(document_put, merge, delete, failing, rolling_back)
    created, merged, deleted, failed, rollback = (event["data"] for event in events)
    assert created["record"] == {"id": document_put["subject"], "generation": 0, "body": {"é": 1}}
    assert merged["record"]["body"] == {"é": 1, "x": 1}
    assert (deleted["record"], deleted["token"], deleted["sequence"]) == (None, {"generation": 2}, 3)
    assert "template" not in failed["record"]
    assert failed["token"] == {"traversal": failing["id"], "previous_traversal": None}
    assert rollback["token"] == {"traversal": rolling_back["id"], "previous_traversal": failing["id"]}
    assert (rollback["record"]["action"], rollback["record"]["status_reason"]) == ("ROLLBACK", "no room")
    assert rollback["record"]["template"] == {}
    assert set_state["type"] == "stack.set_state"


@pytest.mark.usefixtures("service")
async def test_a_conflict_tells_everything_that_a_retry_needs(client: Client) -> None:
    document = new_id()
    winner = put(document, 0, source="/winner")
    loser = put(document, 0, attempt=3, correlationid="order 7")
    _, won, event = await client.ask(put(document, None), winner, loser)
    data = event["data"]
    assert event["type"] == "document.put.conflict"
    assert (event["correlationid"], event["attempt"]) == ("order 7", 3)
    assert (data["kind"], data["id"], data["sequence"], data["reason"]) == ("document", document, 2, "stale")
    assert (data["expected"], data["actual"]) == ({"generation": 0}, {"generation": 1})
    assert data["current"] == won["data"]["record"]
    assert data["command"] == {"type": "document.put", "subject": document, "data": loser["data"]}
    assert data["winner"] == {
        "command_id": winner["id"],
        "type": "document.put",
        "source": "/winner",
        "time": won["time"],
    }
    assert data["retry"] == {"allowed": True, "attempt": 3, "after_ms": 10}


@pytest.mark.usefixtures("service")
async def test_a_late_report_is_told_not_to_try_again(client: Client) -> None:
    subject = new_id()
    created = stack("create", subject, name=subject, template={"a": 1})
    updated = stack("update", subject, expected_traversal=created["id"], template={"a": 2})
    late = stack("set_state", subject, expected_traversal=created["id"], status="COMPLETE")
    *_, event = await client.ask(created, updated, late)
    assert event["data"]["reason"] == "superseded"
    assert event["data"]["retry"]["allowed"] is False
    assert "template" not in event["data"]["current"]


async def reply_queue(client: Client) -> tuple[str, "asyncio.Queue[AbstractIncomingMessage]"]:
    queue = await client.channel.declare_queue(exclusive=True)
    replies: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
    await queue.consume(replies.put, no_ack=True)
    return queue.name, replies


@pytest.mark.usefixtures("service")
async def test_a_reply_to_gets_a_copy_with_its_correlation_id(client: Client) -> None:
    name, replies = await reply_queue(client)
    command = put(new_id(), None)
    await client.send(command, reply_to=name, correlation_id="mine")
    [event] = await client.decided(command)
    async with asyncio.timeout(DEADLINE_S):
        reply = await replies.get()
    assert json.loads(reply.body) == event
    assert reply.body == client.bodies[command["id"]][0]
    assert (reply.correlation_id, reply.message_id, reply.type) == ("mine", event["id"], event["type"])


@pytest.mark.usefixtures("service")
async def test_a_copy_of_a_command_with_reply_to_gets_its_reply_too(client: Client) -> None:
    name, replies = await reply_queue(client)
    command = put(new_id(), None)
    await client.ask(command)
    await client.send(command, reply_to=name, correlation_id="later")
    async with asyncio.timeout(DEADLINE_S):
        reply = await replies.get()
    assert reply.body == client.bodies[command["id"]][0]
    assert reply.correlation_id == "later"


@pytest.mark.usefixtures("service")
async def test_a_reply_to_a_missing_queue_costs_nothing(client: Client) -> None:
    command, following = put(new_id(), None), put(new_id(), None)
    await client.send(command, reply_to="no.such.queue")
    await client.ask(following)
    assert [len(client.bodies[sent["id"]]) for sent in (command, following)] == [1, 1]


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize("queue", ["inbox", "dead_letters", "queries", "of a client"])
async def test_a_reply_to_inside_the_namespace_is_ignored(client: Client, namespace: str, queue: str) -> None:
    inside = f"{namespace}.{queue}"
    if queue == "of a client":
        await client.channel.declare_queue(inside, exclusive=True)
    command, following = put(new_id(), None), put(new_id(), None)
    await client.send(command, reply_to=inside)
    # The copy would have been published before the event of the command that came after it.
    await client.ask(following)
    assert await client.depth(inside) == 0
    assert {command["id"], following["id"]} == client.bodies.keys()
    assert await client.depth(f"{namespace}.dead_letters") == 0


async def test_commands_sent_without_a_service_are_decided_later_in_their_order(
    client: Client, settings: Settings
) -> None:
    document = new_id()
    commands = [put(document, None), *(put(document, expected) for expected in range(20))]
    await client.send(*commands)
    async with serving(settings, batch_size_max=4):
        events = await client.decided(*commands)
    assert [event["data"].get("token") for event in events] == [{"generation": n} for n in range(21)]
    # What arrived is the order in which it was decided.
    assert [json.loads(message.body)["causationid"] for message in client.events] == [c["id"] for c in commands]


async def test_stopping_settles_held_commands_and_notes_confirmed_batches(
    client: Client, settings: Settings, second: Connection
) -> None:
    commands = [put(new_id(), None) for _ in range(50)]
    async with serving(settings, batch_size_max=8):
        await client.flood(commands)
        await client.decided(commands[0])
    assert await second.fetchval("SELECT count(*) FROM batches WHERE confirmed_at IS NULL") == 0
    decided = await second.fetchval("SELECT count(*) FROM ledger")
    await client.until_depth(client.topology.inbox, len(commands) - decided)
    assert len(client.bodies) == decided


@pytest.mark.usefixtures("service")
async def test_an_event_is_persistent_for_a_durable_subscriber(client: Client, namespace: str) -> None:
    """A subscriber of one type of event alone: the routing key is the event's type."""
    queue = await client.channel.declare_queue(exclusive=True)
    await queue.bind(f"{namespace}.events", routing_key="document.*.conflict")
    document = new_id()
    await client.ask(put(document, None), put(document, 5))
    message = await queue.get(no_ack=True, timeout=DEADLINE_S)
    assert isinstance(message, aio_pika.IncomingMessage)
    assert message.routing_key == "document.put.conflict"
    assert message.delivery_mode == DeliveryMode.PERSISTENT


@pytest.mark.usefixtures("service")
@pytest.mark.parametrize(
    "content_type", ["text/plain; charset=Latin1", "application/cloudevents+json; charset=utf-16", "x"]
)
async def test_content_type_of_a_single_command_tells_nothing(client: Client, content_type: str) -> None:
    command = envelope("document.put", new_id(), {"expected_generation": None, "body": {}})
    await client.publish(json_bytes(command), "document.put", content_type=content_type)
    [event] = await client.decided(command)
    assert event["type"] == "document.put.succeeded"
