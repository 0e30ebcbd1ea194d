"""Messages made into bytes beforehand, so that whoever publishes them takes next to no processor time from the rest."""

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
"""The number of the channel that messages are made for."""

BODY_FRAME_BYTES = 131_072 - 8
"""As much of a body as fits into a frame of the size that RabbitMQ agrees to by default."""


@dataclass(frozen=True)
class Message:
    """A message, which is published by its type and needs the name of an exchange only then."""

    routing_key: str
    body: bytes
    properties: Basic.Properties

    @cached_property
    def frames(self) -> bytes:
        """Its header and its body as they travel."""
        header = ContentHeader(properties=self.properties, body_size=len(self.body))
        starts = range(0, len(self.body), BODY_FRAME_BYTES)
        bodies: list[ContentHeader | ContentBody] = [
            ContentBody(self.body[start : start + BODY_FRAME_BYTES]) for start in starts
        ]
        frames = [header, *bodies]
        return b"".join(pamqp.frame.marshal(frame, CHANNEL) for frame in frames)


class Wire:
    """A channel that messages are written on, without confirms: who writes looks himself whether they have arrived."""

    def __init__(self, channel: Underlay, exchange: str) -> None:
        self._channel = channel
        self._exchange = exchange

    @classmethod
    async def open(cls, connection: AbstractConnection, exchange: str) -> tuple["Wire", AbstractChannel]:
        """Open the channel; the second of the pair keeps it open."""
        channel = await connection.channel(CHANNEL, publisher_confirms=False)
        return cls(await channel.get_underlay_channel(), exchange), channel

    async def write(self, messages: Iterable[Message]) -> None:
        """Write messages at once, and return when the system has taken them."""
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
