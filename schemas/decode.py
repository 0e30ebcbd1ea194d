"""Decoding of messages into commands, either valid or with a refusal that its author will receive.

A message is Undecodable, and can have no verdict, only if it cannot be read at all or has no usable id.
"""

import hashlib
import uuid
from collections.abc import Sequence
from datetime import datetime
from itertools import islice
from typing import Any, Self

import orjson
from pydantic import ValidationError

from genlock.schemas.base import CommandData, JsonObject, Kind
from genlock.schemas.catalogue import COMMANDS, SUBJECTS, CommandType
from genlock.schemas.codes import Code, VerdictName
from genlock.schemas.envelope import Envelope, read_id
from genlock.schemas.faults import NOTHING, QUOTED_CHARACTERS_MAX, Fault, Faults, FieldError, entries
from genlock.schemas.inspection import TWICE, VIOLATIONS_MAX, Violation, is_storable
from genlock.schemas.invalid import invalid
from genlock.schemas.outcomes import UNKNOWN_COMMAND, CommandEcho
from genlock.schemas.outline import outline
from genlock.schemas.strictjson import TOO_DEEP, TooDeepError, parse, split_array, without_mark
from genlock.schemas.values import value

_TYPES = frozenset(COMMANDS)

OUTCOME_TYPES = frozenset(f"{stem}.{verdict}" for stem in (*COMMANDS, UNKNOWN_COMMAND) for verdict in VerdictName)

COMMAND_BYTES_MAX = 1024 * 1024
"""A larger command gets the verdict `too_large`."""

READABLE_BYTES_MAX = 16 * 1024 * 1024
"""A larger message becomes a dead letter without being read."""

BULK_COMMANDS_MAX = 1_000
"""How many commands fit into one CloudEvents batch."""

_NO_ID = "no UUID as its id"
_TWO_IDS = "two ids"
_BINARY_DATA = "The data of a command are JSON, in data. data_base64 has binary data, which no command takes."
_NIL = str(uuid.UUID(int=0))

TOLD_MAX = 3
"""How many faults of the JSON the message of a rejection names. `errors` lists them."""


@value
class Undecodable:
    """A message that can have no verdict; `reason` goes into the header of its dead letter."""

    reason: str
    attributes: JsonObject | None = None
    """The valid attributes of a message that has an envelope, but no usable id; its publisher is told so."""


@value
class Refusal:
    """The reason why a readable command is refused before any rule runs."""

    code: Code
    message: str
    errors: tuple[FieldError, ...] = ()
    errors_total: int = 0
    """How many faults there are; counts only where it is more than `errors` has."""

    @classmethod
    def of(cls, faults: Faults, sent: JsonObject) -> Self:
        """The refusal for faults of what was sent."""
        return cls(faults.code, faults.message, tuple(entries(faults.listed, sent)), faults.total)


USER_UNKNOWN = Refusal(
    Code.USER_REQUIRED,
    "The broker does not tell who published the command: publish with the AMQP property user_id set to the user of the "
    "connection.",
)

HAS_PRIORITY = Refusal(
    Code.INVALID_DATA,
    "The message has the AMQP property priority. With lanes a command may have none, for it would overtake those that "
    "were published before it.",
)


@value
class Command:
    """A decoded command.

    `type` is in the catalogue, except that a refused command may have an empty `type`, `kind` and `subject`. `subject`
    is empty for commands on several records too.
    `content_hash` is a SHA-256 of 32 bytes, over the type, the subject and the data.
    """

    id: str
    type: str
    kind: Kind | None
    subject: str
    source: str
    time: datetime | None
    correlationid: str
    attempt: int
    traceparent: str | None
    tracestate: str | None
    content_hash: bytes
    echo: CommandEcho
    data: CommandData | Refusal
    user: str | None = None
    """The user of the broker that published it, as the broker has checked; None where that is unknown."""
    time_sent: str | None = None
    """The time as it was written."""

    @property
    def unknown(self) -> bool:
        """Tell whether the type is unknown, and all that can be checked without it is valid."""
        return isinstance(self.data, Refusal) and self.data.code is Code.UNKNOWN_TYPE


