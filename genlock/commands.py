"""Commands as a publisher makes them, and the one way from a command to the envelope on the wire."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

from pydantic import AwareDatetime, Field
from uuid_utils.compat import uuid7

from genlock.errors import InvalidMessage
from genlock.schemas.base import GENERATION_MAX, CommandData, JsonObject, Model, Uuid
from genlock.schemas.catalogue import SUBJECTS, TYPE_OF
from genlock.schemas.envelope import CorrelationId, read_id

ROUTING_KEY_BYTES_MAX = 255


class Command(Model):
    """A command, ready to be sent, and to be sent again under the same id. Made by `command()`."""

    id: Uuid
    type: str
    subject: str
    time: AwareDatetime
    correlationid: CorrelationId | None = None
    causationid: CorrelationId | None = None
    attempt: Annotated[int, Field(ge=1, le=GENERATION_MAX)] = 1
    data: CommandData

    def members(self) -> JsonObject:
        """The attributes of its envelope, without `source`, which is the client's."""
        attributes = self.model_dump(mode="json", exclude={"data"}, exclude_none=True)
        # A field left out and one that is null differ, so what was not given is not written.
        return {"specversion": "1.0", **attributes, "data": self.data.model_dump(exclude_unset=True)}


def command(
    data: CommandData,
    *,
    subject: str | UUID,
    attempt: int = 1,
    correlationid: str | None = None,
    causationid: str | None = None,
    id: str | UUID | None = None,  # noqa: A002 - it is the attribute's name in CloudEvents
) -> Command:
    """Make a command of its data: `command(DocumentPut(expected_generation=None, body={}), subject="server-1")`.

    The type follows from the data, the id is a new UUIDv7 unless given, the time is now. Raises ValueError (pydantic's
    ValidationError is one) for a subject that its kind of record cannot have and for attributes that are not valid.
    """
    known = TYPE_OF[type(data)]
    return Command(
        id=str(id or uuid7()),
        type=known.name,
        subject=SUBJECTS[known.kind].validate_python(str(subject), strict=True),
        time=datetime.now(UTC),
        correlationid=correlationid,
        causationid=causationid,
        attempt=attempt,
        data=data,
    )


def complete(members: JsonObject, source: str) -> JsonObject:
    """Fill in what may be left out of an envelope: specversion, id, source and time. The rest stays as it came.

    Raises InvalidMessage for what could never be answered or routed. Whether it is valid otherwise the service decides.
    """
    envelope = {
        "specversion": "1.0",
        "id": str(uuid7()),
        "source": source,
        "time": datetime.now(UTC).isoformat(),
        **members,
    }
    if read_id(envelope) is None:
        raise InvalidMessage(f"The id has to be a UUID, and is {envelope['id']!r}.")
    kind = envelope.get("type")
    if not isinstance(kind, str) or not 0 < len(kind.encode(errors="replace")) <= ROUTING_KEY_BYTES_MAX:
        raise InvalidMessage(f"The type has to be a text of 1 to {ROUTING_KEY_BYTES_MAX} bytes, and is {kind!r}.")
    return envelope
