"""Bulk messages: commands of one type in as few messages as the contract allows."""

import json
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import aio_pika

from genlock._client.outgoing import encode, is_short_text, queue_of
from genlock.errors import InvalidMessage, Undecodable
from genlock.schemas.base import JsonObject
from genlock.schemas.decode import BULK_COMMANDS_MAX, COMMAND_BYTES_MAX
from genlock.schemas.outcomes import BULK_CONTENT_TYPE, Outcome, parse_outcome
from genlock.schemas.undecodable import parse_undecodable

BRACKETS_BYTES = 2


@dataclass(frozen=True, slots=True)
class OutgoingBulk:
    """A message of several encoded envelopes. It has no id; its commands have."""

    exchange: str
    routing_key: str
    command_ids: Sequence[str]
    envelopes: Sequence[bytes]

    id = None
    command_id = None
    persistent = True

    @property
    def queue(self) -> str:
        """The queue in which it waits for a service."""
        return queue_of(self.exchange)

    def message(self) -> aio_pika.Message:
        """Encode it as an AMQP message."""
        return aio_pika.Message(
            b"[" + b",".join(self.envelopes) + b"]",
            content_type=BULK_CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            type=self.routing_key if is_short_text(self.routing_key) else None,
            timestamp=datetime.now(UTC),
        )


def bulk_messages(exchange: str, envelopes: Sequence[JsonObject]) -> Iterator[OutgoingBulk]:
    """Pack envelopes of one type into messages, in their order.

    Raises InvalidMessage if the types differ, and for a command that is too large for any message.
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
            yield _bulk_message(exchange, envelopes[0]["type"], waiting)
            waiting, size = [], BRACKETS_BYTES
        waiting.append((envelope["id"], written))
        size += len(written) + 1
    if waiting:
        yield _bulk_message(exchange, envelopes[0]["type"], waiting)


def _bulk_message(exchange: str, routing_key: str, written: Sequence[tuple[str, bytes]]) -> OutgoingBulk:
    command_ids, envelopes = zip(*written, strict=True)
    return OutgoingBulk(exchange, routing_key, command_ids, envelopes)


class BulkAnswers:
    """Gathers the outcomes of a bulk message, from one answer or several (docs/contract.md, "Bulk")."""

    def __init__(self, command_ids: Sequence[str]) -> None:
        self._command_ids = command_ids
        self._told: list[Outcome | None] = [None] * len(command_ids)
        self._waiting: dict[str, deque[int]] = {}
        """The places of the commands without an outcome yet, by id: a bulk may have copies of a command."""
        for place, command_id in enumerate(command_ids):
            self._waiting.setdefault(command_id.lower(), deque()).append(place)
        self._fault: Exception | None = None

    def add(self, body: bytes) -> bool:
        """Take an answer. Tell whether it was the last one: each command has its outcome, or something is wrong."""
        try:
            place = -1
            for event in self._events(body):
                place = self._add(event, place + 1)
        except (ValueError, Undecodable) as fault:
            self._fault = fault
        return self._fault is not None or not self._waiting

    def outcomes(self) -> list[Outcome]:
        """Return the outcomes in the order of the commands, once there is one for each.

        Raises ValueError if an answer was none, and Undecodable for a command that was not understood.
        """
        if self._fault:
            raise self._fault
        return [outcome for outcome in self._told if outcome]

    def _events(self, body: bytes) -> list[JsonObject]:
        events = json.loads(body)
        # A command that had to wait for its record is answered by itself.
        return events if isinstance(events, list) else [events]

    def _add(self, event: JsonObject, expected_place: int) -> int:
        """Take the event of one command, and return the command's place."""
        written = json.dumps(event)
        try:
            outcome = parse_outcome(written)
        except ValueError:
            if undecodable := parse_undecodable(written):
                told = undecodable.data
                raise Undecodable(
                    told.message, self._command_ids[min(expected_place, len(self._command_ids) - 1)], told.errors
                ) from None
            raise
        command_id = outcome.command_id
        places = self._waiting.get(command_id)
        # A message that was delivered again is answered again.
        if places is None:
            return expected_place
        place = places.popleft()
        if not places:
            del self._waiting[command_id]
        self._told[place] = outcome
        return place
