"""What a batch can touch, told from its commands alone: the one place that knows what must be locked and read."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from genlock.schemas.base import Kind
from genlock.schemas.consumers import ConsumerAllocations, ConsumerReshape, ConsumerSetAllocations, ConsumerSetMany
from genlock.schemas.decode import Command
from genlock.schemas.providers import ProviderCreate, ProviderDelete, ProviderUpdate
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
    """Ids by kind, names that are wanted, (stack, traversal) pairs that are expected, and what happens to trees.

    Where a provider moves, the roots of its tree and of its new parent's are touched too: who holds the root of a
    tree knows that nothing in it moves.
    """

    ids: dict[Kind, set[str]] = field(default_factory=lambda: defaultdict(set))
    names: set[Name] = field(default_factory=set)
    traversals: set[tuple[str, str]] = field(default_factory=set)
    moved: set[str] = field(default_factory=set)
    """Providers that move, and those that they move below."""
    deleted: set[str] = field(default_factory=set)
    """Providers that are deleted, so that it matters what is below them."""


def touched(commands: Sequence[Command]) -> Touched:
    """Gather what these commands can touch."""
    result = Touched()
    for command in commands:
        if command.kind and command.subject:
            result.ids[command.kind].add(command.subject)
        match command.kind:
            case "provider":
                _touched_by_provider(result, command)
            case "consumer":
                _touched_by_consumers(result, command)
            case "stack":
                _touched_by_stack(result, command)
            case _:
                pass
    _add_parents_to_be(result, commands)
    return result


def _touched_by_provider(result: Touched, command: Command) -> None:
    match command.data:
        case ProviderCreate(name=name, parent_id=parent_id):
            result.names.add(("provider", name))
            if parent_id is not None:
                result.ids["provider"].add(parent_id)
        case ProviderUpdate() as data:
            _touched_by_update(result, command.subject, data)
        case ProviderDelete():
            result.deleted.add(command.subject)
        case _:
            pass


def _touched_by_consumers(result: Touched, command: Command) -> None:
    """The consumers, and the providers that they ask of. Those that they have had so far only the database knows."""
    consumers: Mapping[str, ConsumerAllocations] = {}
    match command.data:
        case ConsumerSetAllocations() as data:
            consumers = {command.subject: data}
        case ConsumerSetMany(consumers=consumers):
            pass
        case ConsumerReshape(consumers=consumers, inventories=inventories):
            result.ids["provider"] |= inventories.keys()
        case _:
            pass
    result.ids["consumer"] |= consumers.keys()
    for new in consumers.values():
        result.ids["provider"] |= new.allocations.keys()


def _touched_by_stack(result: Touched, command: Command) -> None:
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


def _add_parents_to_be(result: Touched, commands: Sequence[Command]) -> None:
    """Where a provider moves below one that the batch creates, the tree which that one is to stand in is touched."""
    created = {
        command.subject: command.data.parent_id for command in commands if isinstance(command.data, ProviderCreate)
    }
    waiting = list(result.moved)
    while waiting:
        parent_id = created.get(waiting.pop())
        if parent_id is not None and parent_id not in result.moved:
            result.moved.add(parent_id)
            waiting.append(parent_id)


def _touched_by_update(result: Touched, provider_id: str, data: ProviderUpdate) -> None:
    if "name" in data.model_fields_set:
        result.names.add(("provider", data.name))
    if "parent_id" in data.model_fields_set:
        result.moved.add(provider_id)
        if data.parent_id is not None:
            result.ids["provider"].add(data.parent_id)
            result.moved.add(data.parent_id)
