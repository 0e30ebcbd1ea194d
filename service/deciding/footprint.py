"""What a batch may read and change: gathered from its commands before anything is locked, and held to by the state."""

from collections import defaultdict
from dataclasses import dataclass, field

from genlock.schemas.base import Kind
from genlock.service.deciding.record import Name, RecordKey


class UndeclaredError(Exception):
    """A rule asked for something, or changed something, that is not in its footprint: a fault of the rule."""


@dataclass(slots=True)
class Footprint:
    """Ids by kind, names that are wanted, traversals that are expected, and what happens to trees.

    All of its records are locked. Batches of one process are decided at once if neither changes what the other one
    reads or changes.
    """

    changes: dict[Kind, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Records that a command may change."""
    reads: dict[Kind, set[str]] = field(default_factory=lambda: defaultdict(set))
    """Records that a command depends on and leaves as they are."""
    names: set[Name] = field(default_factory=set)
    """Names that a record may take, or be refused."""
    traversals: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of a stack and a traversal that it may have had."""
    moves: set[str] = field(default_factory=set)
    """Providers that move, and those that they move below. The roots of their trees are locked too: while the root of
    a tree is locked, nothing in it moves."""
    deletions: set[str] = field(default_factory=set)
    """Providers that are deleted, so that it matters what is below them."""

    def change(self, kind: Kind, *ids: str) -> None:
        """Add records that may be changed."""
        self.changes[kind].update(ids)

    def read(self, kind: Kind, *ids: str) -> None:
        """Add records that are only read."""
        self.reads[kind].update(ids)

    def ids(self, kind: Kind) -> set[str]:
        """The ids of all records of a kind."""
        return self.changes.get(kind, set()) | self.reads.get(kind, set())

    def may_change(self, key: RecordKey) -> bool:
        kind, record_id = key
        return record_id in self.changes.get(kind, ())

    def has(self, key: RecordKey) -> bool:
        kind, record_id = key
        return record_id in self.changes.get(kind, ()) or record_id in self.reads.get(kind, ())
