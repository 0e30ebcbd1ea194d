"""Holding: commands that cannot be decided leave their deliveries for the database, and come back from there later."""

import hashlib
import struct
from collections.abc import Container, Iterable, Mapping
from dataclasses import replace

from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from genlock.consumers.amqp import frames
from genlock.consumers.commands.authors import Reader
from genlock.consumers.commands.deliveries import (
    RETURNS_HEADER,
    SUBJECT_HEADER,
    Delivery,
    Part,
    copied,
    read,
    writable,
)
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import CONTENT_TYPE
from genlock.service.deciding.batch_outcomes import HeldCommand
from genlock.service.deciding.blame import hold
from genlock.service.deciding.kind import Kinds
from genlock.service.ledger.held import Claimed, HeldMessage

GIANT_RECORDS = 1_000
"""A command that touches more records than this is decided beside the others, not with them: it takes as long as a
thousand of them."""

GIANT_BYTES = 32 * GIANT_RECORDS
"""A command of fewer bytes cannot name so many."""

UNDECODED = "surrogateescape"
"""How bytes of a routing key that are no UTF-8 are kept."""

_HEADER = struct.Struct(">HHQ")
"""What stands before the properties of a message: the class of the method, 0, and the size of the body."""


def giants(deliveries: Iterable[Delivery], kinds: Kinds) -> dict[str, HeldCommand]:
    """Find the commands that touch very many records, by id."""
    found = {}
    for delivery in deliveries:
        for part in delivery.parts:
            command = part.content
            if len(part.body) >= GIANT_BYTES and isinstance(command, Command):
                records = len(kinds.footprint_of([command]).keys())
                if records > GIANT_RECORDS:
                    found[command.id] = hold(kinds, command, (), f"it touches {records} records")
    return found


def held_messages(deliveries: Iterable[Delivery], held: Mapping[str, HeldCommand]) -> list[HeldMessage]:
    """The messages of held commands, each by itself, in their order."""
    return [
        HeldMessage(
            part.content.id,
            _copy(delivery, part.content),
            delivery.exchange,
            delivery.routing_key.encode(errors=UNDECODED),
            _properties(delivery),
            part.body,
            delivery.bulk,
            held[part.content.id].records,
            held[part.content.id].why,
        )
        for delivery in deliveries
        for part in delivery.parts
        if isinstance(part.content, Command) and part.content.id in held
    ]


def _copy(delivery: Delivery, command: Command) -> bytes:
    """Tell the copies of a command apart by what they say, and by whom they want to be answered."""
    properties = delivery.properties
    told = (command.content_hash.hex(), properties.reply_to or "", properties.correlation_id or "", delivery.bulk)
    return hashlib.sha256(repr(told).encode()).digest()


def without(delivery: Delivery, command_ids: Container[str]) -> Delivery:
    """A delivery without these commands."""
    left = tuple(
        part for part in delivery.parts if not (isinstance(part.content, Command) and part.content.id in command_ids)
    )
    return delivery if len(left) == len(delivery.parts) else replace(delivery, parts=left)


async def come_back(claimed: Claimed, reader: Reader) -> Delivery:
    """Read a held message as when it came first. Its age has stood still since."""
    deliver = Basic.Deliver(
        consumer_tag="",
        delivery_tag=0,
        redelivered=True,
        exchange=claimed.exchange,
        routing_key=claimed.routing_key.decode(errors=UNDECODED),
    )
    header = frames.content_header(_HEADER.pack(60, 0, len(claimed.body)) + claimed.properties)
    # Nothing is asked of the channel, on which it is acknowledged already.
    message = DeliveredMessage(deliver, header, claimed.body, None)  # type: ignore[arg-type]
    delivery = await read(message, reader)
    return replace(delivery, bulk=claimed.bulk, parts=tuple(_younger(part, claimed) for part in delivery.parts))


def _younger(part: Part, claimed: Claimed) -> Part:
    command = part.content
    if not isinstance(command, Command) or command.time is None:
        return part
    try:
        return Part(replace(command, time=command.time + claimed.held_for), part.body)
    except OverflowError:  # It is from the last days of the calendar, which are never too old.
        return part


def _properties(delivery: Delivery) -> bytes:
    """The properties of a held message, as they travel: those that it came with, or those of one of many commands."""
    came = delivery.properties
    headers = writable(came.headers or {})
    headers.pop(RETURNS_HEADER, None)
    if delivery.bulk:
        headers.pop(SUBJECT_HEADER, None)  # In a bulk message it says nothing about this command.
    content_type = CONTENT_TYPE if delivery.bulk else came.content_type
    return copied(came, content_type=content_type, headers=headers).marshal()
