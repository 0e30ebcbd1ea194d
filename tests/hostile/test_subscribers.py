"""A subscriber does his worst with all the rights that he has, and the others' p99 stays within 5 times."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import aio_pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aiormq.abc import FieldValue

from tests.hostile.arena import Arena
from tests.hostile.roles import CHANNELS_MAX, CONNECTIONS_MAX, SUBSCRIBER, url_of

EVENTS = "genlock.events"

QUEUES = 10
PATTERNS = 200

Harm = Callable[[AbstractConnection, AbstractChannel], Awaitable[object]]


async def _full_queues(_: AbstractConnection, channel: AbstractChannel) -> None:
    """Queues that refuse every event but one."""
    for _number in range(QUEUES):
        full: dict[str, FieldValue] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = await channel.declare_queue(exclusive=True, arguments=full)
        await queue.bind(EVENTS, "document.#")


async def _queues_that_nobody_reads(_: AbstractConnection, channel: AbstractChannel) -> None:
    for _number in range(QUEUES):
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS, "document.#")


async def _patterns(_: AbstractConnection, channel: AbstractChannel) -> None:
    """Patterns that all fit each event, and take long to compare."""
    queue = await channel.declare_queue(exclusive=True)
    for number in range(PATTERNS):
        await queue.bind(EVENTS, f"document.{'#.*.' * (number % 3)}#", arguments={"number": number})


async def _never_acknowledges(_: AbstractConnection, channel: AbstractChannel) -> None:
    async def keep(_message: AbstractIncomingMessage) -> None: ...

    queue = await channel.declare_queue(exclusive=True)
    await queue.bind(EVENTS, "document.#")
    await queue.consume(keep)


async def _comes_and_goes(_: AbstractConnection, channel: AbstractChannel) -> None:
    """Binds and deletes queues without end."""
    while True:
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(EVENTS, "document.#")
        await queue.delete(if_unused=False, if_empty=False)


async def _all_channels(connection: AbstractConnection, _: AbstractChannel) -> None:
    for _number in range(CHANNELS_MAX - 1):
        await connection.channel()


HARMS: dict[str, Harm] = {
    "queues that are full": _full_queues,
    "queues that nobody reads": _queues_that_nobody_reads,
    "patterns": _patterns,
    "never acknowledges": _never_acknowledges,
    "comes and goes": _comes_and_goes,
    "all channels": _all_channels,
}
"""What a subscriber may do, by what is hostile about it."""


@asynccontextmanager
async def harming(url: str, harm: Harm) -> AsyncIterator[None]:
    """Do harm until the context ends."""
    async with await aio_pika.connect(url) as connection:
        doing = asyncio.ensure_future(harm(connection, await connection.channel()))
        await asyncio.wait({doing}, timeout=HARM_BEGINS_WITHIN_S)
        try:
            yield
        finally:
            doing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await doing


HARM_BEGINS_WITHIN_S = 1.0
"""Harm without end is under way after this."""


@pytest.mark.timeout(600)
async def test_a_subscriber_does_his_worst_and_the_others_do_not_wait(field: Arena) -> None:
    url = url_of(field.rabbit, SUBSCRIBER)
    await field.check({name: partial(harming, url, harm) for name, harm in HARMS.items()})


async def test_no_user_has_more_connections_than_the_page_allows(field: Arena) -> None:
    url = url_of(field.rabbit, SUBSCRIBER)
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(CONNECTIONS_MAX):
            await stack.enter_async_context(await aio_pika.connect(url))
        with pytest.raises((ConnectionError, aio_pika.exceptions.AMQPError)):
            await stack.enter_async_context(await aio_pika.connect(url))
