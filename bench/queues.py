"""The queues of one drain: commands wait in the inbox, and events gather in a queue that nobody consumes.

Depths are asked of the broker, so that no subscriber competes for the processor while the clock runs.
"""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import aio_pika
from aio_pika.abc import AbstractChannel

from genlock.consumers.publisher import Outgoing, Publisher
from genlock.consumers.topology import Topology

PUBLISHED_AT_ONCE = 500
PUBLISH_TIMEOUT_S = 30.0


class Queues:
    """A namespace on the broker, declared as Genlock declares it, with a quorum queue for its events."""

    def __init__(self, names: Topology, channel: AbstractChannel, publisher: Publisher) -> None:
        self.namespace = names.namespace
        self._names = names
        self._channel = channel
        self._publisher = publisher
        self._collected = f"{names.namespace}.collected"

    async def declare(self) -> None:
        """Declare everything."""
        await self._names.declare(self._channel)
        collected = await self._channel.declare_queue(
            self._collected, durable=True, arguments={"x-queue-type": "quorum"}
        )
        await collected.bind(self._names.events, "#")

    async def delete(self) -> None:
        """Delete everything, messages included."""
        await self._names.delete(self._channel)
        await self._channel.queue_delete(self._collected)

    async def preload(self, commands: Sequence[Outgoing]) -> None:
        """Publish the commands, persistent, and return when the broker has confirmed every one."""
        addressed = [replace(outgoing, exchange=self._names.commands) for outgoing in commands]
        for start in range(0, len(addressed), PUBLISHED_AT_ONCE):
            await self._publisher.publish(addressed[start : start + PUBLISHED_AT_ONCE])

    async def waiting(self) -> int:
        """How many commands nobody holds."""
        return (await self._ask(self._names.inbox))[0]

    async def consumers(self) -> int:
        """How many consumers the inbox has."""
        return (await self._ask(self._names.inbox))[1]

    async def events(self) -> int:
        """How many events have been published and confirmed."""
        return (await self._ask(self._collected))[0]

    async def _ask(self, queue: str) -> tuple[int, int]:
        declared = (await self._channel.declare_queue(queue, passive=True)).declaration_result
        return declared.message_count or 0, declared.consumer_count or 0


@asynccontextmanager
async def queues(amqp_url: str) -> AsyncIterator[Queues]:
    """Declare a namespace with a random name, and delete it in the end."""
    async with await aio_pika.connect(amqp_url) as connection:
        publisher = await Publisher.on(await connection.channel(publisher_confirms=True), PUBLISH_TIMEOUT_S)
        declared = Queues(Topology(f"bench{secrets.token_hex(4)}"), await connection.channel(), publisher)
        try:
            await declared.declare()
            yield declared
        finally:
            await declared.delete()
