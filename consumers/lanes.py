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
from pamqp.commands import Basic

from genlock.consumers.deliveries import RETURNS_HEADER, writable
from genlock.consumers.publisher import PERSISTENT, Outgoing, Publisher
from genlock.consumers.session import Session
from genlock.consumers.topology import Topology, TopologyError, is_used
from genlock.service.settings import LANES_MAX, Settings

MOVED_AT_ONCE = 500

TRIES_MAX = 5

QUIET_S = 1.0
"""A queue that nothing is routed to any more is empty when nothing has come out of it for so long."""


class LanesInUseError(Exception):
    """A queue has a consumer, or somebody holds something of it; the message says which."""


async def change_lanes(session: Session, settings: Settings) -> dict[str, int]:
    """Have as many lanes as the settings say; return how many commands were moved out of which queue.

    Nothing happens where it is so already. Raises LanesInUseError, TopologyError and BROKER_ERRORS.
    """
    wanted = Topology.of(settings)
    try:
        await wanted.declare(await session.channel(vital=False))
    except TopologyError:
        return await _Change(session, wanted, settings.publish_timeout_s).make()
    return {}


class _Change:
    """A change to the wanted lanes, from whatever there is."""

    def __init__(self, session: Session, wanted: Topology, timeout_s: float) -> None:
        self._session = session
        self._wanted = wanted
        self._timeout_s = timeout_s
        self._moved: dict[str, int] = {}

    async def make(self) -> dict[str, int]:
        """Make the change."""
        wanted, channel = self._wanted, await self._session.channel(vital=False)
        if wanted.lanes > 1:
            # Before anything is changed, because the broker may lack the plugin for it.
            await wanted.declare_ring(channel)
        commands, inbox = await wanted.declare_inbox(channel)
        async with self._nobody_starts(channel, inbox):
            await inbox.bind(commands, routing_key="#")
            await channel.exchange_delete(wanted.router)
            await asyncio.gather(*(self._empty_and_delete(name) for name in await self._old_lanes()))
            for lanes in range(2, LANES_MAX + 1):
                await channel.exchange_delete(Topology(wanted.namespace, lanes).ring)
            if wanted.lanes > 1:
                await wanted.declare_lanes(channel)
                await self._move(wanted.inbox)
        return {name: count for name, count in self._moved.items() if count}

    @asynccontextmanager
    async def _nobody_starts(self, channel: AbstractChannel, inbox: AbstractQueue) -> AsyncIterator[None]:
        """Keep replicas from starting, whatever their settings, until the change is made.

        Raises LanesInUseError where some are at work.
        """
        interrupted = await is_used(await self._session.channel(vital=False), self._wanted.changing)
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
        channel = await self._session.channel(vital=False)
        _, queue = await self._wanted.declare_inbox(channel)
        _refuse_if_in_use(queue)
        for name in await self._old_lanes():
            _refuse_if_in_use(await self._wanted.declare_lane(channel, name))

    async def _old_lanes(self) -> list[str]:
        """The lanes of any number that the broker may have."""
        names = [self._wanted.several]
        for lanes in range(2, LANES_MAX + 1):
            old = Topology(self._wanted.namespace, lanes)
            probe = await self._session.channel(vital=False)
            if await is_used(probe, old.ring):
                names += old.lane_queues
            else:
                await probe.close()
        return names

    async def _empty_and_delete(self, name: str) -> None:
        channel = await self._session.channel(vital=False)
        for _ in range(TRIES_MAX):
            left = (await self._wanted.declare_lane(channel, name)).declaration_result
            if not left.message_count and not left.consumer_count:
                await channel.queue_delete(name)
                return
            await self._move(name)
        raise LanesInUseError(f"{name} could not be emptied: stop all replicas and do this again.")

    async def _move(self, source: str) -> None:
        """Publish everything that waits in a queue anew, in its order; acknowledged is what the broker has again."""
        publisher = await Publisher.on(self._session, self._timeout_s)
        channel = await self._session.channel(prefetch=MOVED_AT_ONCE)
        taking = await channel.get_underlay_channel()
        taken: asyncio.Queue[DeliveredMessage] = asyncio.Queue()
        consumer = await taking.basic_consume(source, taken.put)
        self._moved[source] = 0
        while messages := await _some(taken):
            await publisher.publish([_as_it_came(message, self._wanted.commands) for message in messages])
            await taking.basic_ack(messages[-1].delivery_tag or 0, multiple=True)
            self._moved[source] += len(messages)
        # What has come since goes back.
        await taking.basic_cancel(consumer.consumer_tag or "")
        await channel.close()


def _refuse_if_in_use(queue: AbstractQueue) -> None:
    # A consumer that was cancelled counts for as long as it holds something.
    if queue.declaration_result.consumer_count:
        raise LanesInUseError(f"{queue.name} is in use: stop all replicas first.")


async def _some(taken: "asyncio.Queue[DeliveredMessage]") -> list[DeliveredMessage]:
    """Wait for a message, and take what else has come; empty after a while of quiet."""
    try:
        first = await asyncio.wait_for(taken.get(), QUIET_S)
    except TimeoutError:
        return []
    return [first, *(taken.get_nowait() for _ in range(taken.qsize()))]


def _as_it_came(message: DeliveredMessage, exchange: str) -> Outgoing:
    came = message.header.properties
    headers = {name: value for name, value in writable(came.headers or {}).items() if name != RETURNS_HEADER}
    properties = Basic.Properties(
        content_type=came.content_type,
        content_encoding=came.content_encoding,
        headers=headers,
        delivery_mode=PERSISTENT,
        priority=came.priority,
        correlation_id=came.correlation_id,
        reply_to=came.reply_to,
        expiration=came.expiration,
        message_id=came.message_id,
        timestamp=came.timestamp,
        message_type=came.message_type,
        app_id=came.app_id,
    )
    return Outgoing(exchange, message.routing_key or "", message.body, properties.marshal(), mandatory=True)
