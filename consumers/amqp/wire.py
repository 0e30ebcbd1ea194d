"""AMQP frames, many at a time: what aiormq does frame by frame, done for all that a read or a write brings.

aiormq awaits three reads, takes a lock and passes a queue for each frame, starts a task for each delivery, and keeps a
future for each confirm. That is well for a few messages a second, and was half of the processor time that a command
took. Only this module and the publisher know aiormq's insides: `FrameReceiver.get_frame`, `Channel.frames`, and the
queue of frames to write.
"""

import asyncio
import struct
from collections.abc import Callable
from struct import Struct
from typing import Any

import aiormq.connection
import pamqp.frame
from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.channel import Channel
from aiormq.connection import FrameReceiver
from aiormq.exceptions import AMQPConnectionError, InvalidFrameError
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.exceptions import PAMQPException
from pamqp.header import ContentHeader

from genlock.consumers.amqp import frames

READ_BYTES = 2**17

METHOD, HEADER, BODY, END = 1, 2, 3, 0xCE

_HEAD = Struct(">BHI")
"""How each frame begins: its type, its channel, and the size of the payload."""

_BASIC_PUBLISH = Struct(">HHH").pack(60, 40, 0)
_CONTENT_HEADER = Struct(">HHQ")
_END = bytes([END])

CONTENT_TYPE, HEADERS, DELIVERY_MODE, CORRELATION_ID = 1 << 15, 1 << 13, 1 << 12, 1 << 10
MESSAGE_ID, TIMESTAMP, TYPE, APP_ID = 1 << 7, 1 << 6, 1 << 5, 1 << 3
"""The flags of the properties that a message has; the values follow in this order."""

Confirm = Basic.Ack | Basic.Nack


def install() -> None:
    """Let connections that are opened from now on read as much as there is at once. It may be called again."""
    aiormq.connection.FrameReceiver = _Receiver  # type: ignore[misc]


class _Receiver(FrameReceiver):
    """Cuts frames out of what one read has brought, instead of reading three times for each."""

    def __init__(self, reader: asyncio.StreamReader) -> None:
        super().__init__(reader)
        self._bytes = b""
        self._at = 0

    async def get_frame(self) -> Any:
        """The next frame with its size and its channel. Raises AMQPConnectionError where the peer is gone."""
        if not self.started:
            return await super().get_frame()
        while (frame := self._cut()) is None:
            try:
                more = await self.reader.read(READ_BYTES)
            except OSError as error:
                raise AMQPConnectionError(f"the connection was lost: {error!r}") from error
            if not more:
                raise AMQPConnectionError("the server closed the connection")
            self._bytes = self._bytes[self._at :] + more
            self._at = 0
        return frame

    def _cut(self) -> Any:
        data, start = self._bytes, self._at + _HEAD.size
        if len(data) <= start:
            return None
        kind, channel, size = _HEAD.unpack_from(data, self._at)
        end = start + size
        if len(data) <= end:
            return None
        at, self._at = self._at, end + 1
        if data[end] == END and (value := _of_a_message(kind, data[start:end])):
            return self._at - at, channel, value
        try:
            return pamqp.frame.unmarshal(data[at : self._at])
        except PAMQPException as error:
            raise InvalidFrameError(str(error)) from error


def _of_a_message(kind: int, payload: bytes) -> Basic.Deliver | ContentHeader | ContentBody | None:
    """Read one of the frames that a message has; None for any other, and for one that is badly written."""
    if kind == BODY:
        return ContentBody(payload)
    try:
        if kind == HEADER:
            return frames.content_header(payload)
        if payload.startswith(frames.DELIVER):
            return frames.deliver(payload)
    except (ValueError, IndexError, struct.error):
        # Then pamqp reads it, or raises an error that names the fault.
        return None
    return None


class _Tap:
    """Stands where a channel's frames are queued, and takes some of them itself."""

    def __init__(self, channel: AbstractChannel) -> None:
        assert isinstance(channel, Channel)  # noqa: S101 - the one class of channels that aiormq has
        self._channel = channel
        self._queue = channel.frames
        channel.frames = self  # type: ignore[assignment]

    async def put(self, item: tuple[int, Any]) -> None:
        if not self._take(item[1]):
            await self._queue.put(item)

    async def get(self) -> tuple[int, Any]:
        item: tuple[int, Any] = await self._queue.get()
        return item

    def task_done(self) -> None:
        self._queue.task_done()

    def _take(self, frame: Any) -> bool:
        """Tell whether the frame is dealt with."""
        raise NotImplementedError


async def not_called(_message: DeliveredMessage) -> None:
    """Stand for a consumer on a channel whose deliveries are taken before aiormq sees them."""
    raise NotImplementedError


def _always(_size: int) -> bool:
    return True


