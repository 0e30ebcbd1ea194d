"""Deliveries: what came from the broker, decoded, with what is needed to answer and to settle it."""

import asyncio
from collections.abc import Container
from dataclasses import replace
from typing import Any

import structlog
from aiormq.abc import DeliveredMessage
from pamqp import encode
from pamqp.commands import Basic
from pamqp.common import FieldTable

from genlock.consumers.publisher import PERSISTENT, Outgoing
from genlock.consumers.topology import DELIVERY_LIMIT, Topology
from genlock.schemas.decode import COMMAND_BYTES_MAX, Command, Undecodable, decode, decode_bulk
from genlock.schemas.media_types import media_type
from genlock.schemas.outcomes import BULK_CONTENT_TYPE, CONTENT_TYPE
from genlock.schemas.values import value
from genlock.service.ledger.events import timestamp_now

DECODE_IN_THREAD_BYTES = COMMAND_BYTES_MAX // 4
"""From this size on a message is decoded in a thread, so that a hostile one does not stop the heartbeats."""

SUSPICIOUS_RETURNS = 2
"""From this count on a delivery is decided alone, so that it takes no neighbours with it."""

SUBJECT_HEADER = "subject"
REASON_HEADER = "x-genlock-reason"
TIME_HEADER = "x-genlock-time"
RETURNS_HEADER = "x-delivery-count"
"""How often the broker has had a message back. A publisher can write it too: the broker overwrites it at a return."""

HEADERS_BYTES_MAX = 120_000
"""Of a dead letter, besides what is added: its properties stand in one frame, as a rule of at most 131,072 bytes."""

ROUTING_HEADERS = frozenset({"CC", "BCC"})
"""The broker sends copies where they say, and closes the channel over one that is not written as it should be."""

WORDS_MAX = 1_000
"""How many characters tell a header that cannot be written."""

log = structlog.get_logger()


@value
class Part:
    """A command, or what should have been one, and how it was written."""

    content: Command | Undecodable
    body: bytes


@value
class Delivery:
    """A message and what it says. `tag` belongs to the channel that it came on and to no other.

    It has one part, save a CloudEvents batch, which has one for each command.
    """

    tag: int
    routing_key: str
    properties: Basic.Properties
    parts: tuple[Part, ...]
    size: int
    """Bytes of its body."""
    bulk: bool
    returns: int
    """How often the broker has had it back, at most; 0 unless the broker itself says that it was delivered before."""
    redelivered: bool
    """Whether somebody has had it before, and may have died between deciding it and telling so."""

    @property
    def suspicious(self) -> bool:
        """Tell whether it may be what ended the processes that held it before."""
        return self.returns >= SUSPICIOUS_RETURNS

    @property
    def commands(self) -> list[Command]:
        """What of it can be decided."""
        return [part.content for part in self.parts if isinstance(part.content, Command)]

    def without(self, unknown: Container[str], reason: str) -> "Delivery":
        """Take the commands of unknown types with these ids for ones that cannot be decoded, for this reason."""
        parts = (
            Part(Undecodable(reason), part.body)
            if isinstance(part.content, Command) and part.content.unknown and part.content.id in unknown
            else part
            for part in self.parts
        )
        return replace(self, parts=tuple(parts))

    def reply_to(self, topology: Topology) -> str | None:
        """The queue that wants a copy of the outcome, None if there is none that may have one."""
        reply_to = self.properties.reply_to
        if reply_to and topology.owns(reply_to):
            log.warning("reply_to ignored", action="ignore_reply_to", reply_to=reply_to)
            return None
        return reply_to or None


async def read(message: DeliveredMessage) -> Delivery:
    """Decode a message."""
    deliver, properties = message.delivery, message.header.properties
    assert isinstance(deliver, Basic.Deliver)  # noqa: S101 - what a consumer gets, as opposed to Basic.Return
    assert deliver.delivery_tag is not None  # noqa: S101 - the protocol has it in every delivery
    routing_key = deliver.routing_key or ""
    headers = properties.headers or {}
    bulk = media_type(properties.content_type or "").name == BULK_CONTENT_TYPE
    told = (message.body, routing_key, headers.get(SUBJECT_HEADER))
    if len(message.body) < DECODE_IN_THREAD_BYTES:
        parts = _decode(*told, bulk=bulk)
    else:
        parts = await asyncio.to_thread(_decode, *told, bulk=bulk)
    redelivered = bool(deliver.redelivered)
    return Delivery(
        tag=deliver.delivery_tag,
        routing_key=routing_key,
        properties=properties,
        parts=parts,
        size=len(message.body),
        bulk=bulk,
        returns=_returns(headers) if redelivered else 0,
        redelivered=redelivered,
    )


def _returns(headers: FieldTable) -> int:
    """The count of a message that was delivered before. No more than the broker allows is believed."""
    match headers.get(RETURNS_HEADER):
        case bool():
            return 0
        case int(count):
            return min(max(count, 0), DELIVERY_LIMIT)
        case _:
            return 0


def _decode(body: bytes, routing_key: str, subject: Any, *, bulk: bool) -> tuple[Part, ...]:
    try:
        if not bulk:
            return (Part(decode(body, routing_key, subject), body),)
        contents = decode_bulk(body, routing_key)
    except Exception:
        # A fault in decoding is one message's fault, and must not stop the queue.
        log.exception("decode failed", action="decode")
        contents = Undecodable("internal error while decoding")
    if isinstance(contents, Undecodable):
        return (Part(contents, body),)
    return tuple(Part(content, written) for content, written in contents)


def dead_letter(delivery: Delivery, part: Part, reason: str, topology: Topology) -> Outgoing:
    """The message as it came, for the dead letters, with the reason and the time; of a bulk message the one part."""
    came = delivery.properties
    alone = delivery.bulk and len(part.body) < delivery.size
    headers = writable(came.headers or {})
    if alone:
        headers.pop(SUBJECT_HEADER, None)  # In a bulk message it says nothing about this part.
    properties = Basic.Properties(
        content_type=CONTENT_TYPE if alone else came.content_type,
        content_encoding=came.content_encoding,
        headers={**headers, REASON_HEADER: reason, TIME_HEADER: timestamp_now()},
        delivery_mode=PERSISTENT,
        correlation_id=came.correlation_id,
        reply_to=came.reply_to,
        message_id=came.message_id,
        timestamp=came.timestamp,
        message_type=came.message_type,
        app_id=came.app_id,
    )
    return Outgoing(
        topology.dead, delivery.routing_key, part.body, properties.marshal(), mandatory=True, tag=delivery.tag
    )


def writable(headers: FieldTable) -> FieldTable:
    """Headers as they came; one that can be read but not be written, such as a large double, is told in words.

    Those that the broker acts on are left out: it sent the copies that they ask for when the message first came. The
    others have to fit into one frame with reason and time, and so large ones are left out where there are too many.
    """
    kept: FieldTable = {}
    room = HEADERS_BYTES_MAX
    for name, header in headers.items():
        if name in ROUTING_HEADERS:
            continue
        try:
            size = len(encode.field_table({name: header}))
        except (TypeError, ValueError, ArithmeticError):
            kept[name] = repr(header)[:WORDS_MAX]
        else:
            kept[name] = header if size <= room else f"{size} bytes, for which there was no room"
        room -= len(encode.field_table({name: kept[name]}))
    return kept if room >= 0 else {}