def decode(body: bytes, routing_key: str, subject_header: Any = None) -> Command | Undecodable:
    """Decode one message: strict UTF-8, then JSON, then the envelope, then the data of its type.

    Takes some 30 µs for a small command, and 5 to 300 ns for each byte of one of up to 1 MiB. A larger one is
    refused in a few milliseconds: its attributes are read and nothing else.
    """
    if len(body) > READABLE_BYTES_MAX:
        return Undecodable(f"the message has {len(body)} bytes; at most {READABLE_BYTES_MAX} can be read")
    try:
        return _read(without_mark(body), routing_key, subject_header)
    except UnicodeDecodeError as error:
        return Undecodable(f"not UTF-8: {error.reason} at byte {error.start}")
    except ValueError as error:
        return Undecodable(f"not JSON: {error}")


def _read(body: bytes, routing_key: str, subject_header: Any) -> Command | Undecodable:
    if len(body) > COMMAND_BYTES_MAX:
        message = f"The command has {len(body)} bytes; at most {COMMAND_BYTES_MAX} fit."
        fault = Fault(Code.TOO_LARGE, message, (), constraints={"max_bytes": COMMAND_BYTES_MAX})
        return _outlined(outline(body), body, Refusal.of(Faults.of([fault]), {}), CommandEcho())
    text = body.decode()
    return _decoded(text, body, routing_key, subject_header)


def _decoded(text: str, body: bytes, routing_key: str, subject_header: Any = None) -> Command | Undecodable:
    """Decode a text. Raises ValueError if it is no JSON."""
    try:
        parsed = parse(text)
    except TooDeepError as error:
        members = outline(body) if error.value is None else error.value
        return _outlined(members, body, _invalid_json([Violation((), TOO_DEEP)]))
    members, violations = parsed.value, parsed.violations
    command_id = read_id(members)
    two_ids = any(read_id({"id": other}) != command_id for other in parsed.twice.get("id", ()))
    if command_id is None or two_ids:
        return _without_id(members, _TWO_IDS if two_ids else _NO_ID)
    if _is_outcome(members):
        return Undecodable("an outcome event, not a command")
    binary_data = members.get("data_base64") is not None
    if not violations and not binary_data:
        return _from_members(command_id, members, body, routing_key, subject_header)
    # A copy of a command that was decided when the service still read it so is answered as it was.
    content_hash = (content_hash_of(members) if parsed.lenient else None) or _raw_hash(body)
    if not violations:
        refusal = _refusal(Code.INVALID_DATA, _BINARY_DATA, "data_base64", {})
        return _refused(command_id, members, content_hash, refusal)
    clean = {name: value for name, value in _clean(members).items() if name not in parsed.twice}
    return _refused(command_id, clean | {"id": command_id}, content_hash, _invalid_json(violations))


def decode_bulk(body: bytes, routing_key: str) -> list[tuple[Command | Undecodable, bytes]] | Undecodable:
    """Decode a CloudEvents batch, a JSON array of commands. Each is decoded separately, with its part of the body."""
    if len(body) > COMMAND_BYTES_MAX:
        return Undecodable(f"the batch has {len(body)} bytes; at most {COMMAND_BYTES_MAX} fit")
    try:
        elements = list(islice(split_array(without_mark(body).decode()), BULK_COMMANDS_MAX + 1))
    except UnicodeDecodeError as error:
        return Undecodable(f"not UTF-8: {error.reason} at byte {error.start}")
    except ValueError as error:
        return Undecodable(f"not a JSON array: {error}")
    if not 0 < len(elements) <= BULK_COMMANDS_MAX:
        return Undecodable(f"a batch has 1 to {BULK_COMMANDS_MAX} commands")
    return [_element(element, routing_key) for element in elements]