def _never(_tag: int, _size: int) -> None:
    raise NotImplementedError


class TakeDeliveries(_Tap):
    """Hands over each message as soon as its last frame is there, whichever consumer of the channel it is for.

    `has_room` is asked for the bytes of each body before it comes. Without room the body is not kept, and `refuse` gets
    the delivery tag and these bytes in its place.
    """

    def __init__(
        self,
        channel: AbstractChannel,
        take: Callable[[DeliveredMessage], None],
        has_room: Callable[[int], bool] = _always,
        refuse: Callable[[int, int], None] = _never,
    ) -> None:
        super().__init__(channel)
        self._hand_over = take
        self._has_room = has_room
        self._refuse = refuse
        self._keeping = True
        self._delivery: Basic.Deliver | None = None
        self._header: ContentHeader
        self._parts: list[bytes] = []
        self._missing = 0

    def _take(self, frame: Any) -> bool:
        if isinstance(frame, Basic.Deliver):
            self._delivery = frame
            return True
        if self._delivery is None:
            return False
        if isinstance(frame, ContentHeader):
            self._header = frame
            self._missing = frame.body_size
            self._keeping = self._has_room(frame.body_size)
        elif isinstance(frame, ContentBody):
            if self._keeping:
                self._parts.append(frame.value)
            self._missing -= len(frame.value)
        else:
            return False
        if self._missing == 0 and not self._keeping:
            delivery, self._delivery = self._delivery, None
            self._refuse(delivery.delivery_tag or 0, self._header.body_size)
        elif self._missing == 0:
            body = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            message = DeliveredMessage(self._delivery, self._header, body, self._channel)
            self._delivery, self._parts = None, []
            self._hand_over(message)
        return True


class TakeConfirms(_Tap):
    """Hands over each confirm, which may stand for many messages, and tells of each message that came back.

    Of that it tells the exchange, and the message id if it has one. The broker returns a message before it confirms it.
    """

    def __init__(
        self, channel: AbstractChannel, take: Callable[[Confirm], None], returned: Callable[[str, str | None], None]
    ) -> None:
        super().__init__(channel)
        self._hand_over = take
        self._tell_returned = returned
        self._returned = Basic.Return()

    def _take(self, frame: Any) -> bool:
        if isinstance(frame, Basic.Ack | Basic.Nack):
            self._hand_over(frame)
        elif isinstance(frame, Basic.Return):
            self._returned = frame
        elif isinstance(frame, ContentHeader):
            # Only returned messages have a content here.
            self._tell_returned(self._returned.exchange or "", frame.properties.message_id)
        elif not isinstance(frame, ContentBody):
            return False
        return True


def publish(
    channel: Channel, exchange: str, routing_key: str, properties: bytes, body: bytes, *, mandatory: bool = False
) -> bytes:
    """The frames of one message on a channel: basic.publish, its header, and its body in parts."""
    number, part_bytes_max = channel.number, channel.max_content_size
    method = b"".join((_BASIC_PUBLISH, _short(exchange), _short(routing_key), b"\1" if mandatory else b"\0"))
    header = _CONTENT_HEADER.pack(60, 0, len(body)) + properties
    frames = [
        _HEAD.pack(METHOD, number, len(method)),
        method,
        _END,
        _HEAD.pack(HEADER, number, len(header)),
        header,
        _END,
    ]
    for start in range(0, len(body), part_bytes_max):
        part = body[start : start + part_bytes_max]
        frames += (_HEAD.pack(BODY, number, len(part)), part, _END)
    return b"".join(frames)


def properties(
    *,
    content_type: str,
    subject: str | None,
    delivery_mode: int,
    correlation_id: str | None,
    message_id: str,
    timestamp: int,
    message_type: str,
    app_id: str,
) -> bytes:
    """The properties of a message as they travel; `timestamp` in seconds since 1970, `subject` in the headers."""
    flags = CONTENT_TYPE | DELIVERY_MODE | MESSAGE_ID | TIMESTAMP | TYPE | APP_ID
    headers = correlation = b""
    if subject is not None:
        flags |= HEADERS
        text = subject.encode()
        table = b"\x07subjectS" + len(text).to_bytes(4, "big") + text
        headers = len(table).to_bytes(4, "big") + table
    if correlation_id is not None:
        flags |= CORRELATION_ID
        correlation = _short(correlation_id)
    return b"".join(
        (
            flags.to_bytes(2, "big"),
            _short(content_type),
            headers,
            bytes([delivery_mode]),
            correlation,
            _short(message_id),
            timestamp.to_bytes(8, "big"),
            _short(message_type),
            _short(app_id),
        )
    )


def _short(text: str) -> bytes:
    """A text of at most 255 bytes. Raises OverflowError for a longer one."""
    encoded = text.encode()
    return len(encoded).to_bytes(1, "big") + encoded
