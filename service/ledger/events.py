"""Outcome events: built once, stored in the ledger, and published byte for byte as they are stored."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import assert_never

from genlock.schemas.base import JsonObject, clean_json
from genlock.schemas.codes import Code, VerdictName
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import (
    UNKNOWN_COMMAND,
    ConflictData,
    RejectedData,
    SucceededData,
    Verdict,
    outcome_id,
)
from genlock.schemas.values import value

EVENT_BYTES_MAX = 4 * 1024 * 1024
CHARACTER_BYTES_MAX = 4
NO_TRACE: Mapping[str, str] = MappingProxyType({})


@value
class Event:
    """An outcome event ready to be published. `type` is its routing key, `body` its JSON."""

    id: str
    type: str
    subject: str | None
    time: str
    body: str
    command_id: str
    internal_error: bool = False
    """Whether it reports a fault in the service."""

    @classmethod
    def stored(cls, body: str) -> "Event":
        """Read back an event from the ledger."""
        attributes = json.loads(body)
        return cls(
            attributes["id"],
            attributes["type"],
            attributes.get("subject"),
            attributes["time"],
            body,
            attributes["causationid"],
            attributes["data"].get("code") == Code.INTERNAL_ERROR,
        )


def verdict_name(verdict: Verdict) -> VerdictName:
    """The name of a verdict, with which the type of its event ends."""
    match verdict:
        case SucceededData():
            return VerdictName.SUCCEEDED
        case ConflictData():
            return VerdictName.CONFLICT
        case RejectedData():
            return VerdictName.REJECTED
        case _:
            assert_never(verdict)


def timestamp(moment: datetime) -> str:
    """Format a time as RFC 3339, in UTC, with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def timestamp_now() -> str:
    """The current time as RFC 3339."""
    return timestamp(datetime.now(UTC))


def build(
    command: Command,
    verdict: Verdict,
    source: str,
    decided_at: str,
    event_id: str | None = None,
    *,
    trace_context: Mapping[str, str] = NO_TRACE,
) -> Event:
    """Build the event of a verdict. An event that is too large omits the record and the command's data.

    `trace_context` are the attributes `traceparent` and `tracestate` of a traced command; otherwise it is empty.
    """
    # No model validates the event: its inputs were validated on entry, and the rest is built here.
    attributes: JsonObject = {
        "specversion": "1.0",
        "id": event_id or outcome_id(command.id),
        "source": source,
        "type": f"{command.type or UNKNOWN_COMMAND}.{verdict_name(verdict)}",
        "subject": command.subject or None,
        "time": decided_at,
        "correlationid": command.correlationid,
        "causationid": command.id,
        "attempt": command.attempt,
        "user": command.user,
        **trace_context,
        "datacontenttype": "application/json",
    }
    body = _enveloped(attributes, verdict.model_dump_json(exclude_unset=True))
    # Encoding is skipped for texts that are too short to exceed the limit.
    if len(body) * CHARACTER_BYTES_MAX > EVENT_BYTES_MAX and len(body.encode()) > EVENT_BYTES_MAX:
        body = _enveloped(attributes, clean_json(_shortened(verdict)))
    fault = isinstance(verdict, RejectedData) and verdict.code == Code.INTERNAL_ERROR
    return Event(attributes["id"], attributes["type"], command.subject or None, decided_at, body, command.id, fault)


def _enveloped(attributes: JsonObject, data: str) -> str:
    """The JSON of the event; `data` is JSON already."""
    present = {name: value for name, value in attributes.items() if value is not None}
    return f'{clean_json(present)[:-1]},"data":{data}}}'


def _shortened(verdict: Verdict) -> JsonObject:
    """The verdict without the current state and the command's data, marked as truncated."""
    whole: JsonObject = verdict.model_dump(mode="json", exclude_unset=True)
    data = {name: value for name, value in whole.items() if name not in ("current", "command")}
    if "failures" in data:
        data["failures"] = [
            {name: value for name, value in failure.items() if name != "current"} for failure in data["failures"]
        ]
    return data | {"truncated": True}
