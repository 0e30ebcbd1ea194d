"""Outgoing messages, and their encoding."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import aio_pika

from genlock.errors import InvalidMessage
from genlock.schemas.base import JsonObject, compact_json
from genlock.schemas.decode import READABLE_BYTES_MAX
from genlock.schemas.envelope import read_id
from genlock.schemas.outcomes import CONTENT_TYPE

SHORT_TEXT_BYTES_MAX = 255
"""The limit of AMQP for a property such as message_id, and for a name."""


@dataclass(frozen=True, slots=True)
class OutgoingMessage:
    """An envelope for an exchange. A `persistent` message survives a restart of the broker."""

    exchange: str
    routing_key: str
    envelope: JsonObject
    persistent: bool = True

    @property
    def id(self) -> str | None:
        return read_id(self.envelope)

    @property
    def queue(self) -> str:
        """The queue in which it waits for a service. With lanes it is a lane, but services consume the inbox too."""
        return queue_of(self.exchange)

    @property
    def command_id(self) -> str | None:
        """The id that an error names; None for a query, which changes nothing and can be repeated."""
        return self.id if self.persistent else None

    def message(self) -> aio_pika.Message:
        """Encode it as an AMQP message. The properties repeat parts of the envelope for tools, if they fit."""
        subject = self.envelope.get("subject")
        return aio_pika.Message(
            encode(self.envelope),
            content_type=CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT if self.persistent else None,
            message_id=self.id,
            type=_property(self.envelope.get("type")),
            app_id=_property(self.envelope.get("source")),
            timestamp=datetime.now(UTC),
            headers={"subject": subject} if isinstance(subject, str) else None,
        )


def queue_of(exchange: str) -> str:
    """The queue in which messages to an exchange arrive, and which every service of the namespace consumes."""
    namespace, _, name = exchange.rpartition(".")
    return f"{namespace}.queries" if name == "reads" else f"{namespace}.inbox"


def encode(envelope: JsonObject) -> bytes:
    """Encode an envelope as JSON. Raises InvalidMessage if that is impossible or the result is too large."""
    try:
        body = compact_json(envelope).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(f"This cannot be written as JSON: {error}.") from error
    if len(body) > READABLE_BYTES_MAX:
        raise InvalidMessage(f"The message has {len(body)} bytes; at most {READABLE_BYTES_MAX} can be read.")
    return body


def is_short_text(value: Any) -> bool:
    """Tell whether a value fits into an AMQP property or a name."""
    return isinstance(value, str) and len(value.encode()) <= SHORT_TEXT_BYTES_MAX


def _property(value: Any) -> str | None:
    return value if is_short_text(value) else None
