"""A proxy in front of RabbitMQ that reads AMQP frames, so that it can lose, hold back or change single ones."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from tests.support.proxy import Link, Proxy, Way

PROTOCOL_HEADER = b"AMQP"
METHOD, HEADER, BODY = 1, 2, 3
FRAME_END = b"\xce"

QOS = (60, 10)
CONSUME = (60, 20)
DELIVER = (60, 60)
ACK = (60, 80)


@dataclass(frozen=True)
class Frame:
    """A frame; `connection` counts the connections through the proxy from 1."""

    way: Way
    connection: int
    type: int
    channel: int
    payload: bytes

    @property
    def method(self) -> tuple[int, int] | None:
        """The numbers of its class and method; None for a frame with content."""
        if self.type != METHOD:
            return None
        return int.from_bytes(self.payload[:2], "big"), int.from_bytes(self.payload[2:4], "big")

    @property
    def data(self) -> bytes:
        """Its bytes on the wire."""
        head = bytes([self.type]) + self.channel.to_bytes(2, "big") + len(self.payload).to_bytes(4, "big")
        return head + self.payload + FRAME_END


Change = Callable[[Frame], Frame | None]
"""Returns the frame to pass on instead; None drops it."""


class FrameProxy(Proxy):
    """A proxy that passes on whole frames, each as `change` has it."""

    def __init__(self, url: str, change: Change) -> None:
        super().__init__(url)
        self.change = change
        self.holds: Callable[[Frame], bool] = lambda _frame: False
        """Which frames to hold back until `release`, while others pass."""
        self._held: list[tuple[asyncio.StreamWriter, Frame]] = []
        self._numbers: dict[Link, int] = {}

    def release(self) -> None:
        """Pass on the held frames, and stop holding any."""
        self.holds = lambda _frame: False
        held, self._held = self._held, []
        for writer, frame in held:
            writer.write(frame.data)

    async def _pass(self, way: Way, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = self._numbers.setdefault(link, len(self._numbers) + 1)
        try:
            if way is Way.REQUESTS:
                protocol = await reader.readexactly(8)
                assert protocol.startswith(PROTOCOL_HEADER)
                writer.write(protocol)
            while True:
                frame = await _read(reader, way, connection)
                changed = self.change(frame)
                if changed is None:
                    continue
                if self.holds(changed):
                    self._held.append((writer, changed))
                    continue
                writer.write(changed.data)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            return


async def _read(reader: asyncio.StreamReader, way: Way, connection: int) -> Frame:
    head = await reader.readexactly(7)
    size = int.from_bytes(head[3:], "big")
    payload = (await reader.readexactly(size + 1))[:-1]
    return Frame(way, connection, head[0], int.from_bytes(head[1:3], "big"), payload)


class LosingDeliveries:
    """Loses deliveries, as a broker does that takes them for delivered. `lost` counts them."""

    def __init__(self, which: Callable[[Frame, int], bool]) -> None:
        self._which = which
        """Told each delivery's first frame and how many were lost before; returns whether to lose it."""
        self.lost = 0
        self._losing: set[tuple[int, int]] = set()
        """The connections and channels whose content frames belong to a lost delivery."""

    def __call__(self, frame: Frame) -> Frame | None:
        if frame.way is Way.REQUESTS:
            return frame
        place = (frame.connection, frame.channel)
        if frame.type == METHOD:
            self._losing.discard(place)
            if frame.method == DELIVER and self._which(frame, self.lost):
                self.lost += 1
                self._losing.add(place)
        return None if place in self._losing and frame.type in (METHOD, HEADER, BODY) else frame


@asynccontextmanager
async def frames_proxied(url: str, change: Change = lambda frame: frame) -> AsyncIterator[FrameProxy]:
    """Put such a proxy in front of a broker for the time of the context."""
    proxy = FrameProxy(url, change)
    await proxy.accept()
    try:
        yield proxy
    finally:
        await proxy.refuse()
