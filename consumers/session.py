"""The connections to the broker, with their channels: lost as a whole, and then made anew from nothing.

Nothing is restored behind our back: whoever works in a session ends with it, and what it held comes back from
the broker (aio-pika's robust connection can be back while its consumers are not: aio-pika issues 231 and 256).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, NoReturn

import aio_pika
import aiormq.abc
from aio_pika.abc import AbstractChannel
from yarl import URL

from genlock._broker_urls import brokers
from genlock._connection import Connection, connect
from genlock.consumers import wire
from genlock.consumers.tolerance import tolerate
from genlock.consumers.topology import Topology
from genlock.consumers.vitals import Activity
from genlock.service.settings import Settings

BROKER_ERRORS = (OSError, TimeoutError, aio_pika.exceptions.AMQPError, aio_pika.exceptions.ChannelInvalidStateError)
"""What aio-pika and aiormq raise when the broker is away, slow, or closes something."""


class SessionLostError(Exception):
    """The connection, one of its channels or one of its consumers is gone; the message says which and why."""


class Session:
    """Two open connections. Any of them, and any channel or consumer, that ends before its time ends the session.

    One is to consume on and one to publish on: a broker that is short of memory or disk reads nothing any more from
    those that publish, and acknowledgements and questions must not wait behind that. Opening a channel takes at most
    `timeout_s` seconds.
    """

    def __init__(self, consuming: Connection, publishing: Connection, timeout_s: float) -> None:
        self._consuming = consuming
        self._publishing = publishing
        self._timeout_s = timeout_s
        self._left: set[AbstractChannel] = set()
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        for connection in {consuming, publishing}:
            connection.close_callbacks.add(self._on_close("the connection was closed"))

    async def channel(self, *, prefetch: int = 0, confirms: bool = False, vital: bool = True) -> AbstractChannel:
        """Open a channel, with confirms one to publish on. Unless it is vital it may end without harm."""
        connection = self._publishing if confirms else self._consuming
        async with asyncio.timeout(self._timeout_s):
            channel = await connection.channel(publisher_confirms=confirms)
            if vital:
                channel.close_callbacks.add(self._on_close("a channel was closed"))
            if prefetch:
                await channel.set_qos(prefetch_count=prefetch)
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(self._on_cancel)
        return channel

    async def leave(self, channel: AbstractChannel) -> None:
        """Close a channel, which ends nothing else. Raises BROKER_ERRORS."""
        self._left.add(channel)
        async with asyncio.timeout(self._timeout_s):
            await channel.close()
        self._left.discard(channel)

    @property
    def is_lost(self) -> bool:
        """Tell whether it is of no use any more."""
        return self._lost.done()

    def on_lost(self, call: Callable[[], None]) -> None:
        """Have something called when the session is lost."""
        self._lost.add_done_callback(lambda _lost: call())

    async def wait_lost(self) -> NoReturn:
        """Wait until the session is lost, and raise SessionLostError."""
        raise SessionLostError(await asyncio.shield(self._lost))

    def lose(self, why: str) -> None:
        """Give the session up, because something in it is not as it should be."""
        if not self._lost.done():
            self._lost.set_result(why)

    def _on_close(self, what: str) -> Callable[..., None]:
        def closed(sender: Any, error: BaseException | None) -> None:
            if sender in self._left:
                return
            self.lose(f"{what}: {error}" if error else what)

        return closed

    def _on_cancel(self, frame: aiormq.spec.Basic.Cancel) -> None:
        self.lose(f"the broker cancelled consumer {frame.consumer_tag}; its queue may be gone")


def answering(settings: Settings) -> asyncio.Timeout:
    """Give the broker the time that it has to answer in.

    aiormq's own timeouts, as those of Python 3.11, lose the cancellation of a task where it meets the answer: the
    task would go on in a session that is lost, and nothing would ever end it.
    """
    return asyncio.timeout(settings.publish_timeout_s)


@contextlib.asynccontextmanager
async def asking_broker(activity: Activity, settings: Settings) -> AsyncIterator[None]:
    """Give the broker its time to answer, in which nothing else of this part moves. Raises TimeoutError."""
    with activity.waiting(settings.publish_timeout_s):
        async with answering(settings):
            yield


@contextlib.asynccontextmanager
async def open_session(settings: Settings, *, declare: bool = True) -> AsyncIterator[Session]:
    """Connect, declare the topology unless it has to be there, and close the connections in the end.

    Raises BROKER_ERRORS and TopologyError.
    """
    tolerate()
    wire.install()
    # Both to the same node of a cluster, if it can be: the session ends with either.
    urls = brokers(settings.broker, settings.heartbeat_s)
    async with asyncio.timeout(settings.publish_timeout_s), contextlib.AsyncExitStack() as opened:
        consuming = await _connect(urls, settings, "consuming")
        opened.push_async_callback(consuming.close)
        publishing = await _connect(urls, settings, "publishing")
        opened.push_async_callback(publishing.close)
        if declare:
            declaring = await consuming.channel()
            await Topology.of(settings).declare(declaring)
            await declaring.close()
        opened.pop_all()
    try:
        yield Session(consuming, publishing, settings.publish_timeout_s)
    finally:
        await asyncio.gather(consuming.close(), publishing.close())


@contextlib.asynccontextmanager
async def open_aside(settings: Settings, purpose: str) -> AsyncIterator[Session]:
    """Have a session of one connection, for what must not end the others with it. Raises BROKER_ERRORS."""
    urls = brokers(settings.broker, settings.heartbeat_s)
    async with asyncio.timeout(settings.publish_timeout_s):
        connection = await _connect(urls, settings, purpose)
    try:
        yield Session(connection, connection, settings.publish_timeout_s)
    finally:
        await connection.close()


async def _connect(urls: Sequence[URL], settings: Settings, purpose: str) -> Connection:
    return await connect(urls, settings.publish_timeout_s / 2, name=f"genlock {settings.namespace} {purpose}")
