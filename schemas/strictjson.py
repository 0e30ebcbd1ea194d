"""JSON as the contract wants it: what a parser lets through and a database or another language chokes on is a flaw.

A text that is no JSON at all raises ValueError. A text that is JSON but holds a number past 63 bits, NaN, a lone
surrogate, U+0000 or more than 64 levels parses, and its flaws are listed.
"""

import codecs
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import ijson
import orjson

from genlock.schemas.base import GENERATION_MAX, JsonObject

DEPTH_MAX = 64
INTEGER_DIGITS_MAX = 19

_SPACE = re.compile(r"[ \t\n\r]*")
_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{}]', re.DOTALL)
_SURROGATE = re.compile("[\ud800-\udfff]")

SKIM_CHUNK_BYTES = 1024 * 1024
"""How much ijson reads at once: a long text is read anew with each chunk, and each chunk's parts are held in memory."""

# What `parse` puts 0 in the place of and ijson, which reads numbers as C does, takes for broken JSON. (Told to read
# them as Python does, it crashes on an integer of 5,000 digits.) The first group is what stands before it.
_WIDE = rb"(?<![\w.+-])(?:NaN|-?Infinity)(?![\w.+-])|-?\d[\d.eE+-]{18,}+|-?\d[\d.]*+[eE][\d.eE+-]*+"
_UP_TO_WIDE = re.compile(
    rb'((?:"(?:[^"\\]|\\.)*+(?:"|\Z)|[^"\-0-9NI]++|(?!' + _WIDE + rb").)*+)(" + _WIDE + rb"|\Z)", re.DOTALL
)


class _Numbers:
    """Parser hooks that note numbers which do not fit, and put 0 in their place."""

    def __init__(self) -> None:
        self.flaws: set[str] = set()

    def integer(self, digits: str) -> int:
        if len(digits) <= INTEGER_DIGITS_MAX + 1:
            value = int(digits)
            if -GENERATION_MAX - 1 <= value <= GENERATION_MAX:
                return value
        self.flaws.add("has an integer that does not fit into 63 bits and a sign")
        return 0

    def fraction(self, digits: str) -> float:
        value = float(digits)
        if math.isfinite(value):
            return value
        self.flaws.add("has a number that does not fit into a double")
        return 0.0

    def constant(self, name: str) -> float:
        self.flaws.add(f"has {name}, which is not JSON")
        return 0.0


def without_mark(body: bytes) -> bytes:
    """The body without the byte order mark that some programs write in front of UTF-8, and which says nothing."""
    return body.removeprefix(codecs.BOM_UTF8)


def parse(text: str) -> tuple[Any, list[str]]:
    """Parse strictly; return the value and its flaws, none when it is clean.

    Raises ValueError for what is no JSON, RecursionError for what is nested deeper than the parser goes
    (about a thousand levels): `skim` reads that.
    """
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return _parse_with_hooks(text)
    return _parse_with_hooks(text) if _has_wide_number(value) else (value, _more_flaws(text, value))


def _has_wide_number(value: Any) -> bool:
    """Tell whether a number is past 63 bits: orjson reads a longer integer as a float."""
    waiting = [value]
    for item in waiting:
        kind = type(item)
        if kind is dict:
            waiting += item.values()
        elif kind is list:
            waiting += item
        elif (kind is int or kind is float) and not -GENERATION_MAX <= item <= GENERATION_MAX:
            return True
    return False


def _parse_with_hooks(text: str) -> tuple[Any, list[str]]:
    """Parse five times as slowly, but see each number as it is written."""
    numbers = _Numbers()
    value = json.loads(text, parse_int=numbers.integer, parse_float=numbers.fraction, parse_constant=numbers.constant)
    flaws = sorted(numbers.flaws)
    return value, flaws + _more_flaws(text, value)


def _more_flaws(text: str, value: Any) -> list[str]:
    """The flaws that the parser's hooks do not see."""
    flaws = []
    # Only an escape can bring in what follows, and only this many brackets can nest too deep: most texts have neither.
    if "\\u" in text:
        flaws += text_flaws(value)
    if text.count("[") + text.count("{") > DEPTH_MAX and _depth(value) > DEPTH_MAX:
        flaws.append(f"is nested deeper than {DEPTH_MAX} levels")
    return flaws


