"""Outcome events: built once, stored in the ledger, and published byte for byte as they are stored."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, assert_never

from genlock.schemas.base import JsonObject
from genlock.schemas.codes import Code, VerdictName
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import (
    UNKNOWN_COMMAND,
    Conflict,
    ConflictData,
    Outcome,
    Rejected,
    RejectedData,
    Succeeded,
    SucceededData,
    Verdict,
    outcome_id,
)

EVENT_BYTES_MAX = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
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


_EVENTS: dict[VerdictName, type[Outcome]] = {
    VerdictName.SUCCEEDED: Succeeded,
    VerdictName.CONFLICT: Conflict,
    VerdictName.REJECTED: Rejected,
}


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
    traceparent: str | None = None,
) -> Event:
    """Build the event of a verdict; one that is too large leaves out what its reader can fetch or has sent."""
    optional: dict[str, Any] = {"subject": command.subject or None, "traceparent": traceparent}
    name = verdict_name(verdict)
    # Without validation: what came in was checked on entry, and what is added here is made here.
    outcome: Outcome = _EVENTS[name].model_construct(
        specversion="1.0",
        id=event_id or outcome_id(command.id),
        source=source,
        type=f"{command.type or UNKNOWN_COMMAND}.{name}",
        time=decided_at,
        correlationid=command.correlationid,
        causationid=command.id,
        attempt=command.attempt,
        datacontenttype="application/json",
        data=verdict,
        **{attribute: value for attribute, value in optional.items() if value is not None},
    )
    body = outcome.model_dump_json(exclude_unset=True)
    if len(body.encode()) > EVENT_BYTES_MAX:
        body = json.dumps(_truncated(outcome.model_dump(mode="json", exclude_unset=True)), ensure_ascii=False)
    return Event(outcome.id, outcome.type, outcome.subject, outcome.time, body)


def _truncated(event: JsonObject) -> JsonObject:
    """The event without what was current and without the command, and saying so."""
    data = {name: value for name, value in event["data"].items() if name not in ("current", "command")}
    if "failures" in data:
        data["failures"] = [
            {name: value for name, value in failure.items() if name != "current"} for failure in data["failures"]
        ]
    return event | {"data": data | {"truncated": True}}
