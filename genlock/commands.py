"""Commands on the publisher's side, and their conversion to envelopes."""

import json
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, NoReturn
from uuid import UUID

from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from pydantic import AwareDatetime, Field
from uuid_utils.compat import uuid7

from genlock.errors import InvalidMessage
from genlock.schemas.base import GENERATION_MAX, CommandData, JsonObject, Kind, Model, Uuid
from genlock.schemas.catalogue import SUBJECTS, TYPE_OF
from genlock.schemas.envelope import CorrelationId, read_id

ROUTING_KEY_BYTES_MAX = 255

BYTE_ORDER_MARK = "\ufeff"
"""Some programs write it before UTF-8 text."""

_PROPAGATOR = TraceContextTextMapPropagator()


class Command(Model):
    """A command, ready to be sent, once or repeatedly under the same id. Made by `command()`."""

    id: Uuid
    type: str
    subject: str | None
    time: AwareDatetime
    correlationid: CorrelationId | None = None
    causationid: CorrelationId | None = None
    attempt: Annotated[int, Field(ge=1, le=GENERATION_MAX)] = 1
    data: CommandData

    def members(self) -> JsonObject:
        """The attributes of the envelope except `source`, which is the client's."""
        attributes = self.model_dump(mode="json", exclude={"data"}, exclude_none=True)
        # Omitted and null fields differ, so fields that were not set are not written.
        return {"specversion": "1.0", **attributes, "data": self.data.model_dump(exclude_unset=True)}


def command(
    data: CommandData,
    *,
    subject: str | UUID | None = None,
    attempt: int = 1,
    correlationid: str | None = None,
    causationid: str | None = None,
    id: str | UUID | None = None,  # noqa: A002 - it is the attribute's name in CloudEvents
) -> Command:
    """Make a command of its data: `command(DocumentPut(expected_generation=None, body={}), subject="server-1")`.

    The type follows from the data, the id is a new UUIDv7 unless given, the time is now. A command on several records
    has no subject; its data names them. Raises ValueError (pydantic's ValidationError is one) for a subject that is
    invalid for the kind of record, and for invalid attributes.
    """
    known = TYPE_OF[type(data)]
    if known.multi_record and subject is not None:
        raise ValueError(f"{known.name} has no subject: its data names the records.")
    return Command(
        id=str(id or uuid7()),
        type=known.name,
        subject=None if known.multi_record else _subject(known.kind, subject),
        time=datetime.now(UTC),
        correlationid=correlationid,
        causationid=causationid,
        attempt=attempt,
        data=data,
    )


def _subject(kind: Kind, subject: str | UUID | None) -> str:
    if subject is None:
        raise ValueError(f"A command on a {kind} needs its id as the subject.")
    return SUBJECTS[kind].validate_python(str(subject), strict=True)


def complete(members: JsonObject, source: str) -> JsonObject:
    """Fill in missing attributes of an envelope: specversion, id, source and time. The others are unchanged.

    Raises InvalidMessage for a command that could not be answered or routed. The service validates the rest.
    """
    _check(members)
    return {
        "specversion": "1.0",
        "id": str(uuid7()),
        "source": source,
        "time": datetime.now(UTC).isoformat(),
        **_trace_context(),
        **members,
    }


def _trace_context() -> dict[str, str]:
    """The W3C trace context of the caller's span, if there is one: `traceparent` and perhaps `tracestate`."""
    carrier: dict[str, str] = {}
    _PROPAGATOR.inject(carrier)
    return carrier


def _check(members: JsonObject) -> None:
    if "id" in members and read_id(members) is None:
        raise InvalidMessage("The id has to be a UUID.")
    kind = members.get("type")
    if not isinstance(kind, str) or not 0 < len(kind.encode(errors="replace")) <= ROUTING_KEY_BYTES_MAX:
        raise InvalidMessage(f"The type has to be a text of 1 to {ROUTING_KEY_BYTES_MAX} bytes.")


def read_lines(lines: Iterable[str]) -> list[JsonObject]:
    """Read commands from JSON Lines. Each line is an envelope, whose missing attributes `complete` fills in.

    Empty lines are skipped, and so are byte order marks, which remain where files were joined.

    Raises InvalidMessage, which names the first bad line, for a command that could not be answered.
    Split a text only at newlines: str.splitlines also splits at characters that JSON strings may contain.
    """
    unmarked = (line.removeprefix(BYTE_ORDER_MARK) for line in lines)
    return [_read_line(number, line) for number, line in enumerate(unmarked, start=1) if line.strip()]


def _read_line(number: int, line: str) -> JsonObject:
    try:
        members = parse_object(line)
        _check(members)
    except InvalidMessage as error:
        raise InvalidMessage(f"Line {number}: {error}") from error
    return members


def parse_object(text: str) -> JsonObject:
    """Parse a JSON object. Raises InvalidMessage, which names the position of the error."""
    try:
        value: Any = json.loads(text.removeprefix(BYTE_ORDER_MARK), parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InvalidMessage(f"This is not JSON: {error.msg} at column {error.colno}.") from error
    except (ValueError, RecursionError) as error:
        raise InvalidMessage(f"This JSON cannot be parsed: {error}.") from error
    if not isinstance(value, dict):
        raise InvalidMessage("This is JSON, but not an object.")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
