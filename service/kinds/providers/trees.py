"""The parts of provider trees that a batch needs. Pure, like the rules that use them.

The root of a tree is locked wherever something in it moves: while another batch has it, nothing in the tree moves.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from genlock.schemas.decode import Command
from genlock.schemas.providers import ProviderCreate
from genlock.service.deciding.footprint import Footprint, require
from genlock.service.deciding.state import State, StatePart
from genlock.service.kinds.providers.record import Provider


@dataclass(slots=True)
class TreeFootprint:
    """What the commands of a batch do to trees."""

    moves: set[str] = field(default_factory=set)
    """Providers that move, and those that they move below. The roots of their trees are locked too."""
    deletions: set[str] = field(default_factory=set)
    """Providers that are deleted, whose children therefore matter."""


@dataclass(slots=True)
class Trees(StatePart):
    """Where the providers of a batch stand."""

    parents: dict[str, str | None] = field(default_factory=dict)
    """The parent of each provider that is locked, and of all its ancestors."""
    children: dict[str, set[str]] = field(default_factory=dict)
    """The live children of each provider that the batch may delete."""

    def ancestors(self, provider_id: str) -> list[str]:
        """The provider's parent and so on up to its root; empty for a root."""
        ancestors: list[str] = []
        above = self.parents.get(provider_id)
        # A loop in the table would be a fault elsewhere; it must not become an endless loop here.
        while above is not None and above not in ancestors:
            ancestors.append(above)
            above = self.parents.get(above)
        return ancestors

    def root(self, provider_id: str) -> str:
        """The topmost ancestor, which may be the provider itself."""
        return [provider_id, *self.ancestors(provider_id)][-1]

    def take(self, _before: Provider | None, after: Provider) -> None:
        old = self.parents.get(after.id)
        self.children.get(old or "", set()).discard(after.id)
        if not after.deleted:
            self.children.get(after.parent_id or "", set()).add(after.id)
        self.parents[after.id] = after.parent_id

    def check(self, footprint: Footprint, before: Provider | None, after: Provider) -> None:
        if before is None or before.deleted or before.parent_id == after.parent_id:
            return
        trees = footprint.part(TreeFootprint)
        declared = after.id in (trees.deletions if after.deleted else trees.moves)
        require(("the parent of", after.id), declared=declared)

    def shown(self, record: Provider) -> Provider:
        """A provider with the root that it has now."""
        return replace(record, root_id=self.root(record.id))


def ancestors_of(state: State, provider_id: str) -> list[str]:
    """The ancestors of a provider in the footprint, the nearest one first."""
    require(("ancestors of", provider_id), declared=state.footprint.has(("provider", provider_id)))
    return state.part(Trees).ancestors(provider_id)


def root_of(state: State, provider_id: str) -> str:
    """The topmost ancestor, which may be the provider itself."""
    return state.part(Trees).root(provider_id)


def children_of(state: State, provider_id: str) -> set[str]:
    """The live children of a provider that a command in the batch would delete."""
    declared = provider_id in state.footprint.part(TreeFootprint).deletions
    require(("children of", provider_id), declared=declared)
    return state.part(Trees).children.get(provider_id, set())


def add_parents_to_be(footprint: Footprint, commands: Sequence[Command]) -> None:
    """Add the tree that a provider which the batch creates is to stand in, where another one moves below it."""
    moves = footprint.part(TreeFootprint).moves
    if not moves:
        return
    created = {
        command.subject: command.data.parent_id for command in commands if isinstance(command.data, ProviderCreate)
    }
    waiting = list(moves)
    while waiting:
        parent_id = created.get(waiting.pop())
        if parent_id is not None and parent_id not in moves:
            moves.add(parent_id)
            waiting.append(parent_id)
