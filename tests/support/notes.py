"""Notes: a kind of further messages that only tests have, and a rule that gives them.

The body of a `document.put` says which notes it gives: `{"notes": [{"to": "…", "mandatory": true}]}`. One may
say another kind or exchange, as by a slip of the rule. A note is due for as long as its document is at the generation
that the note tells.
"""

import dataclasses
import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from aio_pika import ExchangeType
from aio_pika.abc import AbstractIncomingMessage, AbstractQueue

from genlock.schemas.decode import Command
from genlock.service.database.transactions import Connection
from genlock.service.deciding.kind import Kinds, RecordKind
from genlock.service.deciding.rule import Rule
from genlock.service.deciding.state import State
from genlock.service.deciding.verdicts import Decision
from genlock.service.kinds.documents.kind import DOCUMENTS
from genlock.service.kinds.documents.record import Document
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.messages import Message, MessageKind
from tests.support import database
from tests.support.factories import Json, envelope, json_bytes, new_id
from tests.support.harness import Client, until

EXCHANGE = "notes"
TYPE = "note.written"

LOCKED = "SELECT id, generation FROM documents WHERE id = ANY ($1::text[]) ORDER BY id FOR NO KEY UPDATE"


async def _due(connection: Connection, messages: Sequence[Message]) -> Collection[str]:
    rows = await connection.fetch(LOCKED, [message.record[1] for message in messages])
    generations = {row["id"]: row["generation"] for row in rows}
    return {each.id for each in messages if json.loads(each.body)["generation"] == generations.get(each.record[1])}


NOTES = MessageKind("note", _due, frozenset({EXCHANGE}))


def giving_notes(rule: Rule) -> Rule:
    """The rule of `document.put`, which gives the notes of the body too."""

    def apply(state: State, command: Command, body: Any, decided_at: str) -> Decision:
        decision = rule.apply(state, command, body, decided_at)
        notes = enumerate(body.value.get("notes", ()))
        return dataclasses.replace(
            decision, messages=tuple(_message(command, decision, decided_at, number, note) for number, note in notes)
        )

    return dataclasses.replace(rule, apply=apply)


def _message(command: Command, decision: Decision, decided_at: str, number: int, note: Mapping[str, Any]) -> Message:
    (document,) = decision.changed
    assert isinstance(document, Document)
    note_id = note_id_of(command.id, number)
    body = {"id": note_id, "type": TYPE, "subject": command.subject, "generation": document.generation}
    return Message(
        kind=note.get("kind", NOTES.name),
        record=("document", command.subject),
        exchange=note.get("exchange", EXCHANGE),
        routing_key=note["to"],
        id=note_id,
        type=TYPE,
        body=json_bytes({"specversion": "1.0", "source": "/notes", **body}),
        time=decided_at,
        subject=command.subject,
        correlation_id=command.correlationid,
        mandatory=note.get("mandatory", False),
    )


def note_id_of(command_id: str, number: int = 0) -> str:
    """The id of a command's note."""
    return str(uuid.uuid5(uuid.UUID(command_id), f"note:{number}"))


def _with_notes(kind: RecordKind) -> RecordKind:
    if kind is not DOCUMENTS:
        return kind
    rules = {**kind.rules, "document.put": giving_notes(kind.rules["document.put"])}
    return dataclasses.replace(kind, rules=rules, messages=(NOTES,))


WITH_NOTES = Kinds(*map(_with_notes, KINDS.all))
"""The kinds of the product, with notes."""


def noted(*notes: Json, subject: str | None = None, expected: int | None = None, **attributes: Any) -> Json:
    """A `document.put` that gives these notes, one to `somewhere` if there are none."""
    data = {"expected_generation": expected, "body": {"notes": notes or [{"to": "somewhere"}]}}
    return envelope("document.put", subject or new_id(), data, **attributes)


async def notes_queue(client: Client, key: str = "#", arguments: Json | None = None) -> AbstractQueue:
    """A queue for notes. Their exchange is declared too, as a replica does it."""
    exchange = await client.channel.declare_exchange(
        client.topology.exchange(EXCHANGE), ExchangeType.TOPIC, durable=True
    )
    queue = await client.channel.declare_queue(exclusive=True, arguments=arguments)
    await queue.bind(exchange, routing_key=key)
    return queue


async def taken_notes(queue: AbstractQueue, count: int) -> list[AbstractIncomingMessage]:
    """Wait for that many notes."""
    found: list[AbstractIncomingMessage] = []

    async def enough() -> bool:
        while message := await queue.get(no_ack=True, fail=False):
            found.append(message)
        return len(found) >= count

    await until(enough)
    return found


async def left_notes(queue: AbstractQueue) -> list[AbstractIncomingMessage]:
    """The notes that are there now."""
    return await taken_notes(queue, 0)


async def stored_notes(second: database.Connection) -> dict[str, bytes]:
    """The bytes of all notes in the outbox, by their ids."""
    return {row["message_id"]: row["body"] for row in await second.fetch("SELECT message_id, body FROM outbox")}


def by_id(messages: Iterable[AbstractIncomingMessage]) -> dict[str, list[bytes]]:
    """The bodies of messages by their ids."""
    found: dict[str, list[bytes]] = {}
    for message in messages:
        found.setdefault(message.message_id or "", []).append(message.body)
    return found
