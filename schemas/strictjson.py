"""Strict JSON: what parsers accept but databases or other languages cannot handle is a violation.

A text that is no JSON raises ValueError. A text that is JSON but has a member twice, a number that neither an integer
of 63 bits nor a double keeps, NaN, a lone surrogate or U+0000 is parsed, and its violations are listed.

One fast parser reads every text. What it does not show, members that it dropped and digits that it rounded, is told
from the text at little cost; only a text that raises a suspicion is read again with hooks. The time for each byte is
bounded whatever it says (tests/timed/test_reading.py).
"""

import codecs
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import field
from itertools import chain
from typing import Any

import orjson

from genlock.schemas.inspection import Inspection, Misfit, Violation
from genlock.schemas.numbers import has_changed_number
from genlock.schemas.values import value

DEPTH_MAX = 64
TOO_DEEP = f"is nested deeper than {DEPTH_MAX} levels"

SMALL_CHARACTERS = 4096

_SPACE = re.compile(r"[ \t\n\r]*")
_BRACKETS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"|[\[{]++|[\]}]++', re.DOTALL)


@value
class Parsed:
    """A parsed text. Without violations, `value` is what it says."""

    value: Any
    violations: tuple[Violation, ...] = ()
    lenient: bool = True
    """Whether its only violations are members that are there twice, of which `value` has the last one, and numbers that
    a double changes, of which it has the double: as most parsers read it."""
    twice: Mapping[str, list[Any]] = field(default_factory=dict)
    """The outermost members that are there twice, with all of their values."""


class TooDeepError(ValueError):
    """The text is nested deeper than 64 levels. `value` is what it says, or None if it is too deep for any parser."""

    def __init__(self, value: Any = None) -> None:
        super().__init__(f"it {TOO_DEEP}")
        self.value = value


def without_mark(body: bytes) -> bytes:
    """The body without the byte order mark that some programs write before UTF-8."""
    return body.removeprefix(codecs.BOM_UTF8)


def parse(text: str) -> Parsed:
    """Parse strictly. Raises ValueError if the text is no JSON, and TooDeepError, which is one."""
    try:
        parsed = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _inspect_unread(text)
    return _inspect(text, parsed) if _is_suspicious(text, parsed) else Parsed(parsed)


def _is_suspicious(text: str, parsed: Any) -> bool:
    """Tell whether a text may say more than the parser has read, or what is not kept. Raises TooDeepError."""
    if text.count("[") + text.count("{") > DEPTH_MAX and _depth(parsed) > DEPTH_MAX:
        raise TooDeepError(parsed)
    if "\\u0000" in text:
        return True
    try:
        again = orjson.dumps(parsed, option=orjson.OPT_STRICT_INTEGER)
    except orjson.JSONEncodeError:  # There is an integer of more than 53 bits.
        return _has_dropped(text, orjson.dumps(parsed)) or has_changed_number(text)
    # If all is there but for spaces, so is each member, and each number as its double is written.
    if again.decode().replace(" ", "") == text.replace(" ", ""):
        return False
    if _has_dropped(text, again):
        return True
    # To search a small text takes longer than to visit its values, of which a large one may have a million.
    return (len(text) > SMALL_CHARACTERS or _has_double(parsed)) and has_changed_number(text)


def _has_double(parsed: Any) -> bool:
    left = [parsed]
    while left:
        item = left.pop()
        kind = type(item)
        if kind is dict:
            left += item.values()
        elif kind is list:
            left += item
        elif kind is float:
            return True
    return False


def _depth(parsed: Any) -> int:
    """How deep a value is nested."""
    depth, level = 0, [parsed]
    while level:
        kinds = set(map(type, level))
        arrays = [item for item in level if type(item) is list] if len(kinds) > 1 else level * (list in kinds)
        objects = [item for item in level if type(item) is dict] if dict in kinds else []
        depth += bool(arrays or objects)
        level = list(chain(chain.from_iterable(arrays), chain.from_iterable(map(dict.values, objects))))
    return depth


def _has_dropped(text: str, again: bytes) -> bool:
    """Tell whether the parser may have dropped members because a later one has the same name.

    Each member has a colon, and the other colons stand in strings. Where all are left, no member is missing. An escaped
    colon is one in what is written again, but not in the text.
    """
    return "\\u003a" in text or "\\u003A" in text or text.count(":") != again.count(b":")


def _inspect(text: str, parsed: Any) -> Parsed:
    """List the violations of a text that the fast parser has read. Not every suspicion is one."""
    return _result(Inspection(text), lambda: parsed)


def _inspect_unread(text: str) -> Parsed:
    """Read what the fast parser does not take. Raises ValueError and TooDeepError."""
    try:
        inspection = Inspection(text)
    except RecursionError:
        raise TooDeepError from None
    if _depth(inspection.tree) > DEPTH_MAX:
        raise TooDeepError(_members(inspection.tree))
    return _result(inspection, lambda: json.loads(text))


def _result(inspection: Inspection, read: Callable[[], Any]) -> Parsed:
    lenient = not (inspection.unstorable or inspection.misfits)
    known = read() if lenient else _members(inspection.tree)
    return Parsed(known, tuple(inspection.violations), lenient, inspection.twice)


def _members(tree: Any) -> Any:
    """What can be told of a text with violations: the members that are strings or other scalars."""
    if not isinstance(tree, dict):
        return None
    return {name: item for name, item in tree.items() if not isinstance(item, Misfit | dict | list)}


def split_array(text: str) -> Iterator[str]:
    """The texts of an array's elements. Raises ValueError if the text is no JSON array."""
    # Only the end of each element is wanted here. Numbers of any length have one.
    decoder = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=len)
    at = _after(text, _SPACE.match(text), "[")
    if text[at : at + 1] == "]":
        at = _after(text, _SPACE.match(text, at), "]")
    else:
        more = True
        while more:
            try:
                _, end = decoder.raw_decode(text, at)
            except RecursionError:
                end = _end_of_nested(text, at)
            yield text[at:end]
            space = _SPACE.match(text, end)
            more = text[space.end() : space.end() + 1] == "," if space else False
            at = _after(text, space, "," if more else "]")
    if at != len(text):
        raise ValueError(f"more after the array, at character {at}")


def _after(text: str, space: "re.Match[str] | None", mark: str) -> int:
    """The position after optional space, a mark and optional space."""
    at = space.end() if space else 0
    if text[at : at + 1] != mark:
        raise ValueError(f"no {mark} at character {at}")
    following = _SPACE.match(text, at + 1)
    return following.end() if following else at + 1


def _end_of_nested(text: str, at: int) -> int:
    """The end of an array or object that is nested deeper than the parser's limit."""
    depth = 0
    for token in _BRACKETS.finditer(text, at):
        first = token[0][0]
        if first in "[{":
            depth += len(token[0])
        elif first != '"':
            if len(token[0]) >= depth:
                return token.start() + depth
            depth -= len(token[0])
    raise ValueError("an array or object does not end")
