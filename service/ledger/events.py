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

    @classmethod
    def stored(cls, body: str) -> "Event":
        """Read back an event from the ledger."""
        attributes = json.loads(body)
        return cls(attributes["id"], attributes["type"], attributes.get("subject"), attributes["time"], body)


def is_internal_error(event: Event) -> bool:
    """Tell whether an event says that the service has failed on its command."""
    if not event.type.endswith(f".{VerdictName.REJECTED}"):
        return False
    code: str = json.loads(event.body)["data"]["code"]
    return code == Code.INTERNAL_ERROR


def verdict_name(verdict: Verdict) -> VerdictName:
    """The word for a verdict, which ends the type of its event."""
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
    """Write a moment as RFC 3339, in UTC, with microseconds."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def timestamp_now() -> str:
    """Write the present moment as RFC 3339."""
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
    """Build the event of a verdict; one that is too large leaves out what its reader can fetch or has sent.

    `trace_context` are the attributes `traceparent` and `tracestate`, where there is a trace.
    """
    # What came in was checked on entry, and what is added here is made here: no model of an event is made of it.
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
        **trace_context,
        "datacontenttype": "application/json",
    }
    body = _enveloped(attributes, verdict.model_dump_json(exclude_unset=True))
    # Most are so short that their bytes need not be counted.
    if len(body) * CHARACTER_BYTES_MAX > EVENT_BYTES_MAX and len(body.encode()) > EVENT_BYTES_MAX:
        body = _enveloped(attributes, clean_json(_shortened(verdict)))
    return Event(attributes["id"], attributes["type"], command.subject or None, decided_at, body)


def _enveloped(attributes: JsonObject, data: str) -> str:
    """The event's JSON around its data, which is JSON already."""
    present = {name: value for name, value in attributes.items() if value is not None}
    return f'{clean_json(present)[:-1]},"data":{data}}}'


def _shortened(verdict: Verdict) -> JsonObject:
    """The verdict without what was current and without the command, and saying so."""
    whole: JsonObject = verdict.model_dump(mode="json", exclude_unset=True)
    data = {name: value for name, value in whole.items() if name not in ("current", "command")}
    if "failures" in data:
        data["failures"] = [
            {name: value for name, value in failure.items() if name != "current"} for failure in data["failures"]
        ]
    return data | {"truncated": True}
