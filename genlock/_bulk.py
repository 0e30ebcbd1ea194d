"""Bulk: commands of one type, written into as few messages as the contract allows."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import aio_pika

from genlock._letters import encode, is_short_text, queue_of
from genlock.errors import InvalidMessage
from genlock.schemas.base import JsonObject
from genlock.schemas.decode import BULK_COMMANDS_MAX, COMMAND_BYTES_MAX
from genlock.schemas.outcomes import BULK_CONTENT_TYPE, Outcome, parse_outcome

BRACKETS_BYTES = 2


@dataclass(frozen=True, slots=True)
class BulkLetter:
    """A message of several envelopes, which are written already. It has no id: what is in it has."""

    exchange: str
    routing_key: str
    command_ids: Sequence[str]
    envelopes: Sequence[bytes]

    id = None
    command_id = None
    persistent = True

    @property
    def queue(self) -> str:
        """Where it waits for a service."""
        return queue_of(self.exchange)

    def message(self) -> aio_pika.Message:
        """Write it down."""
        return aio_pika.Message(
            b"[" + b",".join(self.envelopes) + b"]",
            content_type=BULK_CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            type=self.routing_key if is_short_text(self.routing_key) else None,
            timestamp=datetime.now(UTC),
        )


def bulk_letters(exchange: str, envelopes: Sequence[JsonObject]) -> Iterator[BulkLetter]:
    """Put envelopes of one type into letters, in their order.

    Raises InvalidMessage where the types differ, and for a command that is too large for any message.
    """
    types = {envelope["type"] for envelope in envelopes}
    if len(types) > 1:
        raise InvalidMessage(f"The commands of a bulk have one type, not {len(types)}.")
    waiting: list[tuple[str, bytes]] = []
    size = BRACKETS_BYTES
    for envelope in envelopes:
        written = encode(envelope)
        if len(written) + BRACKETS_BYTES > COMMAND_BYTES_MAX:
            raise InvalidMessage(f"The command {envelope['id']} has {len(written)} bytes, too many for a bulk.")
        if len(waiting) == BULK_COMMANDS_MAX or size + len(written) > COMMAND_BYTES_MAX:
            yield _letter(exchange, envelopes[0]["type"], waiting)
            waiting, size = [], BRACKETS_BYTES
        waiting.append((envelope["id"], written))
        size += len(written) + 1
    if waiting:
        yield _letter(exchange, envelopes[0]["type"], waiting)


def _letter(exchange: str, routing_key: str, written: Sequence[tuple[str, bytes]]) -> BulkLetter:
    command_ids, envelopes = zip(*written, strict=True)
    return BulkLetter(exchange, routing_key, command_ids, envelopes)


def read_outcomes(body: bytes) -> list[Outcome]:
    """Read the answer to a bulk. Raises ValueError."""
    return [parse_outcome(json.dumps(event)) for event in json.loads(body)]
