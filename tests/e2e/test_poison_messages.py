"""A command that kills the process which decides it is isolated, and rejected in the end; its neighbours succeed."""

import asyncio
import json
import os
import struct

import pytest
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pydantic import SecretStr

from genlock.consumers.commands.authors import Reader
from genlock.consumers.commands.deliveries import RETURNS_HEADER, SUSPICIOUS_RETURNS, read
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.suspects import CRASHES_MAX
from genlock.service.settings import Settings
from tests.fuzz.wire import Message, long, publish, table
from tests.support.database import Connection
from tests.support.factories import Json, envelope, json_bytes, merge, new_id, put
from tests.support.forked import start_module
from tests.support.harness import DEADLINE_S, Client, serving, until, until_waiting
from tests.support.proxy import proxied

STARTS_MAX = 10


@pytest.mark.parametrize("bulk", [False, True])
async def test_command_that_kills_its_process_is_given_up_and_its_neighbours_succeed(
    database_url: str, amqp_url: str, client: Client, second: Connection, bulk: bool
) -> None:
    before, deadly, after = (
        envelope("document.put", subject, {"expected_generation": None, "body": {}})
        for subject in ("before", "deadly", "after")
    )
    await (client.send_bulk([before, deadly, after]) if bulk else client.send(before, deadly, after))

    deaths = await _start_until_decided(database_url, amqp_url, client, deadly["id"])

    # Twice with its neighbours, for the broker's count says nothing before; then alone.
    assert deaths == 2 + CRASHES_MAX
    types = [event["type"] for event in await client.decided(before, deadly, after)]
    assert types == ["document.put.succeeded", "document.put.rejected", "document.put.succeeded"]
    (rejected,) = set(client.bodies[deadly["id"]])
    assert json.loads(rejected)["data"]["code"] == "internal_error"
    (dead_letter,) = await client.drain(client.topology.dead_letters)
    assert json.loads(dead_letter.body)["id"] == deadly["id"]
    assert await second.fetchval("SELECT count(*) FROM suspects") == 0


async def _start_until_decided(database_url: str, amqp_url: str, client: Client, command_id: str) -> int:
    """Start replicas one after the other; return how many died before the command was decided."""
    variables = {
        "GENLOCK_DATABASE_URL": database_url,
        "GENLOCK_AMQP_URL": amqp_url,
        "GENLOCK_NAMESPACE": client.topology.namespace,
        "GENLOCK_HTTP_PORT": "0",
    }
    for deaths in range(STARTS_MAX):
        replica = await start_module(
            "tests.e2e.programs.crash_on_command",
            env=os.environ | variables,
            stderr=asyncio.subprocess.DEVNULL,
        )
        died = asyncio.create_task(replica.wait())
        answered = asyncio.create_task(client.decided({"id": command_id}))
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait({died, answered}, return_when=asyncio.FIRST_COMPLETED)
        if answered.done():
            replica.terminate()
            assert await died == 0
            return deaths
        answered.cancel()
    raise AssertionError(f"{STARTS_MAX} replicas died")


async def send_suspicious(client: Client, command: Json) -> None:
    """Publish a command, and give it back to the broker as often as makes it suspicious."""
    await client.send(command)
    inbox = await client.channel.get_queue(client.topology.inbox)
    for _ in range(SUSPICIOUS_RETURNS):
        await client.until_depth(client.topology.inbox, 1)
        await (await inbox.get()).reject(requeue=True)
    await client.until_depth(client.topology.inbox, 1)


async def lock_document(second: Connection, decider: Decider) -> str:
    """Make a document, and lock all of them until the transaction of the second connection ends."""
    document = new_id()
    await decider.decide([put(document, None)])
    await second.execute("LOCK TABLE documents")
    return document


async def check_applied(client: Client, second: Connection, settings: Settings, command: Json) -> None:
    async with serving(settings):
        [event] = await client.decided(command)
    assert event["type"] == "document.merge.succeeded"
    assert await client.depth(client.topology.dead_letters) == 0
    assert await second.fetchval("SELECT count(*) FROM suspects") == 0


