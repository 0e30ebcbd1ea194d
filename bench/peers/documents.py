"""Shared by the peers' handlers: the model of a command, and the outcome events."""

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from pydantic import BaseModel

CONTENT_TYPE = "application/cloudevents+json"

Current = tuple[int, dict[str, Any]]
"""The generation and the body of a document."""


class Data(BaseModel):
    """The data of `document.put` (the first two fields) or `document.merge` (the last)."""

    expected_generation: int | None = None
    body: dict[str, Any] | None = None
    patch: dict[str, Any] | None = None


class Command(BaseModel):
    """A CloudEvents envelope."""

    id: UUID
    source: str
    type: str
    subject: str
    attempt: int = 1
    data: Data


def succeeded(command: Command, source: str, current: Current) -> str:
    """The event of an applied command."""
    return _event(command, source, "succeeded", _outcome(command, current, "record"))


def conflict(command: Command, source: str, current: Current | None) -> str:
    """The event of a conflict."""
    data = _outcome(command, current, "current") | {"expected": command.data.expected_generation}
    return _event(command, source, "conflict", data)


def _outcome(command: Command, current: Current | None, name: str) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": "document", "id": command.subject}
    if current is None:
        return data | {"sequence": 0, name: None, "token": None}
    generation, body = current
    record = {"id": command.subject, "generation": generation, "body": body}
    return data | {"sequence": generation + 1, name: record, "token": {"generation": generation}}


def _event(command: Command, source: str, verdict: str, data: dict[str, Any]) -> str:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": str(uuid5(command.id, "outcome")),
            "source": source,
            "type": f"{command.type}.{verdict}",
            "subject": command.subject,
            "time": datetime.now(UTC).isoformat(),
            "correlationid": str(command.id),
            "causationid": str(command.id),
            "attempt": command.attempt,
            "datacontenttype": "application/json",
            "data": data,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )
