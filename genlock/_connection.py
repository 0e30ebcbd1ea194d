"""An AMQP connection that can be left: closing one properly takes a broker that answers.

aiormq's own close waits until all that was written is sent, also where nobody reads it and whoever waits for the
close has long given up; and what it leaves behind keeps the event loop from ending (tests/e2e/test_silence.py).
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

from genlock._broker_urls import CONNECTION_TIMEOUT
from genlock._handshake import Handshake
from genlock._refusals import explained

CLOSE_TIMEOUT_S = 2.0
"""How long the broker may take to say goodbye."""

NEXT_HOST = (OSError, TimeoutError, AMQPError)
"""What another node of a cluster may do better."""

DEAD = "nothing was heard from the broker for three heartbeats"
LOST = "the connection to the broker is closed"

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Transport(TransportFactory):
    """Opens the transport of one connection, and can end it at once."""

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
    """A plain connection whose `connect` and `close` end in time, whatever the broker does."""

    def __init__(self, url: URL, **kwargs: Any) -> None:
        super().__init__(url, **kwargs)
        self._transport = _Transport()
        self.kwargs["transport_factory"] = self._transport

    async def connect(self, timeout: TimeoutType = None) -> None:  # noqa: ASYNC109 - as the base class has it
        """Connect. Raises TimeoutError, and what aio-pika raises."""
        connecting = asyncio.ensure_future(super().connect())
        try:
            done, _ = await asyncio.wait({connecting}, timeout=timeout)
            if not done:
                raise TimeoutError
        finally:
            if not connecting.done():
                connecting.cancel()
                self._transport.abort()
                await asyncio.wait({connecting}, timeout=CLOSE_TIMEOUT_S)
        if connecting.cancelled():
            # By aiormq: it does so where the connection is closed while it is being opened.
            raise AMQPConnectionError("the broker has closed the connection at once")
        connecting.result()
        if self._transport.handshake is not None:
            self._transport.handshake.end()
        if self.transport is not None:
            _tell_losses(self.transport.connection)

    @property
    def handshake(self) -> Handshake | None:
        """What the broker has said so far; None before it could say anything."""
        return self._transport.handshake

    def __del__(self) -> None:
        """Leave aio-pika's way out, which begins to close it, and cannot where no event loop runs.

        What was opened is closed by those who opened it, and what could not be opened needs no closing.
        """

    async def close(self, exc: ExceptionType | None = ConnectionClosed) -> None:
        """Close properly if the broker answers soon, else leave it."""
        closing = asyncio.ensure_future(super().close(exc))
        # Where it fails there is nothing left to be closed.
        closing.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)
        finally:
            self._transport.abort()
        await asyncio.wait({closing}, timeout=CLOSE_TIMEOUT_S)


def _tell_losses(underlay: AbstractConnection) -> None:
    """Have a connection that was lost fail with an error that says so.

    aiormq closes one that was silent for too long with CancelledError. Whoever waits for an answer on it would raise
    that, and end as if somebody had cancelled its task: task groups pass over such an end without a word. And who asks
    one that is closed for a channel gets a mere RuntimeError.
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
    """Connect to the first broker of a cluster that lets us, which shows the connection under that name.

    Each has an equal share of the time, so that a silent one hides no other. Raises what aio-pika raises.
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
