"""Messages encoded beforehand, so that publishing takes almost no processor time from the measured processes."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import pamqp.frame
from aio_pika.abc import AbstractChannel, AbstractConnection
from aiormq.abc import AbstractChannel as Underlay
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

PERSISTENT = 2

CHANNEL = 77
"""The number of the channel in the encoded frames."""

BODY_FRAME_BYTES = 131_072 - 8
"""The most bytes of a body in a frame of RabbitMQ's default size."""


@dataclass(frozen=True)
class Message:
    """An encoded message. Only publishing needs the name of an exchange."""

    routing_key: str
    body: bytes
    properties: Basic.Properties

    @cached_property
    def frames(self) -> bytes:
        """The header and body frames."""
        header = ContentHeader(properties=self.properties, body_size=len(self.body))
        starts = range(0, len(self.body), BODY_FRAME_BYTES)
        bodies: list[ContentHeader | ContentBody] = [
            ContentBody(self.body[start : start + BODY_FRAME_BYTES]) for start in starts
        ]
        frames = [header, *bodies]
        return b"".join(pamqp.frame.marshal(frame, CHANNEL) for frame in frames)


class Wire:
    """A channel without confirms. The caller has to check that the messages have arrived."""

    def __init__(self, channel: Underlay, exchange: str) -> None:
        self._channel = channel
        self._exchange = exchange

    @classmethod
    async def open(cls, connection: AbstractConnection, exchange: str) -> tuple["Wire", AbstractChannel]:
        """Open a channel. Keep a reference to the second value of the pair, which keeps the channel open."""
        channel = await connection.channel(CHANNEL, publisher_confirms=False)
        return cls(await channel.get_underlay_channel(), exchange), channel

    async def write(self, messages: Iterable[Message]) -> None:
        """Write messages at once; return when the operating system has taken them."""
        payload = b"".join(
            part for message in messages for part in (_publish(self._exchange, message.routing_key), message.frames)
        )
        drained = asyncio.get_running_loop().create_future()
        assert isinstance(self._channel, Channel)  # noqa: S101 - the one class of channels that aiormq has
        await self._channel.write_queue.put(ChannelFrame(payload=payload, should_close=False, drain_future=drained))
        await drained


@lru_cache
def _publish(exchange: str, routing_key: str) -> bytes:
    return pamqp.frame.marshal(Basic.Publish(exchange=exchange, routing_key=routing_key), CHANNEL)
