"""One connection to the broker, with its channels: lost as a whole, and then made anew from nothing.

Nothing is restored behind our back: whoever works in a session ends with it, and what it held comes back from
the broker (aio-pika's robust connection can be back while its consumers are not: aio-pika issues 231 and 256).
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from typing import Any, NoReturn

import aio_pika
import aiormq.abc
from aio_pika.abc import AbstractChannel, AbstractConnection
from yarl import URL

from genlock.consumers import wire
from genlock.consumers.tolerance import tolerate
from genlock.consumers.topology import Topology
from genlock.service.settings import Settings

BROKER_ERRORS = (OSError, TimeoutError, aio_pika.exceptions.AMQPError, aio_pika.exceptions.ChannelInvalidStateError)
"""What aio-pika and aiormq raise when the broker is away, slow, or closes something."""

CLOSE_TIMEOUT_S = 5.0


class SessionLostError(Exception):
    """The connection, one of its channels or one of its consumers is gone; the message says which and why."""


class Session:
    """An open connection. Any channel or consumer that ends before its time ends the session."""

    def __init__(self, connection: AbstractConnection) -> None:
        self._connection = connection
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        connection.close_callbacks.add(self._on_close("the connection was closed"))

    async def channel(self, *, prefetch: int = 0, confirms: bool = False) -> AbstractChannel:
        """Open a channel."""
        channel = await self._connection.channel(publisher_confirms=confirms)
        channel.close_callbacks.add(self._on_close("a channel was closed"))
        if prefetch:
            await channel.set_qos(prefetch_count=prefetch)
        underlay = await channel.get_underlay_channel()
        underlay.on_consumer_cancel_callbacks.add(self._on_cancel)
        return channel

    async def wait_lost(self) -> NoReturn:
        """Wait until the session is lost, and raise SessionLostError."""
        raise SessionLostError(await asyncio.shield(self._lost))

    def lose(self, why: str) -> None:
        """Give the session up, because something in it is not as it should be."""
        if not self._lost.done():
            self._lost.set_result(why)

    def _on_close(self, what: str) -> Callable[..., None]:
        def closed(_sender: Any, error: BaseException | None) -> None:
            self.lose(f"{what}: {error}" if error else what)

        return closed

    def _on_cancel(self, frame: aiormq.spec.Basic.Cancel) -> None:
        self.lose(f"the broker cancelled consumer {frame.consumer_tag}; its queue may be gone")


@contextlib.asynccontextmanager
async def open_session(settings: Settings) -> AsyncIterator[Session]:
    """Connect, declare the topology, and close the connection in the end.

    Raises BROKER_ERRORS and TopologyError.
    """
    url = URL(settings.amqp_url.get_secret_value())
    if "heartbeat" not in url.query:
        url = url.update_query(heartbeat=settings.heartbeat_s)
    topology = Topology(settings.namespace)
    tolerate()
    wire.install()
    connection = await aio_pika.connect(
        url, timeout=settings.publish_timeout_s, client_properties={"connection_name": f"genlock {settings.namespace}"}
    )
    try:
        async with asyncio.timeout(settings.publish_timeout_s):
            declaring = await connection.channel()
            await topology.declare(declaring)
            await declaring.close()
        yield Session(connection)
    finally:
        with contextlib.suppress(*BROKER_ERRORS):
            await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT_S)
