"""Deliveries: messages from the broker, decoded, with what it takes to answer and to settle them."""

import asyncio
from collections.abc import Container, Iterable, Sequence
from copy import copy
from dataclasses import replace
from typing import Any

import structlog
from aiormq.abc import DeliveredMessage
from pamqp import encode
from pamqp.commands import Basic
from pamqp.common import FieldTable

from genlock.consumers.amqp.binary_mode import is_binary_mode, structured
from genlock.consumers.amqp.declare import DELIVERY_LIMIT
from genlock.consumers.amqp.publisher import PERSISTENT, Outgoing
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.authors import Reader, signed
from genlock.consumers.commands.moved import original_routing_key
from genlock.schemas.decode import (
    COMMAND_BYTES_MAX,
    HAS_PRIORITY,
    Command,
    Undecodable,
    attribute,
    decode,
    decode_bulk,
    refuse,
)
from genlock.schemas.media_types import media_type
from genlock.schemas.outcomes import BULK_CONTENT_TYPE, CONTENT_TYPE
from genlock.schemas.values import value
from genlock.service.ledger.events import timestamp_now

DECODE_IN_THREAD_BYTES = COMMAND_BYTES_MAX // 8
"""A message of this size or more is decoded in a thread, so that a hostile one does not stop the heartbeats."""

SUSPICIOUS_RETURNS = 2
"""A delivery that came back so often or more is decided by itself, so that it cannot harm its neighbours."""

SUBJECT_HEADER = "subject"
REASON_HEADER = "x-genlock-reason"
TIME_HEADER = "x-genlock-time"
MOVED = "came to the inbox by the default exchange; `genlock dead retry` has a dead letter decided"
OWN = "a message of Genlock's own, not a command"

RETURNS_HEADER = "x-delivery-count"
"""How often a message was returned to the broker. A publisher can write it too; the broker overwrites it at a return.
"""

HEADERS_BYTES_MAX = 120_000
"""The limit for a dead letter's own headers. All of its properties must fit in one frame, by default of 131,072 bytes.
"""

ROUTING_HEADERS = frozenset({"CC", "BCC"})
"""The broker sends copies to the queues that they name, and closes the channel over a malformed one."""

SHOWN_CHARACTERS_MAX = 1_000
"""How many characters of a header that cannot be encoded are kept."""

log = structlog.get_logger()


@value
class Part:
    """A command, or the reason why it is none, and its bytes."""

    content: Command | Undecodable
    body: bytes


@value
class Delivery:
    """A message, decoded. `tag` belongs to the channel that it came on and to no other.

    It has one part. Only a CloudEvents batch has several, one for each command.
    """

    tag: int
    routing_key: str
    properties: Basic.Properties
    parts: tuple[Part, ...]
    size: int
    """Bytes of its body."""
    bulk: bool
    returns: int
    """How often it was returned to the broker, at most; 0 unless the broker itself says that it was delivered before.
    """
    redelivered: bool
    """Whether it was delivered before, to a consumer that may have died after deciding it and before publishing."""
    author: str | None = None
    """The user of the broker that published it; None if unknown."""
    signer: str | None = None
    """The user that publishes it again, if anything does; None if unknown."""
    exchange: str = ""
    """The exchange that it was published to; empty is the default exchange."""

    @property
    def suspicious(self) -> bool:
        """Tell whether it may have crashed the processes that held it before."""
        return self.returns >= SUSPICIOUS_RETURNS

    @property
    def commands(self) -> list[Command]:
        """Its commands that can be decided."""
        return [part.content for part in self.parts if isinstance(part.content, Command)]

    def without(self, unknown: Container[str], reason: str) -> "Delivery":
        """Treat the commands of unknown types with these ids as undecodable, for this reason."""
        parts = (
            Part(Undecodable(reason), part.body)
            if isinstance(part.content, Command) and part.content.unknown and part.content.id in unknown
            else part
            for part in self.parts
        )
        return replace(self, parts=tuple(parts))

    def reply_to(self, topology: Topology) -> str | None:
        """The queue that gets a copy of the outcome; None if none was asked for or that one may not have it."""
        reply_to = self.properties.reply_to
        # The database could not keep a copy with a NUL in its address, and then nothing would go on.
        if reply_to and (topology.owns(reply_to) or "\0" in reply_to):
            log.warning("reply_to ignored", action="ignore_reply_to", reply_to=reply_to)
            return None
        return reply_to or None


def commands_of(deliveries: Iterable[Delivery]) -> list[Command]:
    """The commands of all deliveries that can be decided, in their order."""
    return [command for delivery in deliveries for command in delivery.commands]


def split(deliveries: Sequence[Delivery], commands: int) -> tuple[list[Delivery], list[Delivery]]:
    """Deliveries with so many commands, one at least, and the rest. One that is cut in two is in both, by its tag."""
    first: list[Delivery] = []
    for number, delivery in enumerate(deliveries):
        if not commands:
            return first, list(deliveries[number:])
        there = len(delivery.commands)
        if there > commands:
            end = [place for place, part in enumerate(delivery.parts) if isinstance(part.content, Command)][commands]
            cut, rest = replace(delivery, parts=delivery.parts[:end]), replace(delivery, parts=delivery.parts[end:])
            return [*first, cut], [rest, *deliveries[number + 1 :]]
        first.append(delivery)
        commands -= there
    return first, []