@pytest.mark.parametrize("decide_timeout_s", [10.0, 0.2], ids=["while it is decided", "in trouble with the database"])
async def test_stops_in_good_order_are_not_counted_as_deaths(
    client: Client, second: Connection, settings: Settings, decider: Decider, decide_timeout_s: float
) -> None:
    async with second.transaction():
        command = envelope("document.merge", await lock_document(second, decider), {"patch": {}})
        await send_suspicious(client, command)
        for _ in range(CRASHES_MAX + 1):
            async with serving(settings, shutdown_timeout_s=0.2, decide_timeout_s=decide_timeout_s):
                await until_waiting(second, 1)
            await client.until_depth(client.topology.inbox, 1)
    await check_applied(client, second, settings, command)


async def test_lost_sessions_of_many_replicas_are_not_counted_as_deaths(
    client: Client, second: Connection, settings: Settings, decider: Decider, amqp_url: str
) -> None:
    async with second.transaction(), proxied(amqp_url) as broker:
        command = envelope("document.merge", await lock_document(second, decider), {"patch": {}})
        await send_suspicious(client, command)
        for _ in range(CRASHES_MAX + 1):
            async with serving(settings, amqp_url=SecretStr(broker.url)) as service:
                await until_waiting(second, 1)
                await broker.refuse()

                async def lost(ready: asyncio.Event = service.ready) -> bool:
                    return not ready.is_set()

                await until(lost)
            await client.until_depth(client.topology.inbox, 1)
            await broker.accept()
    await check_applied(client, second, settings, command)


async def test_suspect_that_was_decided_is_answered_from_the_ledger_however_many_died(
    client: Client, second: Connection, settings: Settings, decider: Decider
) -> None:
    document = new_id()
    command = merge(document, {})
    _, event = (await decider.decide([put(document, None), command])).events
    await second.execute("INSERT INTO suspects (id, times) VALUES ($1, $2)", command.id, CRASHES_MAX + 5)
    copy = envelope("document.merge", document, {"patch": {}}, id=command.id)
    await send_suspicious(client, copy)
    await check_applied(client, second, settings, copy)
    assert client.bodies[command.id] == [event.body.encode()]


COUNTS = {
    "9": b"l" + struct.pack(">q", 9),
    "all": b"l" + struct.pack(">q", 2**62),
    "true": b"t\x01",
    "text": b"S" + long(b"9"),
}


@pytest.mark.parametrize("count", COUNTS)
async def test_count_of_returns_that_a_publisher_wrote_parts_no_batch(
    client: Client, settings: Settings, count: str
) -> None:
    """The broker alone can say that a message was delivered before."""
    commands = [envelope("document.put", new_id(), {"expected_generation": None, "body": {}}) for _ in range(50)]
    headers = {"headers": table([(RETURNS_HEADER.encode(), COUNTS[count])])}
    messages = [Message(json_bytes(command), b"document.put", headers) for command in commands]
    await publish(client.channel, client.topology.commands, messages)
    async with serving(settings) as service:
        await client.decided(*commands)
        batches = service.registry.get_sample_value("genlock_batch_size_count")
    assert batches is not None
    assert batches < len(commands) / 2


async def test_count_of_returns_that_a_publisher_wrote_is_the_brokers_once_it_came_back(client: Client) -> None:
    headers = {"headers": table([(RETURNS_HEADER.encode(), COUNTS["9"])])}
    await publish(client.channel, client.topology.commands, [Message(b"{}", b"document.put", headers)])
    underlay = await client.channel.get_underlay_channel()
    counted = []
    for _ in range(SUSPICIOUS_RETURNS + 1):
        await client.until_depth(client.topology.inbox, 1)
        delivery = await read(as_delivered(await underlay.basic_get(client.topology.inbox)), Reader("/tests"))
        counted.append(delivery.returns)
        await underlay.basic_reject(delivery.tag, requeue=True)
    assert counted == list(range(SUSPICIOUS_RETURNS + 1))


def as_delivered(message: DeliveredMessage) -> DeliveredMessage:
    """A message that was fetched, as a consumer gets it."""
    got = message.delivery
    assert isinstance(got, Basic.GetOk)
    deliver = Basic.Deliver("", got.delivery_tag, got.redelivered, got.exchange, got.routing_key)
    return DeliveredMessage(deliver, message.header, message.body, message.channel)
