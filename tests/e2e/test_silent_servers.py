"""A server says nothing more, and does not hang up either: that is noticed, waited out or left, never for ever."""

import asyncio
from time import monotonic

import aio_pika
import pytest

import genlock
from genlock._net import amqp
from genlock.consumers.process.serve import Service
from genlock.service.database import transactions
from genlock.service.settings import Settings
from tests.support.documents import creation
from tests.support.factories import Json, envelope, json_bytes, new_id
from tests.support.harness import Client, serving, until
from tests.support.proxy import Proxy, Way

LARGE_BYTES = 500_000
LINGER_S = 2 * amqp.CLOSE_TIMEOUT_S + transactions.GIVE_UP_TIMEOUT_S + 2 * transactions.CLOSE_TIMEOUT_S + 2.0
"""How much longer than the time for a shutdown an end may take, with both servers silent: the connections of the
session and those of direct replies are left one after the other, then a transaction, then both pools. Two seconds are
for a machine with other work."""


async def until_publishing(service: Service, for_s: float = 0.2) -> None:
    """Return when the broker has left a replica waiting for its confirms for so long."""

    async def waiting() -> bool:
        return service._activity.publishing_s() > for_s

    await until(waiting)


async def until_held(service: Service) -> None:
    """Return when the replica holds deliveries."""

    async def held() -> bool:
        return service._activity.held_s() > 0

    await until(held)


async def test_connections_to_the_database_that_went_dead_are_replaced_and_nothing_is_redelivered(
    client: Client, remote: Settings, database: Proxy
) -> None:
    commands = [creation() for _ in range(5)]
    async with serving(remote, decide_timeout_s=0.5):
        await client.ask(creation())
        database.half_open()
        events = await client.ask(*commands)
    assert {event["type"] for event in events} == {"document.put.succeeded"}
    assert all(len(bodies) == 1 for bodies in client.bodies.values())


async def test_connections_to_the_broker_that_went_dead_are_made_anew(
    client: Client, remote: Settings, broker: Proxy
) -> None:
    """By the heartbeats alone, which takes the time of some."""
    async with serving(remote, heartbeat_s=2):
        await client.ask(creation())
        broker.half_open()
        events = await client.ask(*(creation() for _ in range(5)))
    assert {event["type"] for event in events} == {"document.put.succeeded"}


async def test_outcomes_that_a_slow_broker_confirms_late_are_published_once(
    client: Client, remote: Settings, broker: Proxy
) -> None:
    commands, publish_timeout_s = [creation() for _ in range(5)], 0.2
    async with serving(remote, publish_timeout_s=publish_timeout_s) as service:
        await client.ask(creation())
        broker.stall({Way.REQUESTS})
        await client.send(*commands)
        # No call waits for a late reply any more, and such a reply does not end the session.
        query = aio_pika.Message(json_bytes(envelope("document.get", "x", {})), reply_to="nowhere")
        await client.channel.default_exchange.publish(query, client.topology.queries)
        await until_publishing(service, 5 * publish_timeout_s)
        broker.resume()
        await client.decided(*commands)
        last = creation()
        await client.ask(last)
    assert all(len(bodies) == 1 for bodies in client.bodies.values())


@pytest.mark.parametrize("silent", ["broker", "database", "both"])
async def test_a_stop_ends_in_time_though_a_server_is_silent(
    client: Client, remote: Settings, broker: Proxy, database: Proxy, silent: str
) -> None:
    """With more on its way to the broker than the buffers take, closing the connection would wait without end."""
    first = creation(body={"text": "x" * LARGE_BYTES})
    late = {"expected_generation": 7, "body": {"text": "y" * LARGE_BYTES}}
    commands = [envelope("document.put", first["subject"], late) for _ in range(8)]
    async with serving(remote, shutdown_timeout_s=0.5) as service:
        await client.ask(first)
        if silent != "database":
            broker.stall({Way.REQUESTS})
        if silent != "broker":
            database.stall()
        await client.send(*commands, reply_to="nowhere")
        await until_held(service)
        if silent == "broker":
            await until_publishing(service)
        began = monotonic()
    assert monotonic() - began < 0.5 + LINGER_S
    broker.resume()
    database.resume()
    async with serving(remote):
        await client.decided(*commands)


@pytest.mark.parametrize("silent", ["broker", "database"])
async def test_a_stop_while_a_start_waits_for_a_server_is_the_end_at_once(
    remote: Settings, broker: Proxy, database: Proxy, silent: str
) -> None:
    server = broker if silent == "broker" else database
    server.stall()

    async def asked() -> bool:
        return bool(server._links)

    service = Service(remote)
    running = asyncio.create_task(service.run())
    await until(asked)
    service.stop()
    async with asyncio.timeout(LINGER_S):
        await running


async def test_a_client_is_closed_in_time_though_the_broker_is_silent(client: Client, broker: Proxy) -> None:
    def put(body: Json) -> genlock.Command:
        return genlock.command(genlock.DocumentPut(expected_generation=None, body=body), subject=new_id())

    others = asyncio.all_tasks()
    async with asyncio.timeout(LINGER_S + 1.0):
        async with genlock.connect(broker.url, namespace=client.topology.namespace, timeout_s=1.0) as author:
            await author.publish(put({}))
            broker.stall({Way.REQUESTS})
            sending = [author.publish(put({"text": "x" * LARGE_BYTES})) for _ in range(40)]
            answers = await asyncio.gather(*sending, return_exceptions=True)
    assert {type(answer) for answer in answers} == {genlock.NoAnswer}
    # A task that still waits for the broker would keep the event loop from ending.
    assert not [task for task in asyncio.all_tasks() - others if "aiormq" in repr(task)]
