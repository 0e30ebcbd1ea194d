"""A durable subscription replaces its channel at times, because the broker may believe that an event was delivered."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager

import pytest

import genlock
from genlock._client.subscriptions import durable
from genlock.client import Client
from genlock.schemas.outcomes import parse_outcome
from genlock.service.settings import Settings
from tests.support import harness
from tests.support.documents import creating
from tests.support.factories import new_id
from tests.support.frame_proxy import CONSUME, Frame, LosingDeliveries, frames_proxied
from tests.support.harness import DEADLINE_S, serving

RENEWAL_S = 0.3
AT_ONCE = 3
CHANNELS = 4

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture
async def queue(client: harness.Client) -> AsyncIterator[str]:
    """The name of a reader's queue, which is removed in the end."""
    name = new_id()
    yield name
    await client.channel.queue_delete(name)


def subscribed(reader: Client, settings: Settings, queue: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
    """A subscription through a queue to all events, whose channel is replaced often."""
    return durable(reader._link, f"{settings.namespace}.events", "#", queue, renewal_s=RENEWAL_S)


async def test_an_event_that_is_lost_on_its_way_comes_back(settings: Settings, queue: str) -> None:
    events = f"{settings.namespace}.events".encode()
    losing = LosingDeliveries(lambda frame, lost: not lost and events in frame.payload)
    async with (
        serving(settings),
        frames_proxied(settings.amqp_url.get_secret_value(), losing) as broker,
        genlock.connect(broker.url, namespace=settings.namespace) as reader,
        subscribed(reader, settings, queue) as bodies,
    ):
        command = creating()
        await reader.send(command)
        async with asyncio.timeout(DEADLINE_S):
            assert parse_outcome(await anext(bodies)).command_id == command.id
    assert losing.lost == 1


async def test_each_event_is_seen_once_on_channel_after_channel(settings: Settings, queue: str) -> None:
    begun = 0

    def count(frame: Frame) -> Frame:
        nonlocal begun
        begun += frame.method == CONSUME and queue.encode() in frame.payload
        return frame

    async with (
        serving(settings),
        frames_proxied(settings.amqp_url.get_secret_value(), count) as broker,
        genlock.connect(broker.url, namespace=settings.namespace) as reader,
        subscribed(reader, settings, queue) as bodies,
        asyncio.timeout(DEADLINE_S),
    ):
        while begun < CHANNELS:
            commands = [creating() for _ in range(AT_ONCE)]
            for command in commands:
                await reader.send(command)
            seen = [parse_outcome(await anext(bodies)).command_id for _ in commands]
            assert seen == [command.id for command in commands]
