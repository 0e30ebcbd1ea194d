"""From the bytes of a message to a command: valid, or refused with the reason that its author will be told.

Only what cannot be read at all, or has no UUID as its id, cannot be answered; it is Undecodable.
"""

import hashlib
from datetime import datetime
from itertools import islice
from typing import Any

import orjson
from pydantic import ValidationError

from genlock.schemas.base import CommandData, JsonObject, Kind
from genlock.schemas.catalogue import COMMANDS, SUBJECTS, CommandType
from genlock.schemas.codes import Code, VerdictName
from genlock.schemas.envelope import Envelope, read_id
from genlock.schemas.outcomes import UNKNOWN_COMMAND, CommandEcho, FieldError
from genlock.schemas.strictjson import DEPTH_MAX, Element, parse, parse_array, skim, text_flaws, without_mark
from genlock.schemas.values import value

OUTCOME_TYPES = frozenset(f"{stem}.{verdict}" for stem in (*COMMANDS, UNKNOWN_COMMAND) for verdict in VerdictName)

COMMAND_BYTES_MAX = 1024 * 1024
"""Past this a command gets the verdict `too_large`."""

READABLE_BYTES_MAX = 16 * 1024 * 1024
"""Past this not even its id is read, and it is a dead letter."""

BULK_COMMANDS_MAX = 1_000
"""How many commands fit into one CloudEvents batch."""

ERRORS_MAX = 100
"""How many wrong fields a rejection lists: a command has room for 100,000, and an event has not."""

QUOTED_CHARACTERS_MAX = 255
"""How much of a wrong type or name a rejection quotes: as much as a routing key can have."""


@value
class Undecodable:
    """A message that cannot be answered; `reason` goes into the header of its dead letter."""

    reason: str


@value
class Refusal:
    """Why a command that can be answered cannot be decided on its merits."""

    code: Code
    message: str
    errors: tuple[FieldError, ...] = ()


@value
class Command:
    """A command as it is decided.

    `type` is in the catalogue, save that a refusal may have left `type`, `kind` and `subject` empty; `subject` is empty
    for commands on several records too.
    `content_hash` is the SHA-256 of what an id stands for: 32 bytes.
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

    @property
    def unknown(self) -> bool:
        """Tell whether nothing is wrong with it, as far as can be told of a type that is not in the catalogue."""
        return isinstance(self.data, Refusal) and self.data.code is Code.UNKNOWN_TYPE


def decode(body: bytes, routing_key: str, subject_header: Any = None) -> Command | Undecodable:
    """Decode one message: strict UTF-8, then JSON, then the envelope, then the data of its type.

    Takes some 30 µs for a small command and up to seconds for a hostile one of 16 MiB.
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
    text = body.decode()
    if len(body) > COMMAND_BYTES_MAX:
        message = f"The command has {len(body)} bytes; at most {COMMAND_BYTES_MAX} fit."
        return _skimmed(body, Refusal(Code.TOO_LARGE, message), CommandEcho())
    try:
        members, flaws = parse(text)
    except RecursionError:
        return _skimmed(body, _flawed([f"is nested deeper than {DEPTH_MAX} levels"]))
    return _parsed(members, flaws, body, routing_key, subject_header)


def _parsed(
    members: Any, flaws: list[str], body: bytes, routing_key: str, subject_header: Any = None
) -> Command | Undecodable:
    command_id = read_id(members)
    if command_id is None:
        return Undecodable("no UUID as its id")
    if _is_outcome(members):
        return Undecodable("an outcome event, not a command")
    if flaws:
        # Its data is not repeated: 0 stands in it where a number did not fit.
        clean = {name: value for name, value in _clean(members).items() if name != "data"}
        return _refused(command_id, clean, _raw_hash(body), _flawed(flaws))
    return _from_members(command_id, members, body, routing_key, subject_header)


def decode_bulk(body: bytes, routing_key: str) -> list[tuple[Command | Undecodable, bytes]] | Undecodable:
    """Decode a CloudEvents batch, a JSON array of commands: each by itself, with its part of the body."""
    if len(body) > COMMAND_BYTES_MAX:
        return Undecodable(f"the batch has {len(body)} bytes; at most {COMMAND_BYTES_MAX} fit")
    try:
        elements = list(islice(parse_array(without_mark(body).decode()), BULK_COMMANDS_MAX + 1))
    except UnicodeDecodeError as error:
        return Undecodable(f"not UTF-8: {error.reason} at byte {error.start}")
    except ValueError as error:
        return Undecodable(f"not a JSON array: {error}")
    if not 0 < len(elements) <= BULK_COMMANDS_MAX:
        return Undecodable(f"a batch has 1 to {BULK_COMMANDS_MAX} commands")
    return [_element(element, routing_key) for element in elements]


