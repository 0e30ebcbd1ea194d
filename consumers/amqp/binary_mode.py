"""CloudEvents in binary mode: the attributes are headers, and the body is the data alone.

Such a message is written in structured mode as soon as it has come, so that all rules hold for both.
See the AMQP Protocol Binding for CloudEvents 1.0, section 3.1.
"""

import copy
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from pamqp.commands import Basic

from genlock.schemas.base import compact_json
from genlock.schemas.decode import COMMAND_BYTES_MAX
from genlock.schemas.media_types import media_type
from genlock.schemas.outcomes import CONTENT_TYPE
from genlock.schemas.strictjson import without_mark

PREFIXES = ("cloudEvents:", "cloudEvents_")
_PREFIX_CHARACTERS = 12
_STRUCTURED = "application/cloudevents"
_DATA = frozenset({"data", "data_base64", "datacontenttype"})
_DIGITS = re.compile(r"[0-9]{1,19}")

SHOWN_CHARACTERS_MAX = 255
"""How much is kept of data that is no JSON, and of a header that is no attribute."""


def is_binary_mode(properties: Basic.Properties) -> bool:
    """Tell a message in binary mode: it has attributes as headers, and no content type of structured mode."""
    headers = properties.headers
    if not headers or media_type(properties.content_type or "").name.startswith(_STRUCTURED):
        return False
    return any(name.startswith(PREFIXES) for name in headers)


def structured(properties: Basic.Properties, body: bytes) -> tuple[Basic.Properties, bytes]:
    """The same message in structured mode. An attribute that has two headers is there twice."""
    others = {name: header for name, header in (properties.headers or {}).items() if not name.startswith(PREFIXES)}
    envelope = copy.copy(properties)
    envelope.headers, envelope.content_type = others, CONTENT_TYPE
    return envelope, _body(properties, body)


def _body(properties: Basic.Properties, body: bytes) -> bytes:
    members = sorted(
        f"{json.dumps(name)}:{_written(_attribute(name, header))}" for name, header in _attributes(properties)
    )
    if body:
        members.append(f'"data":{_data(without_mark(body))}')
    return f"{{{','.join(members)}}}".encode()


def _attributes(properties: Basic.Properties) -> Iterator[tuple[str, Any]]:
    for name, header in (properties.headers or {}).items():
        if name.startswith(PREFIXES) and name[_PREFIX_CHARACTERS:] not in _DATA:
            yield name[_PREFIX_CHARACTERS:], header
    if properties.content_type:
        yield "datacontenttype", properties.content_type


def _attribute(name: str, header: Any) -> Any:
    """The value of an attribute. A number may be written as text, and a time as a timestamp of AMQP."""
    if isinstance(header, datetime):
        return (header if header.tzinfo else header.replace(tzinfo=UTC)).isoformat()
    if name == "attempt" and isinstance(header, str) and _DIGITS.fullmatch(header):
        return int(header)
    return header


def _written(header: Any) -> str:
    if header is None or isinstance(header, str | bool | int):
        return json.dumps(header)
    return json.dumps(str(header)[:SHOWN_CHARACTERS_MAX])


def _data(body: bytes) -> str:
    """The data as JSON. What is none becomes a text, which no command takes."""
    text = body.decode(errors="replace")
    if len(body) > COMMAND_BYTES_MAX:
        return text
    try:
        if "\ufffd" in text:
            body.decode()
        json.loads(text, parse_int=len, parse_float=len, parse_constant=len)
    except ValueError:
        return compact_json(text[:SHOWN_CHARACTERS_MAX])
    except RecursionError:
        return text  # Nested too deep, which is told later.
    return text
