"""What a batch can touch, told from its commands alone: the one place that knows what must be locked and read."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field

from genlock.schemas.base import Kind
from genlock.schemas.decode import Command
from genlock.schemas.stacks import (
    StackCancel,
    StackCreate,
    StackDelete,
    StackRollback,
    StackSetState,
    StackUpdate,
)
from genlock.service.records import Name


@dataclass(slots=True)
class Touched:
    """Ids by kind, names that are wanted, and (stack, traversal) pairs that are expected."""

    ids: dict[Kind, set[str]] = field(default_factory=lambda: defaultdict(set))
    names: set[Name] = field(default_factory=set)
    traversals: set[tuple[str, str]] = field(default_factory=set)


def touched(commands: Iterable[Command]) -> Touched:
    """Gather what these commands can touch."""
    result = Touched()
    for command in commands:
        if command.kind and command.subject:
            result.ids[command.kind].add(command.subject)
        match command.data:
            case StackCreate(name=name):
                result.names.add(("stack", name))
            case (
                StackUpdate(expected_traversal=expected)
                | StackDelete(expected_traversal=expected)
                | StackRollback(expected_traversal=expected)
                | StackCancel(expected_traversal=expected)
                | StackSetState(expected_traversal=expected)
            ):
                result.traversals.add((command.subject, expected))
            case _:
                pass
    return result