def _element(element: Element, routing_key: str) -> tuple[Command | Undecodable, bytes]:
    part = element.text.encode()
    if element.value is None and element.flaws:
        try:
            return _skimmed(part, _flawed(element.flaws)), part
        except ValueError as error:
            return Undecodable(f"not JSON: {error}"), part
    return _parsed(element.value, element.flaws, part, routing_key), part


def _is_outcome(members: JsonObject) -> bool:
    """Tell an outcome event: bound to the inbox by somebody, events would be answered by events without end."""
    command_type = members.get("type")
    return isinstance(command_type, str) and command_type in OUTCOME_TYPES


def _from_members(
    command_id: str, members: JsonObject, body: bytes, routing_key: str, subject_header: Any
) -> Command | Undecodable:
    content_hash = content_hash_of(members) or _raw_hash(body)
    try:
        envelope = Envelope.model_validate(members)
    except ValidationError as error:
        refusal = Refusal(Code.INVALID_DATA, "The envelope is not valid.", _errors(error))
        return _refused(command_id, members, content_hash, refusal)
    known = COMMANDS.get(envelope.type)
    if routing_key != envelope.type:
        message = f"The routing key is {routing_key!r}; it must be the command's type, {_quoted(envelope.type)}."
        return _refused(command_id, members, content_hash, Refusal(Code.ROUTING_KEY_MISMATCH, message))
    if known is None:
        refusal = Refusal(Code.UNKNOWN_TYPE, f"There is no command {_quoted(envelope.type)}.")
        return _refused(command_id, members, content_hash, refusal)
    if subject_header is not None and subject_header != envelope.subject:
        message = "The AMQP header 'subject' differs from the subject in the body."
        return _refused(command_id, members, content_hash, Refusal(Code.INVALID_DATA, message))
    data: CommandData | Refusal
    subject, errors = _subject(known, envelope.subject)
    try:
        data = known.model.model_validate(envelope.data)
    except ValidationError as error:
        errors += _errors(error, "data")
    if errors:
        refusal = Refusal(Code.INVALID_DATA, f"The data of {envelope.type} is not valid.", errors)
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
    )


def content_hash_of(members: JsonObject) -> bytes | None:
    """SHA-256 of `[type, subject, data]` as JSON with sorted keys, without spaces; None where it cannot be written."""
    content = [members.get("type"), members.get("subject"), members.get("data")]
    try:
        return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).digest()
    except orjson.JSONEncodeError:
        return None


def _raw_hash(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()


def _skimmed(body: bytes, refusal: Refusal, echo: CommandEcho | None = None) -> Command | Undecodable:
    """Refuse a command of which only the outermost level can be read."""
    members = _clean(skim(body))
    command_id = read_id(members)
    if command_id is None:
        return Undecodable("no UUID as its id")
    return _refused(command_id, members, _raw_hash(body), refusal, echo)


def _clean(members: JsonObject) -> JsonObject:
    """Leave out the members whose texts cannot be stored."""
    return {name: value for name, value in members.items() if not text_flaws([name, value])}


def _quoted(text: str) -> str:
    return repr(text[:QUOTED_CHARACTERS_MAX])


def _flawed(flaws: list[str]) -> Refusal:
    errors = tuple(FieldError(path="", message=f"The JSON {flaw}.") for flaw in flaws)
    return Refusal(Code.INVALID_DATA, f"The JSON {', '.join(flaws)}.", errors)


def _subject(known: CommandType, value: str | None) -> tuple[str, tuple[FieldError, ...]]:
    if known.on_several:
        message = "must be left out: the data names the records"
        return "", () if value is None else (FieldError(path="subject", message=message),)
    try:
        return SUBJECTS[known.kind].validate_python(value, strict=True), ()
    except ValidationError as error:
        return "", _errors(error, "subject")


def _refused(
    command_id: str, members: JsonObject, content_hash: bytes, refusal: Refusal, echo: CommandEcho | None = None
) -> Command:
    """Build a command around its refusal from those parts of it that are valid themselves."""
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
    """The envelope attributes that hold on their own, absent ones left out."""
    valid = dict(members)
    while True:
        try:
            envelope = Envelope.model_validate({"specversion": "1.0", "source": "/", "type": "-"} | valid)
        except ValidationError as error:
            for name in {str(part["loc"][0]) for part in error.errors()}:
                valid.pop(name, None)
        else:
            return {name: value for name, value in envelope if name in valid and value is not None}


def _echo(valid: JsonObject) -> CommandEcho:
    """What of the command may stand in its rejection: its subject and its data only if its type takes them."""
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


def _errors(error: ValidationError, *prefix: str) -> tuple[FieldError, ...]:
    # A name in the data may be as long as the command, and stand in the path of each error below it.
    return tuple(
        FieldError(
            path=".".join([*prefix, *(str(name)[:QUOTED_CHARACTERS_MAX] for name in part["loc"])]), message=part["msg"]
        )
        for part in error.errors(include_url=False, include_context=False, include_input=False)[:ERRORS_MAX]
    )
