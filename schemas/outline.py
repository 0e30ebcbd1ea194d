"""The attributes of a message whose body is not read: too long, or nested too deep.

Those in front of the first array or object, and those behind the last one, within a bounded distance of either end.
So the id of any command is found whose attributes stand before or after its data, however long that is, and the time
does not grow with it.
"""

import json
import re
from collections.abc import Iterator
from typing import Any

import orjson

from genlock.schemas.base import JsonObject

OUTLINE_BYTES_MAX = 64 * 1024
"""How much is read at either end."""

_STRING = rb'"(?:[^"\\]|\\.)*+"'
_WORD = rb'[^\s"\[\]{},:\\]++'
_FRONT = re.compile(rb"\s*+(" + _STRING + rb")\s*+:\s*+(" + _STRING + rb"|" + _WORD + rb")\s*+([,}])", re.DOTALL)

# The same from right to left, on reversed bytes: an escaped quote has an odd number of backslashes behind it there.
_BACK_STRING = rb'"(?:[^"]|"(?=\\(?:\\\\)*+(?!\\)))*+"'
_BACK = re.compile(
    rb"\s*+(" + _BACK_STRING + rb"|" + _WORD + rb")\s*+:\s*+(" + _BACK_STRING + rb")\s*+([,{])", re.DOTALL
)


def outline(body: bytes) -> JsonObject:
    """The attributes of a JSON object that can be told without reading the rest; none that has two values.

    Raises ValueError if the body neither begins nor ends as an object does, or an attribute is not UTF-8.
    """
    text = body.strip(b" \t\n\r") if body[:1].isspace() or body[-1:].isspace() else body
    if not (text.startswith(b"{") and text.endswith(b"}")):
        raise ValueError("not a JSON object")
    attributes: JsonObject = {}
    twice: set[str] = set()
    for name, value in _attributes(text):
        if attributes.setdefault(name, value) != value:
            twice.add(name)
    return {name: value for name, value in attributes.items() if name not in twice}


def _attributes(text: bytes) -> Iterator[tuple[str, Any]]:
    at = 1
    while member := _FRONT.match(text, at, OUTLINE_BYTES_MAX):
        at = member.end()
        yield json.loads(member[1]), _scalar(member[2])
        if member[3] == b"}":
            return
    rest = text[max(at, len(text) - OUTLINE_BYTES_MAX) : -1][::-1]
    at = 0
    while member := _BACK.match(rest, at):
        at = member.end()
        yield json.loads(member[2][::-1]), _scalar(member[1][::-1])
        if member[3] == b"{":
            return


def _scalar(written: bytes) -> Any:
    """A string, number, true, false or null; None for what is none of them."""
    if written.startswith(b'"'):
        return json.loads(written)
    try:
        return orjson.loads(written)
    except orjson.JSONDecodeError:
        return None
