"""A closer look at a JSON text that has something wrong with it: what, and where."""

import json
import re
from collections.abc import Collection, Iterable
from functools import cached_property
from itertools import chain, compress, count
from typing import Any

from genlock.schemas.base import GENERATION_MAX
from genlock.schemas.numbers import CHANGED, TOO_SMALL, change_of, unsafe_numbers
from genlock.schemas.values import value

VIOLATIONS_MAX = 100
"""How many violations are listed. A text may have 100,000, which do not fit into an event."""

TWICE_MAX = 1_000
"""How many objects with a member that is there twice are remembered."""

QUOTED_CHARACTERS_MAX = 255
"""How much of a name or a number a violation quotes."""

TWICE = "is there twice"
NOT_63_BITS = "is an integer that does not fit into 63 bits and a sign"

INTEGER_MIN = -GENERATION_MAX - 1

_INTEGER_DIGITS_MAX = 1_000
"""Python reads no integer of more than 4,300 digits. Any of so many is too large."""
_LONG_INTEGER = re.compile(r"\d{19}", re.ASCII)
_HUGE_INTEGER = re.compile(r"\d{1000}", re.ASCII)

VISITS_MAX = 20_000
"""Through how many arrays and objects a path is searched."""
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")


@value
class Violation:
    """What is wrong with a value: where it stands, a clause about it, and what is written there, if it is a number."""

    place: tuple[str | int, ...]
    clause: str
    written: str | None = None

    @property
    def path(self) -> str:
        """The place as text, such as `data.body.a`."""
        return ".".join(str(name)[:QUOTED_CHARACTERS_MAX] for name in self.place)


@value
class Misfit:
    """Stands in a parsed tree for a number that is not kept as it is written."""

    clause: str
    written: str


_Path = tuple["_Path", str | int] | None
"""The path to a value: that of the array or object which it is in, and its name or index there."""


class _EnoughError(Exception):
    """As many violations are listed as may be."""