@dataclass(frozen=True, slots=True)
class Element:
    """An element of an array as it is written, its value, and its flaws; without a value it is nested too deep."""

    text: str
    value: Any
    flaws: list[str]


def parse_array(text: str) -> Iterator[Element]:
    """Parse the elements of an array, each as strictly as `parse` does. Raises ValueError for what is no JSON array."""
    numbers = _Numbers()
    decoder = json.JSONDecoder(parse_int=numbers.integer, parse_float=numbers.fraction, parse_constant=numbers.constant)
    at = _after(text, _SPACE.match(text), "[")
    if text[at : at + 1] == "]":
        at = _after(text, _SPACE.match(text, at), "]")
    else:
        more = True
        while more:
            numbers.flaws.clear()
            try:
                value, end = decoder.raw_decode(text, at)
            except RecursionError:
                end = _end_of_nested(text, at)
                yield Element(text[at:end], None, [f"is nested deeper than {DEPTH_MAX} levels"])
            else:
                written = text[at:end]
                yield Element(written, value, sorted(numbers.flaws) + _more_flaws(written, value))
            space = _SPACE.match(text, end)
            more = text[space.end() : space.end() + 1] == "," if space else False
            at = _after(text, space, "," if more else "]")
    if at != len(text):
        raise ValueError(f"more after the array, at character {at}")


def _after(text: str, space: "re.Match[str] | None", mark: str) -> int:
    """Where the text goes on after some space, a mark and more space."""
    at = space.end() if space else 0
    if text[at : at + 1] != mark:
        raise ValueError(f"no {mark} at character {at}")
    following = _SPACE.match(text, at + 1)
    return following.end() if following else at + 1


def _end_of_nested(text: str, at: int) -> int:
    """Where an array or object ends that is nested deeper than the parser goes."""
    depth = 0
    for token in _BRACKET.finditer(text, at):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return token.end()
    raise ValueError("an array or object does not end")


def text_flaws(value: Any) -> list[str]:
    """List what its texts hold that PostgreSQL or UTF-8 cannot."""
    flaws = set()
    for text in _texts(value):
        if "\0" in text:
            flaws.add("has the character U+0000")
        if _SURROGATE.search(text):
            flaws.add("has a lone surrogate")
    return sorted(flaws)


def _texts(value: Any) -> list[str]:
    texts, waiting = [], [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            texts.append(item)
        elif isinstance(item, dict):
            texts.extend(item)
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)
    return texts


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [item for item in level if isinstance(item, dict | list)]:
        depth += 1
        level = [child for item in level for child in (item.values() if isinstance(item, dict) else item)]
    return depth


def skim(body: bytes) -> JsonObject:
    """Read only the scalar members of the outermost object, however deep or long the rest is.

    Streams, so that neither depth nor length matters. Raises ValueError for what is no JSON object.
    """
    try:
        return _outermost(body)
    except ijson.JSONError:
        narrowed = _UP_TO_WIDE.sub(_narrowed, body)
    try:
        return _outermost(narrowed)
    except ijson.JSONError as error:
        raise ValueError(str(error)) from error


def _narrowed(match: re.Match[bytes]) -> bytes:
    """Put 0 in the place of a number that does not fit; leave what is no number."""
    try:
        _, flaws = parse(match[2].decode())
    except ValueError:
        flaws = []
    return match[1] + b"0" if flaws else match[0]


def _outermost(body: bytes) -> JsonObject:
    members: JsonObject = {}
    depth, key = 0, ""
    for event, value in ijson.basic_parse(BytesIO(body), buf_size=SKIM_CHUNK_BYTES, use_float=True):
        if event in ("start_map", "start_array"):
            if depth == 0 and event == "start_array":
                raise ValueError("not a JSON object")
            depth += 1
        elif event in ("end_map", "end_array"):
            depth -= 1
        elif depth == 1 and event == "map_key":
            key = value
        elif depth == 1:
            members[key] = value
    return members