def _element(text: str, routing_key: str) -> tuple[Command | Undecodable, bytes]:
    body = text.encode()
    try:
        return _decoded(text, body, routing_key), body
    except ValueError as error:
        return Undecodable(f"not JSON: {error}"), body


def _is_outcome(members: JsonObject) -> bool:
    """Recognise an outcome event: if a user binds the inbox to the events, answering them would never end."""
    command_type = members.get("type")
    return isinstance(command_type, str) and command_type in OUTCOME_TYPES


def _from_members(
    command_id: str, members: JsonObject, body: bytes, routing_key: str, subject_header: Any
) -> Command | Undecodable:
    content_hash = content_hash_of(members) or _raw_hash(body)
    try:
        envelope = Envelope.model_validate(members)
    except ValidationError as error:
        refusal = Refusal.of(invalid(error, "The envelope is not valid.", Envelope), members)
        return _refused(command_id, members, content_hash, refusal)
    known = COMMANDS.get(envelope.type)
    if routing_key != envelope.type:
        message = f"The routing key is {routing_key!r}; it must be the command's type, {_quoted(envelope.type)}."
        refusal = _refusal(Code.ROUTING_KEY_MISMATCH, message, "type", members)
        return _refused(command_id, members, content_hash, refusal)
    if known is None:
        message = f"There is no command {_quoted(envelope.type)}."
        refusal = _refusal(Code.UNKNOWN_TYPE, message, "type", members, known=_TYPES)
        return _refused(command_id, members, content_hash, refusal)
    if subject_header is not None and subject_header != envelope.subject:
        message = "The AMQP header 'subject' differs from the subject in the body."
        refusal = _refusal(Code.INVALID_DATA, message, "subject", members)
        return _refused(command_id, members, content_hash, refusal)
    data: CommandData | Refusal
    subject, faults = _subject(known, envelope.subject)
    total = len(faults)
    try:
        data = known.model.model_validate(envelope.data)
    except ValidationError as error:
        found = invalid(error, "", known.model, within=("data",))
        faults, total = faults + found.listed, total + found.total
    if faults:
        refusal = Refusal.of(Faults(faults, total, f"The data of {envelope.type} is not valid."), members)
        return _refused(command_id, members, content_hash, refusal)
    return Command(
        id=command_id,
        type=known.name,
        kind=known.kind,
        subject=subject,
        source=envelope.source,
        time=envelope.time,
        correlationid=envelope.correlationid or command_id,
        attempt=envelope.attempt,
        traceparent=envelope.traceparent,
        tracestate=envelope.tracestate,
        content_hash=content_hash,
        echo=CommandEcho(type=envelope.type, subject=envelope.subject, data=envelope.data),
        data=data,
        time_sent=members.get("time"),
    )


def attribute(command: Command, user: str | None, *, required: bool) -> None:
    """Name the user that published a command that was just decoded; refuse it if that is unknown and `required`."""
    # A copy would take longer than the rest of what is done here.
    command.user = user  # type: ignore[misc]
    if required and user is None:
        refuse(command, USER_UNKNOWN)


def refuse(command: Command, refusal: Refusal) -> None:
    """Refuse a command that was just decoded for what its message has beside the body."""
    command.data = refusal  # type: ignore[misc]


def content_hash_of(members: JsonObject) -> bytes | None:
    """SHA-256 of `[type, subject, data]` as JSON with sorted keys, without spaces; None if it cannot be encoded."""
    content = [members.get("type"), members.get("subject"), members.get("data")]
    try:
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()
    except orjson.JSONEncodeError:
        return None


