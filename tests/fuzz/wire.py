"""Messages as bytes on the wire, so that they can be what no client library would write."""

import asyncio
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aio_pika.abc import AbstractChannel
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel

FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_END = 1, 2, 3, b"\xce"
BASIC, PUBLISH = 60, 40

FLAGS = {
    "content_type": 15,
    "content_encoding": 14,
    "headers": 13,
    "delivery_mode": 12,
    "priority": 11,
    "correlation_id": 10,
    "reply_to": 9,
    "expiration": 8,
    "message_id": 7,
    "timestamp": 6,
    "message_type": 5,
    "user_id": 4,
    "app_id": 3,
    "cluster_id": 2,
}
"""The properties of a message in their order on the wire, with the bit of each."""


def short(text: bytes) -> bytes:
    """A short string: at most 255 bytes."""
    return bytes([len(text)]) + text


def long(data: bytes) -> bytes:
    """Anything that is preceded by its length."""
    return struct.pack(">I", len(data)) + data


def table(fields: Sequence[tuple[bytes, bytes]]) -> bytes:
    """A table; each value is the letter of its type and what belongs to it. A name may come twice."""
    return long(b"".join(short(name) + value for name, value in fields))


@dataclass(frozen=True)
class Message:
    """A message and its properties, each as its bytes on the wire."""

    body: bytes
    routing_key: bytes
    properties: Mapping[str, bytes] = field(default_factory=dict)

    def frames(self, channel: int, exchange: str, content_max: int) -> bytes:
        """All frames that publish it."""
        publish = struct.pack(">HHH", BASIC, PUBLISH, 0) + short(exchange.encode()) + short(self.routing_key) + b"\0"
        flags = sum(1 << FLAGS[name] for name in self.properties)
        header = struct.pack(">HHQH", BASIC, 0, len(self.body), flags)
        header += b"".join(self.properties[name] for name in FLAGS if name in self.properties)
        parts = [self.body[start : start + content_max] for start in range(0, len(self.body), content_max)]
        return b"".join(
            struct.pack(">BHI", kind, channel, len(payload)) + payload + FRAME_END
            for kind, payload in (
                (FRAME_METHOD, publish),
                (FRAME_HEADER, header),
                *((FRAME_BODY, part) for part in parts),
            )
        )


async def publish(channel: AbstractChannel, exchange: str, messages: Sequence[Message]) -> None:
    """Publish all messages at once and return when the broker has confirmed each of them."""
    underlay = await channel.get_underlay_channel()
    assert isinstance(underlay, Channel)
    confirms = []
    async with underlay.lock:
        for message in messages:
            underlay.delivery_tag += 1
            confirms.append(underlay.create_future())
            underlay.confirmations[underlay.delivery_tag] = confirms[-1]
            payload = message.frames(underlay.number, exchange, underlay.max_content_size)
            await underlay.write_queue.put(ChannelFrame(payload, should_close=False))
    await asyncio.gather(*confirms)
