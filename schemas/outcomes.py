"""Outcome events: a verdict, published. Exactly one for each command, as a CloudEvents 1.0 structured JSON object."""

import hashlib
import uuid
from enum import StrEnum
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from genlock.schemas.base import Generation, JsonObject, Kind, Shown, Uuid
from genlock.schemas.codes import Code, Reason, VerdictName
from genlock.schemas.strictjson import without_mark

UNKNOWN_COMMAND = "command.unknown"
"""Stands for every type outside the catalogue, so that event types are a closed set."""

CONTENT_TYPE = "application/cloudevents+json"
BULK_CONTENT_TYPE = "application/cloudevents-batch+json"


Word = TypeVar("Word", bound=StrEnum)
Known = Annotated[Word | str, Field(union_mode="left_to_right")]
"""A word of the contract, or one that a newer service has added, which is read as plain text."""


class GenerationToken(Shown):
    generation: Generation


class TraversalToken(Shown):
    traversal: Uuid
    previous_traversal: Uuid | None = None


Token = GenerationToken | TraversalToken


class Winner(Shown):
    """The command that made a token."""

    command_id: Uuid
    type: str
    source: str
    time: str


class CommandEcho(Shown):
    """A command as it came. Parts that are not valid themselves are left out."""

    type: str | None = None
    subject: str | None = None
    data: JsonObject | None = None


class Retry(Shown):
    """Advice for the next try: whether it makes sense, which try this one was, and how long to wait before it."""

    allowed: bool
    attempt: int
    after_ms: int


class FieldError(Shown):
    path: str
    message: str


class Failure(Shown):
    """A record that a command on several records did not find as its author had seen it."""

    kind: Kind
    id: str
    sequence: int
    reason: Known[Reason]
    expected: Token | None
    actual: Token | None
    winner: Winner | None
    current: JsonObject | None = None


class Shortage(Shown):
    """What a provider cannot serve: `asked` by the command in all, on top of what is `used` by others."""

    provider_id: Uuid
    resource_class: str
    asked: int
    used: int
    capacity: int


class SucceededData(Shown):
    """`record` is the state after the change, null after a delete; `token` is the one to expect next.

    `tokens` are those of the other records that were touched. A command on several records has no `record` and no
    `token`; `tokens` are all of theirs.
    """

    kind: Kind
    id: str | None
    sequence: int
    record: JsonObject | None
    token: Token | None
    tokens: dict[Kind, dict[str, Token]] | None = None
    truncated: bool = False


class ConflictData(Shown):
    """Somebody else got there first. `expected` is what the caller passed, `actual` what it should have been.

    A command that names several records has all of its `failures` there, and the first of them at the top level too.
    """

    kind: Kind
    id: str | None
    sequence: int
    reason: Known[Reason]
    expected: Token | None
    actual: Token | None
    winner: Winner | None
    current: JsonObject | None = None
    command: CommandEcho | None = None
    failures: list[Failure] | None = None
    retry: Retry
    truncated: bool = False


class RejectedData(Shown):
    """The command can never work as it is; trying again takes a new id."""

    kind: Kind | None
    id: str | None
    sequence: int
    code: Known[Code]
    message: str
    errors: list[FieldError]
    shortages: list[Shortage] | None = None
    command: CommandEcho | None = None
    truncated: bool = False


Verdict = SucceededData | ConflictData | RejectedData


class OutcomeEvent(BaseModel):
    """The envelope of an outcome. Unknown attributes are ignored, so that old readers read new events."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: Uuid
    source: str
    type: str
    subject: str | None = None
    time: str
    correlationid: str
    causationid: Uuid
    attempt: int
    traceparent: str | None = None
    tracestate: str | None = None
    datacontenttype: Literal["application/json"] = "application/json"
    data: Any

    @property
    def command_id(self) -> str:
        """The id of the command that this is the outcome of."""
        return self.causationid


class Succeeded(OutcomeEvent):
    """The command was applied."""

    data: SucceededData

    @property
    def record(self) -> JsonObject | None:
        return self.data.record

    @property
    def token(self) -> Token | None:
        return self.data.token


class Conflict(OutcomeEvent):
    """The command was not applied: the record had moved on. Everything needed to try again is here."""

    data: ConflictData

    @property
    def reason(self) -> Reason | str:
        return self.data.reason

    @property
    def expected(self) -> Token | None:
        return self.data.expected

    @property
    def actual(self) -> Token | None:
        return self.data.actual

    @property
    def winner(self) -> Winner | None:
        return self.data.winner

    @property
    def current(self) -> JsonObject | None:
        return self.data.current

    @property
    def retry(self) -> Retry:
        return self.data.retry


class Rejected(OutcomeEvent):
    """The command was not applied and never will be."""

    data: RejectedData

    @property
    def code(self) -> Code | str:
        return self.data.code

    @property
    def message(self) -> str:
        return self.data.message

    @property
    def errors(self) -> list[FieldError]:
        return self.data.errors


Outcome = Succeeded | Conflict | Rejected

_BY_NAME: dict[str, TypeAdapter[Any]] = {
    VerdictName.SUCCEEDED: TypeAdapter(Succeeded),
    VerdictName.CONFLICT: TypeAdapter(Conflict),
    VerdictName.REJECTED: TypeAdapter(Rejected),
}


def parse_outcome(body: bytes | str) -> Outcome:
    """Read an outcome event.

    Raises ValueError (pydantic's ValidationError is one) for anything else.
    """
    body = body.removeprefix("\ufeff") if isinstance(body, str) else without_mark(body)
    envelope = OutcomeEvent.model_validate_json(body)
    name = envelope.type.rpartition(".")[2]
    if name not in _BY_NAME:
        raise ValueError(f"{envelope.type!r} is not the type of an outcome event")
    outcome: Outcome = _BY_NAME[name].validate_json(body)
    return outcome


def outcome_id(command_id: str) -> str:
    """The event id of a command's outcome: the same however often it is published."""
    # uuid.uuid5 takes twice as long, and this is done for each command.
    digest = hashlib.sha1(bytes.fromhex(command_id.replace("-", "")) + b"outcome", usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest[:16], version=5))


def id_reused_id(command_id: str, content_hash: bytes) -> str:
    """The event id of the answer to an id that came again with other content."""
    return str(uuid.uuid5(uuid.UUID(command_id), f"id_reused:{content_hash.hex()}"))
