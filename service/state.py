"""What one batch can touch: read once under the locks, then folded command by command."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Winner
from genlock.service.records import Document, Name, Record, RecordKey, Stack


@dataclass(slots=True)
class State:
    """The records, the names that they hold, and the traversals that the batch asks about.

    The rules read it; only the fold applies to it what a decision changed.
    """

    records: dict[RecordKey, Record] = field(default_factory=dict)
    names: dict[Name, str] = field(default_factory=dict)
    traversals: set[tuple[str, str]] = field(default_factory=set)

    def document(self, document_id: str) -> Document | None:
        record = self.records.get(("document", document_id))
        return record if isinstance(record, Document) else None

    def stack(self, stack_id: str) -> Stack | None:
        record = self.records.get(("stack", stack_id))
        return record if isinstance(record, Stack) else None

    def owner(self, name: Name) -> str | None:
        """The id of the live record that holds the name."""
        return self.names.get(name)

    def had_traversal(self, stack_id: str, traversal: str) -> bool:
        """Tell whether the stack once had the traversal."""
        return (stack_id, traversal) in self.traversals

    def apply(self, changed: Iterable[Record]) -> None:
        """Take the records as they are after a command."""
        for record in changed:
            key: RecordKey = (record.kind, record.id)
            before = self.records.get(key)
            if before is not None and before.name is not None:
                self.names.pop((record.kind, before.name), None)
            if record.name is not None:
                self.names[record.kind, record.name] = record.id
            if isinstance(record, Stack):
                self.traversals.add((record.id, record.traversal))
            self.records[key] = record


def made_by(command: Command, decided_at: str) -> Winner:
    """Name the command as the maker of the token that it makes."""
    return Winner(command_id=command.id, type=command.type, source=command.source, time=decided_at)
