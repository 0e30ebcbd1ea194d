"""Faults: each thing that is wrong with a command or a query, as data and as a sentence made from the same data.

A rule or a check says what is wrong and where (`Fault`). Here the place is looked up in what was sent, so that an entry
and the command that it points into cannot disagree.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Annotated, Any, Self

from pydantic import Field

from genlock.schemas.base import JsonObject, Known, KnownKind, Shown, compact_json
from genlock.schemas.codes import Code
from genlock.schemas.suggestions import nearest
from genlock.schemas.values import value

ERRORS_MAX = 100
"""How many faults are listed. A command may have 100,000, which do not fit into an event."""

ERRORS_BYTES_MAX = 128 * 1024
"""How many bytes of JSON the list has at most, save that the first fault is always there."""

VALUE_BYTES_MAX = 1024
"""A larger value is left out; the pointer leads to it."""

LOOKED_UP_MAX = 25
"""For how many names of a command the nearest ones are looked up, which takes some tenths of a millisecond for each."""

POINTER_CHARACTERS_MAX = 2_000
"""A longer pointer is left out, for one that is cut would point elsewhere."""

QUOTED_CHARACTERS_MAX = 255
"""How much of an invalid type or name is quoted: the maximum of a routing key."""


class FieldError(Shown):
    """A fault of a command or a query.

    `message` says the same as the other fields, and is for people. All but `path` and `message` may be absent.
    """

    code: Annotated[Known[Code], Field(description="What is wrong. Absent in events of earlier versions.")] | None = (
        None
    )
    path: Annotated[
        str,
        Field(description="Where the fault stands, such as `data.body`; empty if nowhere, or in all of it."),
    ]
    pointer: (
        Annotated[
            str,
            Field(
                description="The same as a JSON Pointer (RFC 6901) into the command or the query as it was sent, such "
                "as `/data/body`. Absent if the fault stands nowhere in it."
            ),
        ]
        | None
    ) = None
    value: Annotated[
        Any,
        Field(
            description="What stands there; the name of the member, or a name in a term, where that is wrong. "
            f"Absent if nothing does, or more than {VALUE_BYTES_MAX} bytes of JSON."
        ),
    ] = None
    suggestions: list[str] = Field(
        default_factory=list, description="What could stand in place of `value`, the nearest first. Absent if unknown."
    )
    constraints: JsonObject = Field(
        default_factory=dict,
        description="What `value` must meet and does not: keywords of JSON Schema with what they demand, such as "
        '`{"maximum": 64}`, or of an inventory, such as `{"min_unit": 4}`.',
    )
    kind: Annotated[KnownKind, Field(description="The kind of the record that the fault is about.")] | None = None
    id: Annotated[str, Field(description="The id of that record.")] | None = None
    actual: (
        Annotated[
            JsonObject,
            Field(
                description="What that record has: `resource_class` and `used` of an inventory, or the `action` and "
                "`status` of a stack."
            ),
        ]
        | None
    ) = None
    message: Annotated[str, Field(description="The fault as a sentence.")]


class _Nothing:
    """Stands for no value, which is not null."""


NOTHING = _Nothing()

Place = tuple[str | int, ...]
"""Where something stands in a command: the names and the indexes that lead to it. Ids may be in lower case."""


@value
class Fault:
    """What is wrong, and where in the command."""

    code: Code
    message: str
    at: Place | None = None
    """None if it stands nowhere in it."""
    named: bool = False
    """Whether the name of the member is wrong, and not its value."""
    found: Any = NOTHING
    """The value, where the command as it is kept does not have it."""
    known: frozenset[str] = frozenset()
    """The names of which one may be meant. The nearest are suggested."""
    suggestions: tuple[str, ...] = ()
    """For the case that none is near."""
    constraints: JsonObject | None = None
    kind: str | None = None
    id: str | None = None
    actual: JsonObject | None = None
    path: str | None = None
    """Where the fault stands, in place of the dotted form of `at`."""


@value
class Faults:
    """The faults of one command, at least one: those that can be listed, how many there are, and a sentence."""

    listed: tuple[Fault, ...]
    total: int
    message: str

    @classmethod
    def of(cls, faults: Sequence[Fault], *, told: int = 1) -> Self:
        """All the faults, of which the sentence tells the first ones."""
        more = len(faults) - told
        sentences = [fault.message for fault in faults[:told]] + ([f"And {more} more."] if more > 0 else [])
        return cls(tuple(faults[:ERRORS_MAX]), len(faults), " ".join(sentences))

    @property
    def code(self) -> Code:
        """The code of the first one."""
        return self.listed[0].code


def entries(faults: Iterable[Fault], sent: JsonObject) -> list[FieldError]:
    """The faults as entries that point into what was sent: the first ones, within both limits."""
    locator = _Locator(sent)
    listed: list[FieldError] = []
    room = ERRORS_BYTES_MAX
    looked_up: set[str] = set()
    for fault in islice(faults, ERRORS_MAX):
        entry = _entry(fault, locator, looked_up)
        room -= len(entry.model_dump_json(exclude_unset=True).encode())
        if room < 0 and listed:
            break
        listed.append(entry)
    return listed


def _entry(fault: Fault, locator: "_Locator", looked_up: set[str]) -> FieldError:
    fields: dict[str, Any] = {"code": fault.code, "path": fault.path, "message": fault.message}
    if fault.path is None:
        fields["path"] = dotted(fault.at or ())
    found = fault.found
    if fault.at is not None:
        place, there = locator.locate(fault.at)
        if len(written := pointer(place)) <= POINTER_CHARACTERS_MAX:
            fields["pointer"] = written
        if found is NOTHING and place:
            found = place[-1] if fault.named else there
    if found is not NOTHING and is_small(found):
        fields["value"] = found
    if suggestions := _nearest(found, fault.known, looked_up) or fault.suggestions:
        fields["suggestions"] = list(suggestions)
    for name in ("constraints", "kind", "id", "actual"):
        if (given := getattr(fault, name)) is not None:
            fields[name] = given
    return FieldError(**fields)


def _nearest(found: Any, known: frozenset[str], looked_up: set[str]) -> tuple[str, ...]:
    """The nearest known names, for the first names that are asked for."""
    if not known or not isinstance(found, str):
        return ()
    if len(looked_up) < LOOKED_UP_MAX:
        looked_up.add(found)
    return nearest(found, known) if found in looked_up else ()


def dotted(place: Place) -> str:
    """A place as a `path`: its parts joined by dots, each cut to 255 characters."""
    return ".".join(str(part)[:QUOTED_CHARACTERS_MAX] for part in place)


def pointer(place: Place) -> str:
    """A place as a JSON Pointer."""
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in place)


def is_small(found: Any) -> bool:
    """Tell whether a value has at most VALUE_BYTES_MAX bytes of JSON, without writing out a large one."""
    return _room(found, VALUE_BYTES_MAX) >= 0 and len(compact_json(found).encode()) <= VALUE_BYTES_MAX


def _room(found: Any, room: int) -> int:
    """How many bytes a value leaves at most of some; negative if it is surely too large."""
    if isinstance(found, str):
        return room - len(found)
    if isinstance(found, Mapping):
        for name, member in found.items():
            room = _room(member, room - len(name)) if room >= 0 else room
            if room < 0:
                break
    elif isinstance(found, list):
        for element in found:
            room = _room(element, room)
            if room < 0:
                break
    return room - 1


class _Locator:
    """Finds places in what was sent. Ids are compared without case: the rules have them in lower case."""

    def __init__(self, sent: JsonObject) -> None:
        self._sent = sent
        self._spelt: dict[int, dict[str, str]] = {}

    def locate(self, at: Place) -> tuple[Place, Any]:
        """The place as it is spelt in what was sent, and what stands there, which may be NOTHING."""
        place: list[str | int] = []
        here: Any = self._sent
        for part in at:
            found: str | int = part
            if isinstance(here, Mapping):
                found = part if part in here else self._names_in(here).get(str(part), part)
                here = here.get(found, NOTHING)
            elif isinstance(here, list) and isinstance(part, int) and 0 <= part < len(here):
                here = here[part]
            else:
                here = NOTHING
            place.append(found)
        return tuple(place), here

    def _names_in(self, members: Mapping[str, Any]) -> dict[str, str]:
        # Made once, for there may be a hundred faults among ten thousand members.
        if id(members) not in self._spelt:
            self._spelt[id(members)] = {name.lower(): name for name in members}
        return self._spelt[id(members)]
