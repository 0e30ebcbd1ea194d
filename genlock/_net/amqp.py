"""An AMQP connection that can be abandoned: an orderly close needs a broker that answers.

aiormq's own close waits until everything written is sent, even if the broker reads nothing and the caller has given up;
and the tasks that it leaves behind keep the event loop from ending (tests/e2e/test_silent_servers.py).
"""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import Any

import aio_pika
from aio_pika.abc import TimeoutType
from aio_pika.exceptions import AMQPConnectionError, AMQPError, ConnectionClosed
from aiormq.abc import AbstractChannel, AbstractConnection, ExceptionType
from aiormq.connection import TCPTransportFactory, TLSTransportFactory, TransportFactory
from yarl import URL

from genlock._net.broker_urls import CONNECTION_TIMEOUT
from genlock._net.handshake import Handshake
from genlock._net.refusals import explained

CLOSE_TIMEOUT_S = 2.0
"""How long the broker may take to answer a close."""

NEXT_HOST = (OSError, TimeoutError, AMQPError)
"""Errors after which the next node of a cluster is tried."""

DEAD = "nothing was heard from the broker for three heartbeats"
LOST = "the connection to the broker is closed"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Transport(TransportFactory):
    """Opens the transport of one connection, and can abort it."""

    def __init__(self) -> None:
        self.handshake: Handshake | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def create(self, url: URL, **kwargs: Any) -> Streams:
        factory = TLSTransportFactory() if url.scheme == "amqps" else TCPTransportFactory()
        reader, self._writer = await factory.create(url, **kwargs)
        self.handshake = Handshake(reader)
        return reader, self._writer

    def abort(self) -> None:
        if self._writer is not None:
            self._writer.transport.abort()


class Connection(aio_pika.Connection):
    """A plain connection whose `connect` and `close` end in time even if the broker is silent."""

    def __init__(self, url: URL, **kwargs: Any) -> None:
        super().__init__(url, **kwargs)
        self._transport = _Transport()
        self.kwargs["transport_factory"] = self._transport

    async def connect(self, timeout: TimeoutType = None) -> None:  # noqa: ASYNC109 - as the base class has it
        """Connect. Raises TimeoutError and aio-pika's errors."""
        connecting = asyncio.ensure_future(super().connect())
        done: set[asyncio.Future[None]] = set()
        try:
            done, _ = await asyncio.wait({connecting}, timeout=timeout)
        finally:
            if not done:
                await self._give_up(connecting)
        if not done:
            raise TimeoutError
        if connecting.cancelled():
            # aiormq cancels the task if the broker closes the connection during the handshake.
            raise AMQPConnectionError("the broker has closed the connection at once")
        connecting.result()
        if self._transport.handshake is not None:
            self._transport.handshake.end()
        if self.transport is not None:
            _tell_losses(self.transport.connection)

    async def _give_up(self, connecting: "asyncio.Future[None]") -> None:
        """End an attempt to connect, which may have succeeded by now."""
        connecting.cancel()
        if not connecting.done():
            self._transport.abort()
            await asyncio.wait({connecting}, timeout=CLOSE_TIMEOUT_S)
        if connecting.done() and not connecting.cancelled() and connecting.exception() is None:
            await self.close()

    @property
    def handshake(self) -> Handshake | None:
        """The handshake so far; None before the transport is open."""
        return self._transport.handshake

    def __del__(self) -> None:
        """Disable aio-pika's finalizer, which starts a close and fails without a running event loop.

        The opener closes each open connection, and a connection that was never open needs no close.
        """

    async def close(self, exc: ExceptionType | None = ConnectionClosed) -> None:
        """Close in order if the broker answers soon, otherwise abort."""
        closing = asyncio.ensure_future(super().close(exc))
        # If the close fails, nothing is left to close.
        closing.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)
        finally:
            self._transport.abort()
        await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)


def _tell_losses(underlay: AbstractConnection) -> None:
    """Make a lost connection fail with an error that says so.

    aiormq closes a connection that was silent for too long with CancelledError. A task that waits for an answer on it
    would end as if it had been cancelled, which task groups ignore silently. Opening a channel on a closed connection
    raises a bare RuntimeError.
    """
    close, open_channel = underlay.close, underlay.channel

    async def told(exc: ExceptionType | None = ConnectionClosed) -> None:
        dead = exc is asyncio.CancelledError or isinstance(exc, asyncio.CancelledError)
        await close(AMQPConnectionError(DEAD) if dead else exc)

    async def channel(*args: Any, **kwargs: Any) -> AbstractChannel:
        if underlay.is_closed:
            raise AMQPConnectionError(LOST)
        return await open_channel(*args, **kwargs)

    underlay.close = told  # type: ignore[method-assign]  # of this one connection
    underlay.channel = channel  # type: ignore[method-assign]


async def connect(urls: Sequence[URL], timeout_s: float, *, name: str | None = None) -> Connection:
    """Connect to the first available broker of a cluster, which lists the connection under that name.

    Each broker gets an equal share of the time, so a silent one does not use it up. Raises aio-pika's errors.
    """
    share_s = timeout_s / len(urls)
    *others, last = urls
    for url in others:
        with contextlib.suppress(*NEXT_HOST):
            return await _connect(url, share_s, name)
    return await _connect(last, share_s, name)


async def _connect(url: URL, timeout_s: float, name: str | None) -> Connection:
    connection = Connection(url, client_properties={"connection_name": name} if name else None)
    if limit_ms := int(url.query.get(CONNECTION_TIMEOUT, 0)):
        timeout_s = min(timeout_s, limit_ms / 1000)
    try:
        await connection.connect(timeout_s)
    except Exception as error:
        if explanation := explained(error, url, connection.handshake):
            raise explanation from error
        raise
    return connection
