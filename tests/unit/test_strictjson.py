"""Strict JSON says what a reference says that reads text token by token: values, and faults with their paths."""

import json
import math
import re
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from genlock.schemas.inspection import Inspection
from genlock.schemas.strictjson import SMALL_CHARACTERS, TooDeepError, parse, split_array

numbers = st.one_of(
    st.integers().map(str),
    st.integers(2**63 - 2, 2**63 + 1).map(str),
    st.integers(-(2**63) - 1, -(2**63) + 2).map(str),
    st.integers(2**64 - 1, 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(allow_nan=False, allow_infinity=False).map("{:.17g}".format),
    st.floats(0, 1e-307, allow_subnormal=True).map("{:.3e}".format),
    st.from_regex(r"-?(0|[1-9][0-9]{0,24})(\.[0-9]{1,24})?([eE][-+]?[0-9]{1,4})?", fullmatch=True),
    st.sampled_from(["NaN", "Infinity", "-Infinity"]),
)
strings = st.one_of(
    st.text().map(json.dumps),
    st.text(':"\\ ,0123456789.e', max_size=30).map(json.dumps),
    st.sampled_from(['"\\ud800"', '"\\u0000"', '"\\u003a"', '"\\u003A:"', '"\\\\u003a"', '"a"', '"\\u0061"', '"b"']),
)
names = st.one_of(strings, st.sampled_from(['"a"', '"b"', '":"', '""']))
texts = st.recursive(
    st.one_of(numbers, strings, st.sampled_from(["true", "false", "null"])),
    lambda parts: st.one_of(
        st.lists(parts, max_size=4).map(lambda items: f"[{', '.join(items)}]"),
        st.lists(st.tuples(names, parts), max_size=4).map(
            lambda members: f"{{{','.join(f'{name}: {value}' for name, value in members)}}}"
        ),
    ),
    max_leaves=12,
)
rubbish = st.text('[]{}",:0123456789.eE+-truefalsnl \\u\n', max_size=12)

TOKEN = re.compile(r'\s*("(?:[^"\\]|\\.)*"|-?Infinity|NaN|-?[0-9][0-9.eE+-]*|[a-z]+|[\[\]{},:])')


Path = tuple[str, ...]

enough = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Reference:
    """Reads JSON that is known to be well-formed, and notes each fault of what the last members of a name say."""

    def __init__(self, text: str) -> None:
        self.tokens = TOKEN.findall(text)
        self.at = 0

    def next(self) -> str:
        self.at += 1
        return str(self.tokens[self.at - 1])

    def value(self) -> tuple[Any, list[Path]]:
        """A value, and the paths of the faults in it."""
        read = self.next()
        if read == "{":
            return self.members()
        if read == "[":
            return self.elements()
        if read.startswith('"'):
            text = json.loads(read)
            return text, [()] if unstorable(text) else []
        if read in ("true", "false", "null"):
            return {"true": True, "false": False, "null": None}[read], []
        return number(read)

    def members(self) -> tuple[Any, list[Path]]:
        members: dict[str, tuple[Any, list[Path]]] = {}
        twice: list[Path] = []
        while (read := self.next()) != "}":
            if read == ",":
                continue
            name = json.loads(read)
            assert self.next() == ":"
            if name in members:
                twice.append((shown(name),))
            members[name] = self.value()
        faults = twice + [(shown(name),) for name in members if unstorable(name)]
        for name, (_, below) in members.items():
            faults += [(shown(name), *path) for path in below]
        return {name: value for name, (value, _) in members.items()}, faults

    def elements(self) -> tuple[Any, list[Path]]:
        values: list[Any] = []
        faults: list[Path] = []
        while self.tokens[self.at] != "]":
            if self.tokens[self.at] == ",":
                self.at += 1
            value, below = self.value()
            faults += [(str(len(values)), *path) for path in below]
            values.append(value)
        self.at += 1
        return values, faults


def unstorable(text: str) -> bool:
    return any(character == "\0" or "\ud800" <= character <= "\udfff" for character in text)


def shown(name: str) -> str:
    return "".join("\ufffd" if unstorable(character) else character for character in name)


def number(token: str) -> tuple[Any, list[Path]]:
    if token.lstrip("-").isdecimal():
        return int(token), [] if -(2**63) <= int(token) < 2**63 else [()]
    double = float(token)
    if not math.isfinite(double):
        return double, [()]
    written = Decimal(token)
    digits = len(re.split("[eE]", token)[0].lstrip("-").replace(".", "").lstrip("0")) or 1
    rounded = Context(prec=digits, rounding=ROUND_HALF_EVEN).create_decimal_from_float(double)
    return double, [] if written in (rounded, Decimal(repr(double))) else [()]


@enough
@given(texts)
@example("9223372036854775808")
@example('"\\u0000"')
@example("[9223372036854775807, -9223372036854775808, 9223372036854775808, -9223372036854775809]")
@example('{"a": 99999999999999999999, "a": [0.5, 1e-400]}')
@example('{"a": {"b": 1, "b": 2}, "a": NaN}')
@example('{"a b": 1, "ab": 2, "ab": 2}')
@example('{"a:b ,": [0.5, 1e2, 9007199254740993, -0], "b": "\\u003a"}')
@example('{"a": ["1.2345678901234567890", ", 1.2345678901234567890 ,"], "b": 1.5}')
def test_reading_says_what_the_reference_says(text: str) -> None:
    value, faults = Reference(text).value()
    # A text that is written again the same but for spaces is looked at no further, and a large one in another way.
    for padding in (" ", "\n", "\n" * SMALL_CHARACTERS):
        parsed = parse(text + padding)
        assert {violation.path for violation in parsed.violations} == {".".join(path) for path in faults}
        if not faults:
            # repr, because 1 equals 1.0 and -0.0 equals 0.
            assert repr(parsed.value) == repr(value)


@enough
@given(st.lists(texts, max_size=4))
def test_elements_of_an_array_are_found(elements: list[str]) -> None:
    assert list(split_array(f" [{' , '.join(elements)}]\n")) == elements


@enough
@given(rubbish)
def test_what_is_no_json_for_python_is_none_here(text: str) -> None:
    try:
        json.loads(text)
    except ValueError:
        with pytest.raises(ValueError, match=r"."):
            parse(text)
    else:
        parse(text)


@pytest.mark.parametrize(("depth", "known"), [(65, True), (900, True), (200_000, False)])
def test_65_levels_are_too_deep(depth: int, *, known: bool) -> None:
    parse("[" * 64 + "]" * 64)
    for inner in ("", "NaN"):
        with pytest.raises(TooDeepError):
            parse("[" * depth + inner + "]" * depth)
    with pytest.raises(TooDeepError) as caught:
        parse(f'{{"id": "x", "deep": {"[" * depth}{"]" * depth}}}')
    assert (caught.value.value is not None) is known


def test_fault_of_a_text_with_very_many_objects_is_told_without_its_path() -> None:
    for fault in ('{"a": 1, "a": 2}', "NaN", r'"\u0000"', "9" * 30, "0.1234567890123456789"):
        [violation] = parse(f"[0.5, {'[[]], ' * 50_000}{fault}]").violations
        assert violation.path == ""
    assert not parse(rf'["\\u0000", {"[[]], " * 50_000}0.5]').violations


def test_more_objects_with_members_twice_than_are_remembered_keep_those_of_the_outermost() -> None:
    many = '{"b": 0, "b": 0}, ' * 2_000
    parsed = parse(f'{{"id": 1, "list": [{many}0], "id": 2}}')
    assert parsed.twice == {"id": [1, 2]}
    assert len(Inspection(f"[{many}0]").violations) == 100
