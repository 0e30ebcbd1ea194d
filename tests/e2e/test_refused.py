"""A broker that refuses to take an outcome: nothing is lost, nobody else waits for a client's own queue."""

from typing import Any

import aio_pika

from genlock.service.settings import Settings
from tests.factories import Json, envelope, new_id
from tests.harness import Client, serving

FULL: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}


def creation() -> Json:
    return envelope("document.put", new_id(), {"expected_generation": None, "body": {}})


async def test_events_wait_while_a_subscribers_queue_is_full_and_come_when_it_is_gone(
    settings: Settings, client: Client
) -> None:
    full = await client.channel.declare_queue(exclusive=True, arguments=FULL)
    await full.bind(client.topology.events, routing_key="#")
    commands = [creation() for _ in range(30)]
    async with serving(settings, batch_size_max=5):
        await client.send(*commands)
        # One event fits, and the next one is tried again and again: others are told of it each time.
        await client.decided(commands[1], commands[1])
        await full.delete(if_empty=False)
        await client.decided(*commands)
        await client.until_empty(client.topology.inbox)
    assert await client.depth(client.topology.dead_letters) == 0


async def test_only_what_was_refused_is_published_again(settings: Settings, client: Client) -> None:
    created = creation()
    async with serving(settings):
        await client.ask(created)
    full = await client.channel.declare_queue(exclusive=True, arguments=FULL)
    await full.bind(client.topology.events, routing_key="document.put.*")
    await client.channel.default_exchange.publish(aio_pika.Message(b"in the way"), full.name)
    refused, taken = creation(), envelope("document.merge", created["subject"], {"patch": {}})
    # Both are there before anybody consumes, so that they share a batch.
    await client.send(refused, taken)
    async with serving(settings):
        await client.decided(refused, refused, refused)
        await full.delete(if_empty=False)
        await client.until_empty(client.topology.inbox)
    assert len(client.bodies[taken["id"]]) == 1


async def test_reply_that_its_full_queue_refuses_holds_nobody_up(settings: Settings, client: Client) -> None:
    full = await client.channel.declare_queue(exclusive=True, arguments=FULL)
    commands = [creation() for _ in range(5)]
    async with serving(settings):
        await client.send(*commands, reply_to=full.name)
        await client.decided(*commands)
        after = creation()
        await client.ask(after)
    assert [len(client.bodies[command["id"]]) for command in [*commands, after]] == [1] * 6
    assert await client.depth(client.topology.dead_letters) == 0
