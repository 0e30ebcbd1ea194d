"""Sessions: the connections to the broker with their channels, which are lost as a whole and then opened anew.

A lost session is not restored. All work in it ends, and the broker redelivers the messages that it held.
aio-pika's robust connection can be back while its consumers are not (aio-pika issues 231 and 256).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from typing import Any, NoReturn

import aio_pika
import aiormq.abc
from aio_pika.abc import AbstractChannel
from yarl import URL

from genlock._net.amqp import Connection, connect
from genlock._net.broker_urls import brokers, login_of
from genlock.consumers.amqp import wire
from genlock.consumers.amqp.declare import declare_topology
from genlock.consumers.amqp.lenient_decoding import tolerate
from genlock.consumers.amqp.own_user import own_user
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.health.activity import Progress
from genlock.service.settings import Settings

BROKER_ERRORS = (OSError, TimeoutError, aio_pika.exceptions.AMQPError, aio_pika.exceptions.ChannelInvalidStateError)
"""What aio-pika and aiormq raise when the broker is away, slow, or closes something."""


class SessionLostError(Exception):
    """The connection, one of its channels or one of its consumers is gone; the message says which and why."""


class Session:
    """Two open connections. If either of them, a channel or a consumer ends unexpectedly, the session ends.

    One connection consumes and the other one publishes. A broker that is short of memory or disk no longer reads from
    connections that publish, and acknowledgements and questions must not wait behind that. Opening a channel takes at
    most `timeout_s` seconds.
    """

    def __init__(
        self, consuming: Connection, publishing: Connection, timeout_s: float, user: str | None = None
    ) -> None:
        self.user = user
        """The user that the broker knows it by; None if unknown."""
        self._consuming = consuming
        self._publishing = publishing
        self._timeout_s = timeout_s
        self._left: set[AbstractChannel] = set()
        self._closing: set[asyncio.Future[None]] = set()
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        for connection in {consuming, publishing}:
            connection.close_callbacks.add(self._on_close("the connection was closed"))

    async def channel(self, *, prefetch: int = 0, confirms: bool = False, essential: bool = True) -> AbstractChannel:
        """Open a channel, with `confirms` to publish on it. The session ends with an `essential` channel only."""
        connection = self._publishing if confirms else self._consuming
        async with asyncio.timeout(self._timeout_s):
            channel = await connection.channel(publisher_confirms=confirms)
            if essential:
                channel.close_callbacks.add(self._on_close("a channel was closed"))
            if prefetch:
                await channel.set_qos(prefetch_count=prefetch)
            underlay = await channel.get_underlay_channel()
            underlay.on_consumer_cancel_callbacks.add(self._on_cancel)
        heed_cancellation()
        return channel

    async def leave(self, channel: AbstractChannel) -> None:
        """Close a channel, which ends nothing else. Raises BROKER_ERRORS.

        A task of its own closes it, because aiormq swallows a cancellation that arrives meanwhile.
        """
        self._left.add(channel)
        closing = asyncio.ensure_future(channel.close())
        self._closing.add(closing)
        closing.add_done_callback(self._on_left)
        async with asyncio.timeout(self._timeout_s):
            await asyncio.shield(closing)
        self._left.discard(channel)

    @property
    def is_lost(self) -> bool:
        """Tell whether the session is lost."""
        return self._lost.done()

    def on_lost(self, call: Callable[[], None]) -> None:
        """Call something when the session is lost."""
        self._lost.add_done_callback(lambda _lost: call())

    async def wait_lost(self) -> NoReturn:
        """Wait until the session is lost, and raise SessionLostError."""
        raise SessionLostError(await asyncio.shield(self._lost))

    def lose(self, why: str) -> None:
        """Give the session up because something in it is wrong."""
        if not self._lost.done():
            self._lost.set_result(why)

    def _on_left(self, closing: "asyncio.Future[None]") -> None:
        self._closing.discard(closing)
        if not closing.cancelled():
            closing.exception()

    def _on_close(self, what: str) -> Callable[..., None]:
        def closed(sender: Any, error: BaseException | None) -> None:
            if sender in self._left:
                return
            self.lose(f"{what}: {error}" if error else what)

        return closed

    def _on_cancel(self, frame: aiormq.spec.Basic.Cancel) -> None:
        self.lose(f"the broker cancelled consumer {frame.consumer_tag}; its queue may be gone")


def heed_cancellation() -> None:
    """Raise CancelledError if this task was cancelled and goes on, because a timeout of aiormq lost the cancellation.

    For loops that open or close channels and that nothing else would end (see `answer_deadline`).
    """
    task = asyncio.current_task()
    if task and task.cancelling():
        raise asyncio.CancelledError


def answer_deadline(settings: Settings) -> asyncio.Timeout:
    """The time limit for an answer of the broker.

    aiormq's own timeouts, like those of Python 3.11, lose the cancellation of a task if the answer arrives at the same
    moment. The task would go on in a lost session, and nothing would ever end it.
    """
    return asyncio.timeout(settings.publish_timeout_s)


@contextlib.asynccontextmanager
async def awaiting_broker(progress: Progress, settings: Settings) -> AsyncIterator[None]:
    """Limit the time for an answer, and tell the monitor why nothing else moves meanwhile. Raises TimeoutError."""
    with progress.waiting(settings.publish_timeout_s):
        async with answer_deadline(settings):
            yield


@contextlib.asynccontextmanager
async def open_session(
    settings: Settings, *, declare: bool = True, exchanges: Collection[str] = (), identity: str | None = None
) -> AsyncIterator[Session]:
    """Connect, declare the topology unless `declare` is False, and close the connections in the end.

    To the topology belong the exchanges that further messages go to, and the identity of the database.
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
            await declare_topology(Topology.of(settings, exchanges, identity), declaring)
            await declaring.close()
        user = await own_user(publishing, login_of(settings.broker))
        heed_cancellation()
        opened.pop_all()
    try:
        yield Session(consuming, publishing, settings.publish_timeout_s, user)
    finally:
        await asyncio.gather(consuming.close(), publishing.close())


@contextlib.asynccontextmanager
async def open_aside(settings: Settings, purpose: str) -> AsyncIterator[Session]:
    """Open a session of one connection, for work whose failures must not end other sessions. Raises BROKER_ERRORS."""
    urls = brokers(settings.broker, settings.heartbeat_s)
    async with asyncio.timeout(settings.publish_timeout_s):
        connection = await _connect(urls, settings, purpose)
    try:
        yield Session(connection, connection, settings.publish_timeout_s)
    finally:
        await connection.close()


async def _connect(urls: Sequence[URL], settings: Settings, purpose: str) -> Connection:
    return await connect(urls, settings.publish_timeout_s / 2, name=f"genlock {settings.namespace} {purpose}")
