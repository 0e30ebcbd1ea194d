"""Queues that refuse messages because they are full."""

from typing import Any

import aio_pika
from aio_pika.abc import AbstractQueue

from tests.support.harness import Client

FULL: dict[str, Any] = {"x-max-length": 1, "x-overflow": "reject-publish"}
"""The arguments of a queue that refuses every message but one."""

BLOCKER = b"in the way"
"""The body of the message that fills a queue."""


async def declare_full(client: Client, key: str | None = None) -> AbstractQueue:
    """A queue that refuses all messages until it is purged. With a key it is bound to the events."""
    queue = await client.channel.declare_queue(exclusive=True, arguments=FULL)
    if key is not None:
        await queue.bind(client.topology.events, routing_key=key)
    await client.channel.default_exchange.publish(aio_pika.Message(BLOCKER), queue.name)
    return queue
