"""What a batch may read and change: gathered from its commands before anything is locked, and held to by the state."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Self, TypeVar

from genlock.schemas.base import Kind
from genlock.service.deciding.limits import ALONE, SEVERAL, StateLimits
from genlock.service.deciding.record import Name, RecordKey

P = TypeVar("P")


def key_of(kind: Kind, record_id: str) -> str:
    """The key of a record: one text, as held commands have it."""
    return f"{kind}/{record_id}"


def key_of_name(name: Name) -> str:
    """The key of a name."""
    return "{} name/{}".format(*name)


class UndeclaredError(Exception):
    """A rule asked for something, or changed something, that is not in its footprint: a fault of the rule."""


def require(what: object, *, declared: bool) -> None:
    """Raise UndeclaredError unless `what` is declared in the footprint."""
    if not declared:
        raise UndeclaredError(f"{what} is not in the footprint of the command")


@dataclass(slots=True, eq=False)
class Footprint:
    """Ids of commands, ids of records by kind, wanted names, and parts that single kinds add.

    All of its records are locked: exclusively if they may change, shared if they are only read. Batches of one process
    are decided concurrently if their footprints are disjoint.
    """

    commands: set[str] = field(default_factory=set)
    """The commands themselves, each of which the ledger records once."""
    changes: dict[Kind, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Records that a command may change, or that no other batch may even read meanwhile."""
    reads: dict[Kind, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Records that a command depends on and leaves as they are. Other batches may read them meanwhile."""
    names: set[Name] = field(default_factory=set)
    """Names that a record may take, or be refused."""
    parts: dict[type[Any], Any] = field(default_factory=dict)
    """What single kinds add, by type. Only its own kind knows a part."""

    def change(self, kind: Kind, *ids: str) -> None:
        """Add records that may be changed."""
        self.changes[kind].update(ids)

    def read(self, kind: Kind, *ids: str) -> None:
        """Add records that are only read."""
        self.reads[kind].update(ids)

    @property
    def limits(self) -> StateLimits:
        """How much may be read of what it has."""
        return ALONE if len(self.commands) == 1 else SEVERAL

    def copy(self) -> Self:
        """A footprint that can be widened independently. It shares the parts: nothing is added to them any more."""
        changes = defaultdict(set, {kind: set(ids) for kind, ids in self.changes.items()})
        reads = defaultdict(set, {kind: set(ids) for kind, ids in self.reads.items()})
        return replace(self, changes=changes, reads=reads)

    def disjoint(self, other: "Footprint") -> bool:
        """Tell whether they share no command and no name, and neither changes what the other one reads or changes."""
        return (
            self.commands.isdisjoint(other.commands)
            and self.names.isdisjoint(other.names)
            and _disjoint(self.changes, other.changes)
            and _disjoint(self.changes, other.reads)
            and _disjoint(self.reads, other.changes)
        )

    def part(self, model: type[P]) -> P:
        """The part of this type, an empty one where no command has added anything to it."""
        part: P | None = self.parts.get(model)
        if part is None:
            part = self.parts[model] = model()
        return part

    def ids(self, kind: Kind) -> set[str]:
        """The ids of all records of a kind."""
        return self.changes.get(kind, set()) | self.reads.get(kind, set())

    def keys(self) -> set[str]:
        """The keys of all its records and names."""
        records = {key_of(kind, record_id) for kind in (*self.changes, *self.reads) for record_id in self.ids(kind)}
        return records | {key_of_name(name) for name in self.names}

    def touches(self, kind: Kind) -> bool:
        """Tell whether any record of a kind is read or changed."""
        return bool(self.changes.get(kind) or self.reads.get(kind))

    def may_change(self, key: RecordKey) -> bool:
        kind, record_id = key
        return record_id in self.changes.get(kind, ())

    def has(self, key: RecordKey) -> bool:
        kind, record_id = key
        return record_id in self.changes.get(kind, ()) or record_id in self.reads.get(kind, ())


def _disjoint(ids: Mapping[Kind, set[str]], others: Mapping[Kind, set[str]]) -> bool:
    return all(found.isdisjoint(others.get(kind, ())) for kind, found in ids.items())
