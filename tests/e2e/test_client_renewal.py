"""A durable subscription leaves its channel at times, for the broker may have delivered what nobody has got."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from aio_pika.abc import AbstractIncomingMessage

import genlock
from genlock._session import Session
from genlock._subscriptions import Deliveries, Durable
from genlock.client import Client
from genlock.service.settings import Settings
from tests import harness
from tests.factories import new_id
from tests.harness import DEADLINE_S, serving

RENEWAL_S = 0.3
AT_ONCE = 3
CHANNELS = 4

pytestmark = pytest.mark.usefixtures("client")


@pytest.fixture
async def reader(settings: Settings) -> AsyncIterator[Client]:
    """A client beside a service, as the settings have it."""
    url = settings.amqp_url.get_secret_value()
    async with serving(settings), genlock.connect(url, namespace=settings.namespace) as connected:
        yield connected


@pytest.fixture
async def queue(client: harness.Client, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    """The name of a reader's queue, which is left often, and is removed in the end."""
    monkeypatch.setattr("genlock._subscriptions.RENEWAL_S", RENEWAL_S)
    name = new_id()
    yield name
    await client.channel.queue_delete(name)


def create() -> genlock.Command:
    return genlock.command(genlock.DocumentPut(expected_generation=None, body={}), subject=new_id())


async def test_what_the_broker_delivered_and_nobody_got_comes_back(
    reader: Client, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Deliveries.put
    lost: list[AbstractIncomingMessage] = []

    async def lose_first(deliveries: Deliveries, message: AbstractIncomingMessage) -> None:
        if lost:
            await put(deliveries, message)
        else:
            lost.append(message)

    monkeypatch.setattr(Deliveries, "put", lose_first)
    async with reader.events(queue=queue) as events:
        command = create()
        await reader.send(command)
        async with asyncio.timeout(DEADLINE_S):
            assert (await anext(events)).command_id == command.id
    assert len(lost) == 1


async def test_each_event_is_seen_once_on_channel_after_channel(
    reader: Client, queue: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin = Durable._begin
    begun = 0

    async def count(durable: Durable, session: Session, *, passive: bool) -> Deliveries:
        nonlocal begun
        begun += 1
        return await begin(durable, session, passive=passive)

    monkeypatch.setattr(Durable, "_begin", count)
    async with reader.events(queue=queue) as events, asyncio.timeout(DEADLINE_S):
        while begun < CHANNELS:
            commands = [create() for _ in range(AT_ONCE)]
            for command in commands:
                await reader.send(command)
            assert [(await anext(events)).command_id for _ in commands] == [command.id for command in commands]
