"""Queues and exchanges that the broker has with other arguments than Genlock's: the start names them."""

from typing import Any

import pytest

from genlock.consumers.amqp.topology import Topology
from genlock.consumers.process.starting import StartError
from genlock.service.settings import Settings
from tests.support.harness import Client, serving


async def declared_otherwise(client: Client, queue: str, **arguments: Any) -> None:
    """Make a queue of the namespace anew, with arguments besides Genlock's."""
    await client.channel.queue_delete(queue)
    named = {f"x-{name.replace('_', '-')}": argument for name, argument in arguments.items()}
    await client.channel.declare_queue(queue, durable=True, arguments={"x-queue-type": "quorum", **named})


INBOX = {
    "delivery_limit": 100,
    "dead_letter_strategy": "at-least-once",
    "overflow": "reject-publish",
}


@pytest.mark.parametrize(
    ("queue", "arguments", "argument"),
    [
        ("inbox", INBOX | {"message_ttl": 60_000}, "x-message-ttl"),
        ("inbox", INBOX | {"max_length": 10}, "x-max-length"),
        ("inbox", INBOX | {"max_length_bytes": 1_000}, "x-max-length-bytes"),
        ("inbox", INBOX | {"overflow": "drop-head"}, "x-overflow"),
        ("inbox", INBOX | {"delivery_limit": 5}, "x-delivery-limit"),
        ("inbox", INBOX | {"expires": 60_000}, "x-expires"),
        ("inbox", INBOX | {"single_active_consumer": True}, "x-single-active-consumer"),
        ("dead_letters", {"delivery_limit": 1_000_000, "max_length": 10}, "x-max-length"),
        ("dead_letters", {"delivery_limit": 1_000_000, "message_ttl": 60_000}, "x-message-ttl"),
        ("queries", {"message_ttl": 5}, "x-message-ttl"),
    ],
)
async def test_queue_with_other_arguments_is_refused_by_a_sentence_that_names_both(
    client: Client, settings: Settings, queue: str, arguments: dict[str, Any], argument: str
) -> None:
    name = getattr(client.topology, queue)
    dead = {"dead_letter_exchange": client.topology.dead} if queue == "inbox" else {}
    await declared_otherwise(client, name, **arguments, **dead)
    refusal = rf"^The queue {name} has another {argument} than Genlock's \(.+\): stop all replicas, delete the queue"
    with pytest.raises(StartError, match=refusal):
        async with serving(settings):
            pass
    await client.channel.queue_delete(name)
    async with serving(settings):
        pass


async def test_exchange_of_another_type_is_refused_by_a_sentence_that_names_it(
    client: Client, settings: Settings
) -> None:
    topology = Topology.of(settings)
    await client.channel.exchange_delete(topology.events)
    await client.channel.declare_exchange(topology.events, "fanout", durable=True)
    with pytest.raises(StartError, match=rf"^The exchange {topology.events} has another type than Genlock's"):
        async with serving(settings):
            pass
