"""Letters: messages for the inbox as a publisher writes them, and what must become of each."""

import json
from dataclasses import dataclass
from functools import cached_property
from uuid import uuid4

from pamqp.common import FieldTable

from tests.support.factories import Json, envelope, json_bytes, new_id, received

BULK_BYTES_MAX = 10_000

UNKNOWN_TYPE = "document.paint"


@dataclass(frozen=True, eq=False)
class OutgoingMessage:
    """A message for the inbox. `command` is None where it cannot be decoded: then it must become a dead letter."""

    body: bytes
    routing_key: str
    command: Json | None = None
    code: str | None = None
    """The rejection that it must get; None where the rules of its record decide."""
    wants_reply: bool = False
    urgent: bool = False
    """Whether it is sent until it is confirmed, whatever happens."""

    @property
    def id(self) -> str:
        """The command's id."""
        assert self.command is not None
        return str(self.command["id"])

    @property
    def headers(self) -> FieldTable:
        """The AMQP headers that it travels with: by the subject lanes are chosen."""
        subject = self.command and self.command.get("subject")
        return {"subject": subject} if subject else {}

    @property
    def fits_into_bulk(self) -> bool:
        """Whether it may travel with others: JSON that is not large, whose publisher waits for no reply."""
        return self.body.startswith(b"{") and len(self.body) < BULK_BYTES_MAX and not self.wants_reply

    @cached_property
    def content_hash(self) -> bytes:
        """What the ledger keeps of its content."""
        assert self.command is not None
        return received(self.command).content_hash


def outgoing(command: Json, *, wants_reply: bool = False) -> OutgoingMessage:
    """A command in good form."""
    return OutgoingMessage(json_bytes(command), command["type"], command, wants_reply=wants_reply)


def probe() -> OutgoingMessage:
    """A command that succeeds, whatever becomes of others."""
    command = envelope("document.put", new_id(), {"expected_generation": None, "body": {}})
    return OutgoingMessage(json_bytes(command), command["type"], command, urgent=True)


def of_unknown_type() -> OutgoingMessage:
    """A command that no catalogue has."""
    command = envelope(UNKNOWN_TYPE, new_id(), {"colour": "red"})
    return OutgoingMessage(json_bytes(command), UNKNOWN_TYPE, command, code="unknown_type")


def misrouted() -> OutgoingMessage:
    """A command whose routing key says something else."""
    command = envelope("document.put", new_id(), {"expected_generation": None, "body": {}})
    return OutgoingMessage(json_bytes(command), "document.merge", command, code="routing_key_mismatch")


def without_id() -> OutgoingMessage:
    """JSON that is no command; its mark tells it from others like it."""
    return OutgoingMessage(json.dumps({"id": "none", "mark": new_id()}).encode(), "document.put")


def of_no_text() -> OutgoingMessage:
    """Bytes that are not even UTF-8, different each time."""
    return OutgoingMessage(b"\xff\xfe" + uuid4().bytes, "document.put")
