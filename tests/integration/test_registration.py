"""When a command consumer is registered with RabbitMQ, and how many messages it lets the broker deliver."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage

from genlock.consumers.amqp import wire
from genlock.consumers.amqp.session import open_session
from genlock.consumers.amqp.topology import CommandQueue
from genlock.consumers.commands.registration import FIRST_MESSAGES, Registration
from genlock.consumers.commands.settlement import LateDeliveries
from genlock.consumers.health.activity import Activity
from genlock.consumers.health.metrics import Metrics
from genlock.service.settings import Settings
from tests.support.harness import DEADLINE_S, Client

PREFETCH = 32
HELD_BYTES = 64 * 1024
WAITING = 100
"""How many messages wait in the queue, more than any prefetch here."""


class Consumer:
    """A registration on a channel of its own, and what the broker delivers to it."""

    def __init__(self, channel: AbstractChannel, queue: CommandQueue, settings: Settings, *, cautious: bool) -> None:
        self.activity = Activity(Metrics())
        self.late = LateDeliveries()
        self.registration = Registration(
            channel, queue, settings, self.activity, self.late, cautious=cautious, bytes_max=HELD_BYTES
        )
        self._channel = channel
        self._tags: list[int] = []
        self._delivered = asyncio.Event()

    def on_message(self, message: DeliveredMessage) -> None:
        """Take a delivery."""
        self.activity.took(again=False)
        assert message.delivery_tag is not None
        self._tags.append(message.delivery_tag)
        self._delivered.set()

    async def holds(self, client: Client, deliveries: int) -> None:
        """Wait until it holds so many deliveries, and see that the broker gives it no more of those that wait."""
        async with asyncio.timeout(DEADLINE_S):
            while len(self._tags) < deliveries:
                self._delivered.clear()
                await self._delivered.wait()
        # A message on its way to a consumer is no longer ready.
        await client.until_depth(client.topology.inbox, WAITING - deliveries)
        assert len(self._tags) == deliveries

    async def settle(self) -> None:
        """Put back what it holds, so that as many wait as before, and hold nothing any more."""
        held, self._tags = self._tags, []
        underlay = await self._channel.get_underlay_channel()
        await underlay.basic_nack(held[-1], multiple=True, requeue=True)
        self.activity.settled(len(held))


@pytest.fixture
async def channel(settings: Settings, client: Client) -> AsyncIterator[AbstractChannel]:
    """A channel of a session, with messages that wait in the inbox."""
    for _ in range(WAITING):
        await client.publish(b"{}", "document.put")
    await client.until_depth(client.topology.inbox, WAITING)
    async with open_session(settings) as session:
        yield await session.channel()


async def consumer_on(
    channel: AbstractChannel, client: Client, settings: Settings, *, cautious: bool = False, in_order: bool = False
) -> Consumer:
    few = settings.model_copy(update={"prefetch": PREFETCH})
    consumer = Consumer(channel, CommandQueue(client.topology.inbox, in_order), few, cautious=cautious)
    wire.TakeDeliveries(await channel.get_underlay_channel(), consumer.on_message)
    return consumer


async def test_first_messages_are_few_for_their_size_is_unknown(
    channel: AbstractChannel, client: Client, settings: Settings
) -> None:
    consumer = await consumer_on(channel, client, settings)
    await consumer.registration.take()
    await consumer.holds(client, FIRST_MESSAGES)


async def test_cautious_consumer_holds_one_message(
    channel: AbstractChannel, client: Client, settings: Settings
) -> None:
    consumer = await consumer_on(channel, client, settings, cautious=True)
    await consumer.registration.take()
    await consumer.holds(client, 1)


async def test_prefetch_follows_the_number_of_commands_in_a_message(
    channel: AbstractChannel, client: Client, settings: Settings
) -> None:
    """Up at once and down by halves, and only when nothing is held."""
    consumer = await consumer_on(channel, client, settings)
    consumer.registration.note_size(1, 2)
    await consumer.registration.take()
    await consumer.holds(client, PREFETCH)
    for size, messages in ((8, 4), (1, 8), (1, 16), (1, 32)):
        consumer.registration.note_size(size, 2)
        # It is registered with the old prefetch until it holds nothing.
        await consumer.registration.take()
        assert consumer.activity.registered
        await consumer.registration.cancel()
        await consumer.settle()
        await consumer.registration.take()
        await consumer.holds(client, messages)


async def test_consumer_with_far_too_much_leaves_although_it_holds_deliveries(
    channel: AbstractChannel, client: Client, settings: Settings
) -> None:
    consumer = await consumer_on(channel, client, settings)
    consumer.registration.note_size(1, 2)
    await consumer.registration.take()
    await consumer.holds(client, PREFETCH)
    consumer.registration.note_size(2, 2)
    await consumer.registration.leave_early()
    assert consumer.activity.registered, "twice as much as wanted is not far too much"
    consumer.registration.note_size(PREFETCH, 2)
    await consumer.registration.leave_early()
    assert not consumer.activity.registered
    await consumer.registration.take()
    assert not consumer.activity.registered, "held commands would lose their order"
    await consumer.settle()
    await consumer.registration.take()
    await consumer.holds(client, 1)


async def test_late_deliveries_only_reduce_the_prefetch(
    channel: AbstractChannel, client: Client, settings: Settings
) -> None:
    consumer = await consumer_on(channel, client, settings, cautious=False)
    await consumer.registration.take()
    await consumer.holds(client, FIRST_MESSAGES)
    await consumer.registration.cancel()
    late = range(1, FIRST_MESSAGES)
    consumer.late.add(late)
    consumer.activity.settled(1)
    await consumer.registration.take()
    await consumer.holds(client, FIRST_MESSAGES + 1)


async def test_consumer_of_the_inbox_is_cancelled_by_a_stop_and_keeps_what_it_holds(
    channel: AbstractChannel, client: Client, settings: Settings
) -> None:
    consumer = await consumer_on(channel, client, settings, cautious=True)
    await consumer.registration.take()
    await consumer.holds(client, 1)
    await consumer.registration.stop()
    assert (consumer.activity.registered, consumer.activity.held) == (False, 1)
    await client.until_depth(client.topology.inbox, WAITING - 1)
    await consumer.settle()
    await consumer.registration.take()
    assert not consumer.activity.registered, "it must not register any more"


async def test_consumer_of_a_lane_stays_registered_to_the_end(
    channel: AbstractChannel, client: Client, settings: Settings
) -> None:
    """The broker would deliver later messages to the next consumer at once."""
    consumer = await consumer_on(channel, client, settings, in_order=True)
    await consumer.registration.take()
    await consumer.holds(client, PREFETCH)
    consumer.registration.note_size(PREFETCH, 2)
    await consumer.registration.leave_early()
    await consumer.registration.stop()
    assert consumer.activity.registered
