"""The state of a batch: what it can touch, read once under the locks, then folded command by command."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from genlock.schemas.base import Kind
from genlock.schemas.decode import Command
from genlock.service.deciding.footprint import Footprint, require
from genlock.service.deciding.record import Maker, Name, Record, RecordKey

R = TypeVar("R", bound=Record)
P = TypeVar("P", bound="StatePart")


class FalseChangeError(Exception):
    """A rule left a record in a state that no record can have: a fault of the rule."""


class StatePart:
    """What an extension of a kind knows beside the records, for one batch. Pure, as the rules that read it are.

    It follows each record of its kind that is read or changed; by default it has nothing to add.
    """

    def take(self, before: Any, after: Any) -> None:
        """Follow a record of the kind from what it was, None for a new one, to what it is."""

    def check(self, footprint: Footprint, before: Any, after: Any) -> None:
        """Raise UndeclaredError where a command changes something of the record that its footprint does not have."""

    def shown(self, record: Any) -> Any:
        """The record with what this part knows of it."""
        return record


@dataclass(slots=True)
class State:
    """The records that the batch can touch, the names that they hold, and what their kinds know beside them.

    The rules read it; the fold alone adds a decision's changes to it. Both raise UndeclaredError for a record or name
    outside of the footprint: it is not locked.
    """

    footprint: Footprint
    parts: Mapping[Kind, Collection[StatePart]] = field(default_factory=dict)
    """Those of each kind that has any."""
    records: dict[RecordKey, Record] = field(default_factory=dict)
    names: dict[Name, str] = field(default_factory=dict)

    def part(self, model: type[P]) -> P:
        """The part of this type. Raises LookupError where no kind has it."""
        for parts in self.parts.values():
            for part in parts:
                if isinstance(part, model):
                    return part
        raise LookupError(f"no kind of record has {model.__name__}")

    def find(self, key: RecordKey) -> Record | None:
        """A record as it is now, None where there is none; a tombstone is one."""
        record = self.records.get(key)
        if record is None:
            require(key, declared=self.footprint.has(key))
            return None
        for part in self.parts.get(key[0], ()):
            record = part.shown(record)
        return record

    def get(self, model: type[R], record_id: str) -> R | None:
        """A record of a kind that is known, as it is now."""
        record = self.find((model.kind, record_id))
        return record if isinstance(record, model) else None

    def live(self, model: type[R], record_id: str) -> R:
        """The record of a command whose guard has found it. Raises LookupError if there is none."""
        record = self.get(model, record_id)
        if record is None or record.deleted:
            raise LookupError(f"the guard let a command on the {model.kind} {record_id} pass, which does not exist")
        return record

    def of_kind(self, model: type[R]) -> list[R]:
        """All records of a kind, as they are stored."""
        return [record for record in self.records.values() if isinstance(record, model)]

    def owner(self, name: Name) -> str | None:
        """The id of the live record that holds the name."""
        require(name, declared=name in self.footprint.names)
        return self.names.get(name)

    def check(self, changed: Collection[Record]) -> None:
        """Raise UndeclaredError or FalseChangeError where a command may not leave these records so.

        The database would refuse to write a false change, as if another batch had come first, at each try anew.
        """
        for record in changed:
            self._check_change(record)

    def _check_change(self, record: Record) -> None:
        key: RecordKey = (record.kind, record.id)
        require(key, declared=self.footprint.may_change(key))
        before = self.records.get(key)
        if record.sequence != (before.sequence if before else 0) + 1:
            raise FalseChangeError(f"{key} would get the sequence {record.sequence}")
        if record.name is not None and (before is None or before.name != record.name):
            name = (record.kind, record.name)
            require(name, declared=name in self.footprint.names)
            if self.names.get(name, record.id) != record.id:
                raise FalseChangeError(f"{key} would get the name {record.name!r}, which {self.names[name]} has")
        for part in self.parts.get(record.kind, ()):
            part.check(self.footprint, before, record)

    def take(self, records: Iterable[Record]) -> None:
        """Take records as they are, whether or not the batch may change them."""
        for record in records:
            key: RecordKey = (record.kind, record.id)
            before = self.records.get(key)
            if before is not None and before.name is not None:
                self.names.pop((record.kind, before.name), None)
            if record.name is not None:
                self.names[record.kind, record.name] = record.id
            for part in self.parts.get(record.kind, ()):
                part.take(before, record)
            self.records[key] = record


def made_by(command: Command, decided_at: str) -> Maker:
    """Name the command as the maker of the token that it makes."""
    return Maker(command.id, command.type, command.source, decided_at, command.user)