async def read(message: DeliveredMessage, reader: Reader) -> Delivery:
    """Decode a message. What Genlock has published itself, under the reader's source, is no command."""
    deliver, properties = message.delivery, message.header.properties
    assert isinstance(deliver, Basic.Deliver)  # noqa: S101 - what a consumer gets, as opposed to Basic.Return
    assert deliver.delivery_tag is not None  # noqa: S101 - the protocol has it in every delivery
    routing_key = deliver.routing_key or ""
    body = message.body
    if is_binary_mode(properties):
        large = len(body) >= DECODE_IN_THREAD_BYTES
        properties, body = (
            await asyncio.to_thread(structured, properties, body) if large else structured(properties, body)
        )
    headers = properties.headers or {}
    bulk = media_type(properties.content_type or "").name == BULK_CONTENT_TYPE
    told = (body, routing_key, headers.get(SUBJECT_HEADER))
    if reader.inbox and not deliver.exchange:
        # The routing key is the name of the queue, and says nothing of a command.
        routing_key = original_routing_key(properties, body) or routing_key
        parts: tuple[Part, ...] = (Part(Undecodable(MOVED), body),)
    elif len(body) < DECODE_IN_THREAD_BYTES:
        parts = _decode(*told, bulk=bulk)
    else:
        parts = await asyncio.to_thread(_decode, *told, bulk=bulk)
    if any(_is_own(part.content, properties.app_id, reader.source) for part in parts):
        parts = tuple(_unless_own(part, properties.app_id, reader.source) for part in parts)
    author = reader.author_of(properties)
    for part in parts:
        if isinstance(part.content, Command):
            attribute(part.content, author, required=reader.require_user)
            if reader.in_order and properties.priority:
                refuse(part.content, HAS_PRIORITY)
    redelivered = bool(deliver.redelivered)
    return Delivery(
        tag=deliver.delivery_tag,
        routing_key=routing_key,
        properties=properties,
        parts=parts,
        size=len(body),
        bulk=bulk,
        returns=_returns(headers) if redelivered else 0,
        redelivered=redelivered,
        author=author,
        signer=reader.user,
        exchange=deliver.exchange or "",
    )


def _unless_own(part: Part, app_id: str | None, own_source: str) -> Part:
    return Part(Undecodable(OWN), part.body) if _is_own(part.content, app_id, own_source) else part


def _is_own(content: Command | Undecodable, app_id: str | None, own_source: str) -> bool:
    """Tell a message that Genlock has published, of whatever kind: none of them has the type of a command.

    Answered by an event, it could come back again and again where a queue of events is bound to the commands.
    A publisher may have the same source; its commands have types.
    """
    if isinstance(content, Undecodable):
        return content.attributes is not None and own_source in (content.attributes.get("source"), app_id)
    return not content.type and own_source in (content.source, app_id)


def _returns(headers: FieldTable) -> int:
    """The count of a message that was delivered before, at most the broker's limit."""
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
        # A fault in decoding concerns one message, and must not stop the queue.
        log.exception("decode failed", action="decode")
        contents = Undecodable("internal error while decoding")
    if isinstance(contents, Undecodable):
        return (Part(contents, body),)
    return tuple(Part(content, written) for content, written in contents)


def dead_letter_message(delivery: Delivery, part: Part, reason: str, topology: Topology) -> Outgoing:
    """The dead letter: the message as it came, or this part of a bulk message, with the reason and the time."""
    came = delivery.properties
    alone = delivery.bulk and len(part.body) < delivery.size
    headers = writable(came.headers or {})
    if alone:
        headers.pop(SUBJECT_HEADER, None)  # In a bulk message it says nothing about this part.
    properties = copied(
        came,
        content_type=CONTENT_TYPE if alone else came.content_type,
        delivery_mode=PERSISTENT,
        priority=None,
        expiration=None,
        **signed({**headers, REASON_HEADER: reason, TIME_HEADER: timestamp_now()}, delivery.author, delivery.signer),
    )
    return Outgoing(
        topology.dead, delivery.routing_key, part.body, properties.marshal(), mandatory=True, tag=delivery.tag
    )


def copied(came: Basic.Properties, **changes: Any) -> Basic.Properties:
    """The properties of a message that is published or kept again, with the changes.

    They are not made anew: pamqp refuses to make those with a `cluster_id`, which RabbitMQ passes on.
    """
    properties = copy(came)
    for name, changed in changes.items():
        setattr(properties, name, changed)
    return properties


def writable(headers: FieldTable) -> FieldTable:
    """Headers as they came. One that can be decoded but not encoded, such as a large double, is replaced by its text.

    Routing headers are left out: the broker sent the copies that they ask for when the message first came. The others
    must fit in one frame with reason and time, so large ones are left out if there are too many.
    """
    kept: FieldTable = {}
    room = HEADERS_BYTES_MAX
    for name, header in headers.items():
        if name in ROUTING_HEADERS:
            continue
        try:
            size = len(encode.field_table({name: header}))
        except (TypeError, ValueError, ArithmeticError):
            kept[name] = repr(header)[:SHOWN_CHARACTERS_MAX]
        else:
            kept[name] = header if size <= room else f"{size} bytes, for which there was no room"
        room -= len(encode.field_table({name: kept[name]}))
    return kept if room >= 0 else {}
