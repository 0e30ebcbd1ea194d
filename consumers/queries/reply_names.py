"""The names of direct replies, and which of them the broker is known to read.

A name has the external form of a process id. Before version 4.2 RabbitMQ ends the connection that publishes to a
process of a node that it does not know, or to one whose numbers are too large for its release of Erlang.
"""

import base64
import binascii
import re

from genlock.schemas.values import value

PREFIX = "amq.rabbitmq.reply-to"

ORIGINS_MAX = 100
"""How many nodes, at most, are remembered as known to the broker."""

_NAME = re.compile(rf"{re.escape(PREFIX)}\.(?P<process>[A-Za-z0-9+/]+=*)\.(?P<key>[A-Za-z0-9+/]+=*)")

_PROCESS = re.compile(
    # The external form of a process id: the node that it is of, two numbers, and which start of the node it is of.
    rb"(?P<node>\x83X(?:[ws](?P<short>.)|[dv](?P<long>..))(?P<name>.+))(?P<number>.{4})(?P<serial>.{4})(?P<creation>.{4})",
    re.DOTALL,
)

_SAFE_BITS = (15, 13)
"""How large a number and a serial every release of Erlang reads. Newer ones write, and read, larger ones."""


@value
class Sender:
    """The parts of a reply name's process id that decide whether the broker can read the name."""

    origin: bytes
    """Its node, and which start of that."""
    bits: tuple[int, int]
    """How large its number and its serial are."""


def sender_of(reply_to: str) -> Sender | None:
    """Read a name that is written as RabbitMQ 3.10 to 4.2 write the names of direct replies; None for any other."""
    found = _NAME.fullmatch(reply_to)
    if found is None:
        return None
    try:
        process, _key = (base64.b64decode(part, validate=True) for part in found.groups())
    except binascii.Error:
        return None
    parts = _PROCESS.fullmatch(process)
    if parts is None or int.from_bytes(parts["short"] or parts["long"], "big") != len(parts["name"]):
        return None
    number, serial = (int.from_bytes(parts[name], "big").bit_length() for name in ("number", "serial"))
    return Sender(parts["node"] + parts["creation"], (number, serial))


class Origins:
    """The nodes of which the broker is known to read names, each with the largest numbers that it has read."""

    def __init__(self) -> None:
        self._read: dict[bytes, tuple[int, int]] = {}

    def note(self, reply_to: str) -> None:
        """Note that the broker has read a name, or has written it."""
        if sender := sender_of(reply_to):
            number, serial = self._read.pop(sender.origin, _SAFE_BITS)
            self._read[sender.origin] = max(number, sender.bits[0]), max(serial, sender.bits[1])
            if len(self._read) > ORIGINS_MAX:
                del self._read[next(iter(self._read))]

    def vouch_for(self, reply_to: str) -> bool:
        """Tell whether the broker is known to read names like this one."""
        sender = sender_of(reply_to)
        read = self._read.get(sender.origin) if sender else None
        return bool(sender and read and sender.bits[0] <= read[0] and sender.bits[1] <= read[1])
