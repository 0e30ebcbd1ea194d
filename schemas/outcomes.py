"""Outcome events: a verdict, published. Exactly one for each command, as a CloudEvents 1.0 structured JSON object."""

import hashlib
import uuid
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from genlock.schemas.base import Generation, JsonObject, Known, KnownKind, Shown, Uuid, example
from genlock.schemas.codes import Code, Reason, VerdictName
from genlock.schemas.faults import ERRORS_BYTES_MAX, ERRORS_MAX, FieldError
from genlock.schemas.strictjson import without_mark

UNKNOWN_COMMAND = "command.unknown"
"""Stands for every type outside the catalogue, so that event types are a closed set."""

CONTENT_TYPE = "application/cloudevents+json"
BULK_CONTENT_TYPE = "application/cloudevents-batch+json"


class GenerationToken(Shown):
    """The token of a document, a provider or a consumer."""

    generation: Generation


class TraversalToken(Shown):
    """The token of a stack. `previous_traversal` stands in `actual` alone."""

    traversal: Uuid
    previous_traversal: Uuid | None = None


Sequence = Annotated[
    int,
    Field(
        description="How many commands the record has accepted. Events may arrive out of order: keep the highest. "
        "0 if there is no single record."
    ),
]
Truncated = Annotated[
    bool, Field(description="True if parts were left out, because the event would have had more than 4 MiB.")
]


Token = GenerationToken | TraversalToken

_PROVIDER = "6b9b4f0a-2a53-4f57-8b7e-3d1c5a0f9e21"
_SHORTAGE = f"The provider {_PROVIDER} cannot serve 2 of VCPU: others use 63 of its capacity of 64."


User = Annotated[
    str,
    Field(
        description="The user of the broker that published the command, as the broker has checked. Absent if unknown."
    ),
]


class Winner(Shown):
    """The command that made a token."""

    command_id: Uuid
    type: str
    source: Annotated[str, Field(description="What the command says of its author, which nothing checks.")]
    time: str
    user: User | None = None


class CommandEcho(Shown):
    """A command as it came. Parts that are not valid themselves are left out."""

    type: str | None = None
    subject: str | None = None
    data: JsonObject | None = None


class Retry(Shown):
    """Advice for the next try."""

    allowed: Annotated[
        bool, Field(description="False if the command reported the progress of a run that no longer owns its stack.")
    ]
    attempt: Annotated[int, Field(description="Which try this one was, as the command said.")]
    after_ms: Annotated[
        int, Field(description="How long to wait, in milliseconds. The losers of one record get different times.")
    ]


class Failure(Shown):
    """A record that a command on several records did not find as its author had seen it."""

    kind: KnownKind
    id: str
    sequence: Sequence
    reason: Known[Reason]
    expected: Token | None
    actual: Token | None
    winner: Winner | None
    current: JsonObject | None = None


class Shortage(Shown):
    """What a provider cannot serve."""

    provider_id: Uuid
    resource_class: str
    asked: Annotated[int, Field(description="What the command asks for in all.")]
    used: Annotated[int, Field(description="What other consumers have.")]
    capacity: Annotated[int, Field(description="`(total - reserved) * allocation_ratio`, rounded down.")]


class SucceededData(Shown):
    """The record after the command. A command on several records has no `id`, `record` or `token`, only `tokens`."""

    model_config = example(
        {
            "kind": "document",
            "id": "server-7",
            "sequence": 5,
            "record": {"id": "server-7", "generation": 4, "body": {"owner": "team-a"}},
            "token": {"generation": 4},
        }
    )

    kind: KnownKind
    id: str | None
    sequence: Sequence
    record: Annotated[JsonObject, Field(description="The state after the change, null after a delete.")] | None
    token: Annotated[Token, Field(description="What the next command on the record expects.")] | None
    tokens: (
        Annotated[
            dict[KnownKind, dict[str, Token]],
            Field(description="The tokens of all other records that were changed, by kind and id."),
        ]
        | None
    ) = None
    truncated: Truncated = False


class ConflictData(Shown):
    """The record that was not as the command expected, with all that a new decision needs.

    A command that names several records has all of its `failures` there, and the first of them at the top level too.
    """

    model_config = example(
        {
            "kind": "document",
            "id": "server-7",
            "sequence": 5,
            "reason": "stale",
            "expected": {"generation": 3},
            "actual": {"generation": 4},
            "winner": {
                "command_id": "0192f0c1-7a03-7d11-8c2e-0242ac120002",
                "type": "document.merge",
                "source": "/scheduler",
                "time": "2026-01-31T12:00:00.000000Z",
                "user": "scheduler",
            },
            "current": {"id": "server-7", "generation": 4, "body": {"owner": "team-b"}},
            "command": {
                "type": "document.put",
                "subject": "server-7",
                "data": {"expected_generation": 3, "body": {"owner": "team-a"}},
            },
            "retry": {"allowed": True, "attempt": 1, "after_ms": 10},
        }
    )

    kind: KnownKind
    id: str | None
    sequence: Sequence
    reason: Known[Reason]
    expected: Annotated[Token, Field(description="What the command expected; null: no record.")] | None
    actual: Annotated[Token, Field(description="What the record has; null: there is none.")] | None
    winner: Annotated[Winner, Field(description="The command that made `actual`.")] | None
    current: Annotated[JsonObject, Field(description="The record's state, as it was under the lock.")] | None = None
    command: Annotated[CommandEcho, Field(description="The command as it came.")] | None = None
    failures: Annotated[list[Failure], Field(description="Each record that was not as expected.")] | None = None
    retry: Retry
    truncated: Truncated = False