def _raw_hash(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def _outlined(members: Any, body: bytes, refusal: Refusal, echo: CommandEcho | None = None) -> Command | Undecodable:
    """Refuse a command of which only the attributes are read."""
    command_id = read_id(members)
    if command_id is None:
        return _without_id(members, _NO_ID)
    return _refused(command_id, _clean(members), _raw_hash(body), refusal, echo)


def _without_id(members: Any, reason: str) -> Undecodable:
    """A message that may be a command and has no usable id."""
    if not isinstance(members, dict) or _is_outcome(members):
        return Undecodable(reason)
    return Undecodable(reason, _valid_parts(_clean(members)))


def _clean(members: JsonObject) -> JsonObject:
    """Keep the members that are scalars and can be stored."""
    return {name: value for name, value in members.items() if is_storable(name) and is_storable(value)}


def _quoted(text: str) -> str:
    return repr(text[:QUOTED_CHARACTERS_MAX])


def _invalid_json(violations: Sequence[Violation]) -> Refusal:
    told = [f"{violation.path or 'it'} {violation.clause}" for violation in violations[:TOLD_MAX]]
    if more := len(violations) - len(told):
        told.append(f"and {more} more" if len(violations) < VIOLATIONS_MAX else f"and at least {more} more")
    faults = tuple(
        Fault(
            Code.INVALID_DATA,
            f"{'This' if violation.path else 'The JSON'} {violation.clause}.",
            at=violation.place,
            named=violation.clause == TWICE,
            found=NOTHING if violation.written is None else violation.written,
        )
        for violation in violations
    )
    return Refusal.of(Faults(faults, len(faults), f"The JSON cannot be taken as it is: {', '.join(told)}."), {})


def _refusal(code: Code, message: str, field: str, members: JsonObject, known: frozenset[str] = frozenset()) -> Refusal:
    """The refusal for one attribute of the envelope."""
    return Refusal.of(Faults.of([Fault(code, message, (field,), known=known)]), members)


def _subject(known: CommandType, value: str | None) -> tuple[str, tuple[Fault, ...]]:
    if known.multi_record:
        message = "must be left out: the data names the records"
        fault = Fault(Code.INVALID_DATA, message, ("subject",), constraints={"type": "null"})
        return "", () if value is None else (fault,)
    if value is None:
        return "", (Fault(Code.INVALID_DATA, "Field required", ("subject",), constraints={"required": True}),)
    try:
        return SUBJECTS[known.kind].validate_python(value, strict=True), ()
    except ValidationError as error:
        return "", invalid(error, "", within=("subject",)).listed


def _refused(
    command_id: str, members: JsonObject, content_hash: bytes, refusal: Refusal, echo: CommandEcho | None = None
) -> Command:
    """Build a refused command from its valid parts."""
    valid = _valid_parts(members)
    known = COMMANDS.get(valid.get("type", ""))
    subject = _subject(known, valid.get("subject"))[0] if known else ""
    return Command(
        id=command_id,
        type=known.name if known else "",
        kind=known.kind if known else None,
        subject=subject,
        source=valid.get("source", ""),
        time=valid.get("time"),
        correlationid=valid.get("correlationid", command_id),
        attempt=valid.get("attempt", 1),
        traceparent=valid.get("traceparent"),
        tracestate=valid.get("tracestate"),
        content_hash=content_hash,
        echo=_echo(valid) if echo is None else echo,
        data=refusal,
    )


def _valid_parts(members: JsonObject) -> JsonObject:
    """The valid attributes of the envelope."""
    valid = dict(members)
    while True:
        try:
            envelope = Envelope.model_validate({"specversion": "1.0", "id": _NIL, "source": "/", "type": "-"} | valid)
        except ValidationError as error:
            for name in {str(part["loc"][0]) for part in error.errors()}:
                valid.pop(name, None)
        else:
            return {name: value for name, value in envelope if name in valid and value is not None}


def _echo(valid: JsonObject) -> CommandEcho:
    """The parts of the command for its rejection. The subject and the data are included only if the type takes them."""
    known = COMMANDS.get(valid.get("type", ""))
    subject, data = valid.get("subject"), valid.get("data")
    if known and subject is not None and _subject(known, subject)[1]:
        subject = None
    if known and data is not None:
        try:
            known.model.model_validate(data)
        except ValidationError:
            data = None
    parts = {"type": valid.get("type"), "subject": subject, "data": data}
    return CommandEcho.model_validate({name: value for name, value in parts.items() if value is not None})
