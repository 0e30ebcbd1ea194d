"""The former traversals of stacks that a batch needs. Pure, like the rules that use them."""

from dataclasses import dataclass, field

from genlock.service.deciding.footprint import require
from genlock.service.deciding.state import State, StatePart
from genlock.service.kinds.stacks.record import Stack

StackTraversal = tuple[str, str]
"""The id of a stack, and a traversal."""


@dataclass(slots=True)
class AskedTraversals:
    """The traversals that the commands of a batch expect."""

    pairs: set[StackTraversal] = field(default_factory=set)


@dataclass(slots=True)
class Traversals(StatePart):
    """Those of the expected traversals that their stacks have had or have now."""

    known: set[StackTraversal] = field(default_factory=set)

    def take(self, _before: Stack | None, after: Stack) -> None:
        self.known.add((after.id, after.traversal))


def had_traversal(state: State, stack_id: str, traversal: str) -> bool:
    """Tell whether the stack once had the traversal."""
    pair = (stack_id, traversal)
    known = pair in state.part(Traversals).known
    require(("traversal", *pair), declared=known or pair in state.footprint.part(AskedTraversals).pairs)
    return known