class Inspection:
    """One reading of a text with the digits of its numbers and all members of its objects.

    Raises ValueError if the text is no JSON, and RecursionError if it is too deep for the parser.
    """

    def __init__(self, text: str) -> None:
        self.violations: list[Violation] = []
        self.misfits = False
        """Whether a number has no value, be it in a member that a later one of its name replaces."""
        self.unstorable = False
        """Whether a text cannot be stored."""
        self._unsafe = unsafe_numbers(text)
        self._known: dict[str, Misfit | None] = {}
        self._made = 0
        self._visits = 0
        self._escapes = "\\u" in text
        self._long_integers = bool(_LONG_INTEGER.search(text))
        self._twice: dict[int, list[str]] = {}
        self._kept: list[Any] = []
        self._latest: tuple[Any, list[tuple[str, Any]]] = (None, [])
        self.tree: Any = json.loads(
            text,
            parse_int=self._integer if _HUGE_INTEGER.search(text) else int,
            parse_float=self._decimal if self._unsafe else _zero,
            parse_constant=self._constant,
            object_pairs_hook=self._members,
        )
        """What the text says, with a Misfit for each number that is not kept. Other decimals are all 0."""
        # The outermost object is read last.
        latest, pairs = self._latest
        self.twice = _values_twice(pairs) if latest is self.tree else {}
        """The outermost members that are there twice, with all of their values."""
        self._find()
        if pairs and not self.violations:
            self._add(
                None, f"has a member {shown(_names_twice(pairs)[0])[:QUOTED_CHARACTERS_MAX]!r} that is there twice"
            )

    def _find(self) -> None:
        """List what is wrong. Where a text has very many arrays and objects, not every path is found."""
        try:
            for name in self.twice:
                self._add((None, name), TWICE)
            if type(self.tree) in (dict, list):
                self._visit(self.tree, None)
            elif type(self.tree) in self._suspects and (clause := self._fault(self.tree)):
                self._add(None, clause)
        except _EnoughError:
            if self.violations or self._latest[1]:
                self.misfits |= self._long_integers
                self.unstorable |= self._escapes
            elif faults := self._faults_anywhere():
                self._add(None, faults.pop())

    def _integer(self, digits: str) -> int:
        return int(digits[:_INTEGER_DIGITS_MAX])

    def _decimal(self, digits: str) -> float | Misfit:
        number = digits.removeprefix("-")
        if number not in self._unsafe:
            return 0.0
        if number not in self._known:
            if self._made == VIOLATIONS_MAX:
                self.misfits = True
                return 0.0
            self._known[number] = self._misfit(clause, digits) if (clause := change_of(number)) else None
        return self._known[number] or 0.0

    def _constant(self, name: str) -> Misfit:
        if name not in self._known:
            self._known[name] = self._misfit(f"is {name}, which is not JSON", name)
        return self._known[name] or Misfit("", "")

    def _misfit(self, clause: str, written: str) -> Misfit:
        self._made += 1
        self.misfits |= clause not in (CHANGED, TOO_SMALL)
        return Misfit(clause, written[:QUOTED_CHARACTERS_MAX])

    def _members(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) < len(pairs):
            self._latest = members, pairs
            if len(self._twice) < TWICE_MAX:
                self._twice[id(members)] = _names_twice(pairs)
                self._kept.append(members)  # So that no other object gets its id.
        return members

    def _visit(self, item: Any, path: _Path) -> None:
        """List what is wrong within an array or an object. Raises _EnoughError."""
        self._visits += 1
        if self._visits > VISITS_MAX:
            raise _EnoughError
        names: Iterable[Any] = count()
        values: Collection[Any] = item
        if type(item) is dict:
            names, values = item, item.values()
            if id(item) in self._twice and item is not self.tree:
                for name in self._twice[id(item)]:
                    self._add((path, name), TWICE)
            if self._escapes:
                for name in filter(_UNSTORABLE.search, item):
                    self._add((path, name), self._fault(name) or "")
        for name, child in self._suspicious(names, values):
            if type(child) is dict or type(child) is list:
                self._visit(child, (path, name))
            elif clause := self._fault(child):
                self._add((path, name), clause, None if type(child) is str else _written(child))

    @cached_property
    def _suspects(self) -> frozenset[type]:
        """The types of which a value may have something wrong with it."""
        kinds: set[type] = {dict, list, Misfit}
        return frozenset(kinds | ({str} if self._escapes else set()) | ({int} if self._long_integers else set()))

    def _suspicious(self, names: Iterable[Any], values: Collection[Any]) -> Iterable[tuple[Any, Any]]:
        """The values that may have something wrong with them, and may be millions, with their names."""
        pairs = zip(names, values, strict=False)
        suspects = self._suspects
        if not self._long_integers:
            return compress(pairs, map(suspects.__contains__, map(type, values)))
        return [
            (name, child)
            for name, child in pairs
            if (kind := type(child)) in suspects and (kind is not int or not INTEGER_MIN <= child <= GENERATION_MAX)
        ]

    def _faults_anywhere(self) -> set[str]:
        """What is wrong somewhere, without its path."""
        faults: set[str | None] = set()
        level = [self.tree]
        while level:
            items = [item for _, item in self._suspicious(level, level)]
            kinds = set(map(type, items))
            if kinds - {dict, list}:
                faults.update(self._fault(item) for item in items if type(item) not in (dict, list))
            arrays = [item for item in items if type(item) is list] if list in kinds else []
            objects = [item for item in items if type(item) is dict] if dict in kinds else []
            level = [*chain.from_iterable(arrays), *chain.from_iterable(map(dict.values, objects))]
            if self._escapes:
                level += chain.from_iterable(objects)
        return {fault for fault in faults if fault}

    def _fault(self, scalar: Any) -> str | None:
        """What is wrong with a scalar, as a clause; None if nothing is."""
        kind = type(scalar)
        if kind is int:
            if INTEGER_MIN <= scalar <= GENERATION_MAX:
                return None
            self.misfits = True
            return NOT_63_BITS
        if kind is Misfit:
            return str(scalar.clause)
        if _UNSTORABLE.search(scalar):
            self.unstorable = True
            return "has the character U+0000" if "\0" in scalar else "has a lone surrogate"
        return None

    def _add(self, path: _Path, clause: str, written: str | None = None) -> None:
        if len(self.violations) == VIOLATIONS_MAX:
            raise _EnoughError
        self.violations.append(Violation(_place(path), clause, written))


def _written(number: int | Misfit) -> str:
    return number.written if isinstance(number, Misfit) else str(number)[:QUOTED_CHARACTERS_MAX]


def _zero(_: str) -> float:
    return 0.0


def _place(path: _Path) -> tuple[str | int, ...]:
    names: list[str | int] = []
    while path is not None:
        path, name = path
        names.append(shown(name) if isinstance(name, str) else name)
    return tuple(reversed(names))


def _names_twice(pairs: list[tuple[str, Any]]) -> list[str]:
    """The names that several pairs have, in their order."""
    seen: set[str] = set()
    twice: dict[str, None] = {}
    for name, _ in pairs:
        if name in seen:
            twice[name] = None
        seen.add(name)
    return list(twice)


def _values_twice(pairs: list[tuple[str, Any]]) -> dict[str, list[Any]]:
    values: dict[str, list[Any]] = {name: [] for name in _names_twice(pairs)}
    for name, item in pairs:
        if name in values:
            values[name].append(item)
    return values


def shown(name: str) -> str:
    """A text without characters that cannot be stored."""
    return _UNSTORABLE.sub("\ufffd", name)


def is_storable(scalar: Any) -> bool:
    """Tell whether PostgreSQL and UTF-8 can hold a scalar; False for arrays and objects."""
    if isinstance(scalar, str):
        return not _UNSTORABLE.search(scalar)
    return not isinstance(scalar, dict | list)
