"""The queues of one drain: commands wait in the inbox or its lanes, and events collect in a queue without a consumer.

Events are counted by the depth of their queue, so that no subscriber takes processor time during the measurement.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import islice

import aio_pika
from aio_pika.abc import AbstractChannel

from bench.messages import Message, Wire
from genlock.consumers.amqp.declare import declare_topology, delete_topology
from genlock.consumers.amqp.topology import Topology

WRITTEN_AT_ONCE = 500
ARRIVED_POLL_S = 0.02


class Queues:
    """A namespace on the broker with Genlock's topology and a quorum queue for its events."""

    def __init__(self, names: Topology, channel: AbstractChannel, wire: Wire) -> None:
        self.namespace = names.namespace
        self._names = names
        self._channel = channel
        self._wire = wire
        self._collected = f"{names.namespace}.collected"

    async def declare(self) -> None:
        """Declare everything."""
        await declare_topology(self._names, self._channel)
        collected = await self._channel.declare_queue(
            self._collected, durable=True, arguments={"x-queue-type": "quorum"}
        )
        await collected.bind(self._names.events, "#")

    async def delete(self) -> None:
        """Delete everything, messages included."""
        await delete_topology(self._names, self._channel)
        await self._channel.queue_delete(self._collected)

    async def preload(self, messages: Iterable[Message]) -> None:
        """Publish the messages, and return when all are in the queue."""
        published, following = 0, iter(messages)
        while several := list(islice(following, WRITTEN_AT_ONCE)):
            await self._wire.write(several)
            published += len(several)
        while await self.waiting() < published:  # noqa: ASYNC110 - the broker sends no signal for it
            await asyncio.sleep(ARRIVED_POLL_S)

    async def publish(self, messages: Sequence[Message]) -> None:
        """Publish the messages without waiting for their arrival."""
        await self._wire.write(messages)

    async def waiting(self) -> int:
        """The number of messages that no consumer holds."""
        return sum([(await self._ask(queue.name))[0] for queue in self._names.command_queues])

    async def consumers(self) -> int:
        """The number of consumers of the inbox, or of the lanes and the inbox."""
        return sum([(await self._ask(queue.name))[1] for queue in self._names.command_queues])

    async def events(self) -> int:
        """The number of events published and confirmed."""
        return (await self._ask(self._collected))[0]

    async def _ask(self, queue: str) -> tuple[int, int]:
        declared = (await self._channel.declare_queue(queue, passive=True)).declaration_result
        return declared.message_count or 0, declared.consumer_count or 0


@asynccontextmanager
async def queues(amqp_url: str, lanes: int = 1) -> AsyncIterator[Queues]:
    """Declare a namespace with a random name, and delete it in the end."""
    names = Topology(f"bench{secrets.token_hex(4)}", lanes)
    async with await aio_pika.connect(amqp_url) as connection:
        # Keep a reference to the end of the block: an unreferenced channel is closed.
        wire, _writing = await Wire.open(connection, names.commands)
        declared = Queues(names, await connection.channel(), wire)
        try:
            await declared.declare()
            yield declared
        finally:
            await declared.delete()
