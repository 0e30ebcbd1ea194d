"""Changing the number of lanes: every command goes through the inbox, so that it has a way at any time.

First the inbox takes what comes, and the old lanes are emptied into it and deleted; then the new ones take over, and
the inbox is emptied into them. A change that was interrupted is taken up by making it again. Within a queue and within
a record the order is kept; only what comes during the change may overtake what had come before.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aio_pika.abc import AbstractChannel, AbstractQueue, ExchangeType
from aiormq.abc import DeliveredMessage

from genlock.consumers.amqp.declare import (
    TopologyError,
    declare_inbox,
    declare_lane,
    declare_lanes,
    declare_ring,
    declare_topology,
    is_used,
)
from genlock.consumers.amqp.publisher import PERSISTENT, Outgoing, Publisher
from genlock.consumers.amqp.session import Session
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.authors import Reader, signed
from genlock.consumers.commands.deliveries import RETURNS_HEADER, copied, writable
from genlock.service.settings import LANES_MAX, Settings

MOVED_AT_ONCE = 500

TRIES_MAX = 5

QUIET_S = 1.0
"""A queue that nothing is routed to any more is empty when nothing has come out of it for so long."""


class LanesInUseError(Exception):
    """A queue has a consumer, or a client holds messages of it; the message says which."""


async def change_lanes(session: Session, settings: Settings, *, quiet_s: float = QUIET_S) -> dict[str, int]:
    """Change the number of lanes to that of the settings; return how many commands were moved out of which queue.

    Does nothing if the broker already has that many. Raises LanesInUseError, TopologyError and BROKER_ERRORS.
    """
    wanted = Topology.of(settings)
    try:
        await declare_topology(wanted, await session.channel(essential=False))
    except TopologyError:
        return await _Change(session, wanted, settings.publish_timeout_s, quiet_s).make()
    return {}


class _Change:
    """A change to the wanted lanes, from any number of them."""

    def __init__(self, session: Session, wanted: Topology, timeout_s: float, quiet_s: float) -> None:
        self._session = session
        self._wanted = wanted
        self._reader = Reader("", session.user)
        self._timeout_s = timeout_s
        self._quiet_s = quiet_s
        self._moved: dict[str, int] = {}

    async def make(self) -> dict[str, int]:
        """Make the change."""
        wanted, channel = self._wanted, await self._session.channel(essential=False)
        if wanted.lanes > 1:
            # Before anything is changed, because the broker may lack the plugin for it.
            await declare_ring(wanted, channel)
        commands, inbox = await declare_inbox(wanted, channel)
        async with self._blocking_starts(channel, inbox):
            await inbox.bind(commands, routing_key="#")
            await channel.exchange_delete(wanted.router)
            await asyncio.gather(*(self._empty_and_delete(name) for name in await self._old_lanes()))
            for lanes in range(2, LANES_MAX + 1):
                await channel.exchange_delete(Topology(wanted.namespace, lanes).ring)
            if wanted.lanes > 1:
                await declare_lanes(wanted, channel)
                await self._move(wanted.inbox)
        return {name: count for name, count in self._moved.items() if count}

    @asynccontextmanager
    async def _blocking_starts(self, channel: AbstractChannel, inbox: AbstractQueue) -> AsyncIterator[None]:
        """Keep replicas with any settings from starting until the change is made.

        Raises LanesInUseError if some are at work.
        """
        interrupted = await is_used(await self._session.channel(essential=False), self._wanted.changing)
        changing = await channel.declare_exchange(self._wanted.changing, ExchangeType.FANOUT, durable=True)
        await inbox.bind(changing)
        try:
            await self._refuse_if_in_use()
        except LanesInUseError:
            if not interrupted:
                await channel.exchange_delete(changing.name)
            raise
        yield
        await channel.exchange_delete(changing.name)

    async def _refuse_if_in_use(self) -> None:
        channel = await self._session.channel(essential=False)
        _, queue = await declare_inbox(self._wanted, channel)
        _refuse_if_in_use(queue)
        for name in await self._old_lanes():
            _refuse_if_in_use(await declare_lane(self._wanted, channel, name))

    async def _old_lanes(self) -> list[str]:
        """The lanes of any number that the broker may have."""
        names = [self._wanted.multi_record]
        for lanes in range(2, LANES_MAX + 1):
            old = Topology(self._wanted.namespace, lanes)
            probe = await self._session.channel(essential=False)
            if await is_used(probe, old.ring):
                names += old.lane_queues
            else:
                await self._session.leave(probe)
        return names

    async def _empty_and_delete(self, name: str) -> None:
        channel = await self._session.channel(essential=False)
        for _ in range(TRIES_MAX):
            left = (await declare_lane(self._wanted, channel, name)).declaration_result
            if not left.message_count and not left.consumer_count:
                await channel.queue_delete(name)
                return
            await self._move(name)
        raise LanesInUseError(f"{name} could not be emptied: stop all replicas and do this again.")

    async def _move(self, source: str) -> None:
        """Publish all messages of a queue anew, in their order. Each is acknowledged when its copy is confirmed."""
        publisher = await Publisher.on(self._session, self._timeout_s)
        channel = await self._session.channel(prefetch=MOVED_AT_ONCE)
        taking = await channel.get_underlay_channel()
        taken: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        consumer = await taking.basic_consume(source, taken.put)
        self._moved[source] = 0
        while messages := await _some(taken, self._quiet_s):
            reader, commands = self._reader, self._wanted.commands
            await publisher.publish([_unchanged_copy(message, commands, reader) for message in messages])
            await taking.basic_ack(messages[-1].delivery_tag or 0, multiple=True)
            self._moved[source] += len(messages)
        # The deliveries since then go back to the queue.
        await taking.basic_cancel(consumer.consumer_tag or "")
        await self._session.leave(channel)


def _refuse_if_in_use(queue: AbstractQueue) -> None:
    # A consumer that was cancelled counts for as long as it holds something.
    if queue.declaration_result.consumer_count:
        raise LanesInUseError(f"{queue.name} is in use: stop all replicas first.")


async def _some(taken: "asyncio.Queue[DeliveredMessage]", quiet_s: float) -> list[DeliveredMessage]:
    """Wait for a message, and take what else has come; empty after a while of quiet."""
    try:
        first = await asyncio.wait_for(taken.get(), quiet_s)
    except TimeoutError:
        return []
    return [first, *(taken.get_nowait() for _ in range(taken.qsize()))]


def _unchanged_copy(message: DeliveredMessage, exchange: str, reader: Reader) -> Outgoing:
    came = message.header.properties
    headers = {name: value for name, value in writable(came.headers or {}).items() if name != RETURNS_HEADER}
    author = signed(headers, reader.author_of(came), reader.user)
    properties = copied(came, delivery_mode=PERSISTENT, **author)
    return Outgoing(exchange, message.routing_key or "", message.body, properties.marshal(), mandatory=True)
