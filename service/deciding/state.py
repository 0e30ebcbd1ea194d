"""What one batch can touch: read once under the locks, then folded command by command."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Winner
from genlock.service.deciding.footprint import Footprint, UndeclaredError
from genlock.service.deciding.record import Name, Record, RecordKey
from genlock.service.kinds.allocations.record import Consumer
from genlock.service.kinds.documents.record import Document
from genlock.service.kinds.providers.record import Provider
from genlock.service.kinds.stacks.record import Stack


@dataclass(slots=True)
class State:
    """The records, the names that they hold, the trees that they stand in, the traversals that the batch asks about.

    The rules read it; only the fold applies to it what a decision changed. Both raise UndeclaredError for what is not
    in the footprint, which was not locked.
    """

    footprint: Footprint
    records: dict[RecordKey, Record] = field(default_factory=dict)
    names: dict[Name, str] = field(default_factory=dict)
    traversals: set[tuple[str, str]] = field(default_factory=set)
    parents: dict[str, str | None] = field(default_factory=dict)
    """The parent of each provider that is locked, and of all its ancestors."""
    children: dict[str, set[str]] = field(default_factory=dict)
    """The live children of each provider that the batch may delete."""

    def find(self, key: RecordKey) -> Record | None:
        """A record as it is now; a provider with the root that it has now."""
        record = self._record(key)
        return replace(record, root_id=self.root_of(record.id)) if isinstance(record, Provider) else record

    def _record(self, key: RecordKey) -> Record | None:
        record = self.records.get(key)
        if record is None:
            self._require(declared=self.footprint.has(key), what=key)
        return record

    def provider(self, provider_id: str) -> Provider | None:
        record = self.find(("provider", provider_id))
        return record if isinstance(record, Provider) else None

    def live_provider(self, provider_id: str) -> Provider:
        """The provider of a command whose guard has found it. Raises LookupError where there is none."""
        record = self.provider(provider_id)
        if record is None or record.deleted:
            raise LookupError(f"the guard let a command on the provider {provider_id} pass, which does not exist")
        return record

    def consumer(self, consumer_id: str) -> Consumer | None:
        record = self._record(("consumer", consumer_id))
        return record if isinstance(record, Consumer) else None

    def document(self, document_id: str) -> Document | None:
        record = self._record(("document", document_id))
        return record if isinstance(record, Document) else None

    def stack(self, stack_id: str) -> Stack | None:
        record = self._record(("stack", stack_id))
        return record if isinstance(record, Stack) else None

    def ancestors_of(self, provider_id: str) -> list[str]:
        """The provider's parent and so on up to its root; empty for a root."""
        self._require(declared=self.footprint.has(("provider", provider_id)), what=("ancestors of", provider_id))
        return self._ancestors(provider_id)

    def _ancestors(self, provider_id: str) -> list[str]:
        ancestors: list[str] = []
        above = self.parents.get(provider_id)
        # A loop in the table would be a fault elsewhere; it must not become an endless loop here.
        while above is not None and above not in ancestors:
            ancestors.append(above)
            above = self.parents.get(above)
        return ancestors

    def root_of(self, provider_id: str) -> str:
        """The topmost ancestor, which may be the provider itself."""
        return [provider_id, *self._ancestors(provider_id)][-1]

    def children_of(self, provider_id: str) -> set[str]:
        """The live children of a provider that a command in the batch would delete."""
        self._require(declared=provider_id in self.footprint.deletions, what=("children of", provider_id))
        return self.children.get(provider_id, set())

    def owner(self, name: Name) -> str | None:
        """The id of the live record that holds the name."""
        self._require(declared=name in self.footprint.names, what=name)
        return self.names.get(name)

    def had_traversal(self, stack_id: str, traversal: str) -> bool:
        """Tell whether the stack once had the traversal."""
        known = (stack_id, traversal) in self.traversals
        self._require(declared=known or (stack_id, traversal) in self.footprint.traversals, what=(stack_id, traversal))
        return known

    def apply(self, changed: Collection[Record]) -> None:
        """Take the records as they are after a command; none of them where one may not be changed."""
        for record in changed:
            self._check_change(record)
        self.take(changed)

    def _check_change(self, record: Record) -> None:
        key: RecordKey = (record.kind, record.id)
        self._require(declared=self.footprint.may_change(key), what=key)
        before = self.records.get(key)
        if record.name is not None and (before is None or before.name != record.name):
            self._require(declared=(record.kind, record.name) in self.footprint.names, what=(record.kind, record.name))
        if isinstance(record, Provider) and isinstance(before, Provider) and before.parent_id != record.parent_id:
            declared = record.id in (self.footprint.deletions if record.deleted else self.footprint.moves)
            self._require(declared=declared or before.deleted, what=("the parent of", record.id))

    @staticmethod
    def _require(*, declared: bool, what: object) -> None:
        if not declared:
            raise UndeclaredError(f"{what} is not in the footprint of the command")

    def take(self, records: Iterable[Record]) -> None:
        """Take records as they are, whether or not the batch may change them."""
        for record in records:
            key: RecordKey = (record.kind, record.id)
            before = self.records.get(key)
            if before is not None and before.name is not None:
                self.names.pop((record.kind, before.name), None)
            if record.name is not None:
                self.names[record.kind, record.name] = record.id
            if isinstance(record, Stack):
                self.traversals.add((record.id, record.traversal))
            if isinstance(record, Provider):
                self._move(record)
            self.records[key] = record

    def _move(self, provider: Provider) -> None:
        old = self.parents.get(provider.id)
        self.children.get(old or "", set()).discard(provider.id)
        if not provider.deleted:
            self.children.get(provider.parent_id or "", set()).add(provider.id)
        self.parents[provider.id] = provider.parent_id


def made_by(command: Command, decided_at: str) -> Winner:
    """Name the command as the maker of the token that it makes."""
    return Winner(command_id=command.id, type=command.type, source=command.source, time=decided_at)