class RejectedData(Shown):
    """The command can never work as it is; trying again takes a new id."""

    model_config = example(
        {
            "kind": "consumer",
            "id": "a1d5f0c2-7c37-4e0c-9d3b-2f8e6b4a1c05",
            "sequence": 0,
            "code": "capacity_exceeded",
            "message": _SHORTAGE,
            "errors": [
                {
                    "code": "capacity_exceeded",
                    "path": f"data.allocations.{_PROVIDER}.resources.VCPU",
                    "pointer": f"/data/allocations/{_PROVIDER}/resources/VCPU",
                    "value": 2,
                    "constraints": {"capacity": 64},
                    "kind": "provider",
                    "id": _PROVIDER,
                    "actual": {"resource_class": "VCPU", "used": 63},
                    "message": _SHORTAGE,
                }
            ],
            "shortages": [
                {
                    "provider_id": _PROVIDER,
                    "resource_class": "VCPU",
                    "asked": 2,
                    "used": 63,
                    "capacity": 64,
                }
            ],
        }
    )

    kind: KnownKind | None
    id: str | None
    sequence: Sequence
    code: Known[Code]
    message: Annotated[str, Field(description="A sentence for a person. Programs compare `code`.")]
    errors: Annotated[
        list[FieldError],
        Field(description=f"Each fault; at most {ERRORS_MAX} of them, and {ERRORS_BYTES_MAX // 1024} KiB."),
    ]
    errors_total: (
        Annotated[int, Field(description="How many faults there are, where `errors` does not list them all.")] | None
    ) = None
    shortages: Annotated[list[Shortage], Field(description="What does not fit; at most 100.")] | None = None
    command: Annotated[CommandEcho, Field(description="The command as it came.")] | None = None
    truncated: Truncated = False


Verdict = SucceededData | ConflictData | RejectedData


class OutcomeEvent(BaseModel):
    """The envelope of an outcome. Unknown attributes are ignored, so that old readers read new events."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    specversion: Literal["1.0"]
    id: Annotated[Uuid, Field(description="The UUIDv5 of the command's id and the name `outcome`.")]
    source: Annotated[str, Field(description="`/<namespace>`")]
    type: Annotated[str, Field(description="The type of the command, a dot, and the verdict.")]
    subject: Annotated[str, Field(description="The command's.")] | None = None
    time: Annotated[str, Field(description="When the command was decided, RFC 3339. It does not tell an order.")]
    correlationid: Annotated[str, Field(description="The command's, or else its id.")]
    causationid: Annotated[Uuid, Field(description="The id of the command.")]
    attempt: Annotated[int, Field(description="The command's.")]
    user: User | None = None
    traceparent: Annotated[str, Field(description="Of the span that decided it, where the service traces.")] | None = (
        None
    )
    tracestate: Annotated[str, Field(description="Likewise.")] | None = None
    datacontenttype: Literal["application/json"] = "application/json"
    data: Annotated[Any, Field(description="By the verdict, as below.")]

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


class UnknownEvent(OutcomeEvent):
    """An event of a type that this program does not know, because the service is newer. `data` is as it came."""


_BY_NAME: dict[str, TypeAdapter[Any]] = {
    VerdictName.SUCCEEDED: TypeAdapter(Succeeded),
    VerdictName.CONFLICT: TypeAdapter(Conflict),
    VerdictName.REJECTED: TypeAdapter(Rejected),
}


def parse_outcome(body: bytes | str) -> Outcome:
    """Read an outcome event.

    Raises ValueError (pydantic's ValidationError is one) for anything else.
    """
    body = _text(body)
    envelope = OutcomeEvent.model_validate_json(body)
    name = envelope.type.rpartition(".")[2]
    if name not in _BY_NAME:
        raise ValueError(f"{envelope.type!r} is not the type of an outcome event")
    outcome: Outcome = _BY_NAME[name].validate_json(body)
    return outcome


def parse_event(body: bytes | str) -> Outcome | UnknownEvent:
    """Read an event: an outcome, or anything else that a newer service tells about a command.

    Raises ValueError for a body that is no event of the service, and for an invalid outcome.
    """
    event = UnknownEvent.model_validate_json(_text(body))
    return parse_outcome(body) if event.type.rpartition(".")[2] in _BY_NAME else event


def _text(body: bytes | str) -> bytes | str:
    return body.removeprefix("\ufeff") if isinstance(body, str) else without_mark(body)


_VARIANTS = {f"{digit:x}": f"{digit & 0b0011 | 0b1000:x}" for digit in range(16)}
"""A hexadecimal digit with the two bits that a UUID's variant has there: RFC 9562, section 4.1."""


def outcome_id(command_id: str) -> str:
    """The event id of a command's outcome: the same however often it is published."""
    # uuid.uuid5 takes four times as long, and this is done for each command.
    name = bytes.fromhex(command_id.replace("-", "")) + b"outcome"
    digits = hashlib.sha1(name, usedforsecurity=False).hexdigest()
    variant = _VARIANTS[digits[16]]
    return f"{digits[:8]}-{digits[8:12]}-5{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:32]}"


def id_reused_id(command_id: str, content_hash: bytes) -> str:
    """The event id of the answer to an id that came again with other content."""
    return str(uuid.uuid5(uuid.UUID(command_id), f"id_reused:{content_hash.hex()}"))
