"""Sessions on a real broker: a cancellation ends the task that opens or leaves a channel, whenever it arrives."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aio_pika.abc import AbstractChannel
from aiormq.abc import AbstractConnection

from genlock._net.amqp import Connection
from genlock._net.broker_urls import brokers
from genlock.consumers.amqp.session import Session, open_session
from genlock.service.settings import Settings
from tests.support.harness import DEADLINE_S

Work = Callable[[], Awaitable[object]]
Prepare = Callable[[Session], Awaitable[Work]]


async def opening(session: Session) -> Work:
    return session.channel


async def opening_with_prefetch(session: Session) -> Work:
    return lambda: session.channel(prefetch=1, essential=False)


async def leaving(session: Session) -> Work:
    channel = await session.channel()
    return lambda: session.leave(channel)


async def cancelled_after(turns: int, work: Work) -> tuple[bool, bool]:
    """Cancel work after so many turns of the event loop; tell whether it had ended before, and whether it goes on."""
    went_on = False

    async def task() -> None:
        nonlocal went_on
        await work()
        # An await of its own, at which a cancellation that is not lost would end the task.
        await asyncio.sleep(0)
        went_on = True

    running = asyncio.create_task(task())
    for _ in range(turns):
        await asyncio.sleep(0)
    if running.done():
        return True, went_on
    running.cancel()
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.wait([running])
    return False, went_on


@pytest.mark.parametrize("prepare", [opening, opening_with_prefetch, leaving])
async def test_cancellation_is_never_lost(prepare: Prepare, settings: Settings) -> None:
    """It is tried at each turn of the event loop until the work is over before it."""
    async with open_session(settings) as session:
        turns, over = 0, False
        while not over:
            over, went_on = await cancelled_after(turns, await prepare(session))
            assert over or not went_on, f"cancelled after {turns} turns"
            turns += 1
        assert turns > 2
        assert not session.is_lost


async def test_left_channel_ends_nothing_else(settings: Settings) -> None:
    async with open_session(settings) as session:
        kept: AbstractChannel = await session.channel()
        leaving_task = asyncio.create_task(session.leave(await session.channel()))
        await asyncio.sleep(0)
        leaving_task.cancel()
        await asyncio.wait([leaving_task])
        await session.leave(await session.channel())
        assert not session.is_lost
        assert not kept.is_closed


async def test_connection_that_is_open_when_its_opening_is_cancelled_is_closed(amqp_url: str) -> None:
    opened: list[AbstractConnection] = []

    class CancelsOnceOpen(Connection):
        async def _on_connected(self) -> None:
            await super()._on_connected()
            assert self.transport is not None
            opened.append(self.transport.connection)
            connecting.cancel()

    [url] = brokers(amqp_url, heartbeat_s=15)
    connecting = asyncio.create_task(CancelsOnceOpen(url).connect(DEADLINE_S))
    await asyncio.wait([connecting])
    assert connecting.cancelled()
    assert [one.is_closed for one in opened] == [True]
