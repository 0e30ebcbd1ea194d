"""Commands as texts, and what decoding them comes to, for tests of decoding."""

from typing import Any

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command, Refusal, decode
from tests.support.factories import Json, envelope

COMMAND_BYTES_MAX = 1024 * 1024
READABLE_BYTES_MAX = 16 * 1024 * 1024

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
DATA: Json = {"expected_generation": None, "body": {"a": 1}}


def message(**attributes: Any) -> Json:
    """A valid `document.put`; `attributes` come on top of it, and those that are `...` are left out."""
    return envelope("document.put", "d", **{"id": ID, "data": DATA} | attributes)


def text(data: str, **attributes: str) -> bytes:
    """A `document.put` whose data is any text; attributes are texts of JSON as well, and stand behind it."""
    rest = "".join(f', "{name}": {value}' for name, value in attributes.items())
    front = f'{{"specversion": "1.0", "id": "{ID}", "source": "/tests", "type": "document.put", "subject": "d"'
    return f'{front}, "data": {data}{rest}}}'.encode()


def answered(body: bytes, routing_key: str = "document.put", subject_header: Any = None) -> Command:
    command = decode(body, routing_key, subject_header)
    assert isinstance(command, Command), command
    return command


def refusal(body: bytes, routing_key: str = "document.put", subject_header: Any = None) -> tuple[Command, Refusal]:
    command = answered(body, routing_key, subject_header)
    assert command.id == ID
    assert isinstance(command.data, Refusal), command.data
    return command, command.data


def code(body: bytes, routing_key: str = "document.put", subject_header: Any = None) -> Code:
    return refusal(body, routing_key, subject_header)[1].code


def echo(command: Command) -> Json:
    return command.echo.model_dump(exclude_unset=True)


def nested(depth: int) -> str:
    """Data that makes a message as deep as this, its two outermost objects counted."""
    levels = depth - 2
    return '{"a": ' + "[" * levels + "]" * levels + "}"


def hash_of(body: bytes) -> bytes:
    return answered(body).content_hash
