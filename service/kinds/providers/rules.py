"""The rules of resource providers: pure functions from a state and a command to a decision.

After OpenStack Placement: a command that changes a provider passes the generation that its author read.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from heapq import nsmallest
from typing import Any

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
from genlock.schemas.faults import ERRORS_MAX, Fault, Faults, Place
from genlock.schemas.providers import (
    Inventory,
    ProviderCreate,
    ProviderDelete,
    ProviderDeleteInventory,
    ProviderPutInventory,
    ProviderSetAggregates,
    ProviderSetInventories,
    ProviderSetTraits,
    ProviderUpdate,
)
from genlock.schemas.standards import misnamed, unknown
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.generations import ABSENT, EXPECTED, GENERATION_FIRST
from genlock.service.deciding.limits import ALONE
from genlock.service.deciding.rule import Rule
from genlock.service.deciding.state import State, made_by
from genlock.service.deciding.verdicts import Decision, rejected, succeeded
from genlock.service.kinds.providers.capacity import in_use
from genlock.service.kinds.providers.record import Provider
from genlock.service.kinds.providers.trees import TreeFootprint, ancestors_of, children_of, root_of

_CLASS: Place = ("data", "resource_class")

IN_USE_TOLD = 10
"""How many classes in use the sentence of a rejection names."""


def create(state: State, command: Command, data: ProviderCreate, decided_at: str) -> Decision:
    """Create a provider, as a root or below its parent."""
    record = state.get(Provider, command.subject)
    failed = _bad_parent(state, command, record, data.parent_id) or _name_taken(state, command, record, data.name)
    if failed:
        return failed
    after = Provider(
        id=command.subject,
        generation=record.generation + 1 if record else GENERATION_FIRST,
        sequence=record.sequence + 1 if record else 1,
        maker=made_by(command, decided_at),
        provider_name=data.name,
        parent_id=data.parent_id,
        inventories={},
        traits=frozenset(),
        aggregates=frozenset(),
        deleted=False,
        root_id=root_of(state, data.parent_id) if data.parent_id else command.subject,
    )
    return succeeded(after)


def update(state: State, command: Command, data: ProviderUpdate, decided_at: str) -> Decision:
    """Rename a provider, or move it with all that is below it."""
    record = state.live(Provider, command.subject)
    fields: dict[str, Any] = {}
    failed = None
    if "parent_id" in data.model_fields_set:
        failed = _bad_parent(state, command, record, data.parent_id)
        fields["parent_id"] = data.parent_id
        fields["root_id"] = root_of(state, data.parent_id) if data.parent_id else record.id
    if "name" in data.model_fields_set:
        failed = failed or _name_taken(state, command, record, data.name)
        fields["provider_name"] = data.name
    return failed or _changed(record, command, decided_at, **fields)


def delete(state: State, command: Command, _data: ProviderDelete, decided_at: str) -> Decision:
    """Leave a tombstone, unless something depends on the provider."""
    record = state.live(Provider, command.subject)
    if children := children_of(state, record.id):
        return rejected(command, record, _children(children))
    if used := in_use(record.id, {}, record.used, at=("subject",), code=Code.PROVIDER_IN_USE):
        return rejected(command, record, Faults.of(used, told=IN_USE_TOLD))
    return _changed(
        record,
        command,
        decided_at,
        parent_id=None,
        inventories={},
        traits=frozenset(),
        aggregates=frozenset(),
        deleted=True,
    )


def set_inventories(state: State, command: Command, data: ProviderSetInventories, decided_at: str) -> Decision:
    """Replace all inventories."""
    record = state.live(Provider, command.subject)
    named = [(name, ("data", "inventories", name)) for name in data.inventories]
    return _with_inventories(record, command, decided_at, data.inventories, named=named, at=("data", "inventories"))


def put_inventory(
    state: State, command: Command, data: ProviderPutInventory, decided_at: str, *, most: int = ALONE.rows
) -> Decision:
    """Add or replace the inventory of one resource class. A provider has no more than a command can read."""
    record = state.live(Provider, command.subject)
    inventories = {**record.inventories, data.resource_class: data.inventory}
    if len(inventories) > max(most, len(record.inventories)):
        message = (
            f"The provider {record.id} has {len(record.inventories)} inventories, and may have no more than {most}."
        )
        constraints = {"maxProperties": most}
        fault = Fault(Code.TOO_LARGE, message, _CLASS, constraints=constraints, kind="provider", id=record.id)
        return rejected(command, record, fault)
    named = [(data.resource_class, _CLASS)]
    return _with_inventories(record, command, decided_at, inventories, named=named, at=_CLASS)


def delete_inventory(state: State, command: Command, data: ProviderDeleteInventory, decided_at: str) -> Decision:
    """Remove the inventory of one resource class."""
    record = state.live(Provider, command.subject)
    if data.resource_class not in record.inventories:
        message = f"The provider {record.id} has no inventory of {data.resource_class}."
        known = frozenset(record.inventories)
        fault = Fault(Code.NO_INVENTORY, message, _CLASS, known=known, kind="provider", id=record.id)
        return rejected(command, record, fault)
    kept = {name: inventory for name, inventory in record.inventories.items() if name != data.resource_class}
    return _with_inventories(record, command, decided_at, kept, at=_CLASS)


def set_traits(state: State, command: Command, data: ProviderSetTraits, decided_at: str) -> Decision:
    """Replace all traits."""
    record = state.live(Provider, command.subject)
    if names := unknown("trait", data.traits):
        named = ((name, ("data", "traits", index)) for index, name in enumerate(data.traits))
        return rejected(command, record, misnamed("trait", names, named))
    return _changed(record, command, decided_at, traits=frozenset(data.traits))


def set_aggregates(state: State, command: Command, data: ProviderSetAggregates, decided_at: str) -> Decision:
    """Replace all aggregates."""
    record = state.live(Provider, command.subject)
    return _changed(record, command, decided_at, aggregates=frozenset(data.aggregates))


def _with_inventories(
    record: Provider,
    command: Command,
    decided_at: str,
    inventories: Mapping[str, Inventory],
    *,
    named: Sequence[tuple[str, Place]] = (),
    at: Place,
) -> Decision:
    """Accept the inventories, if the resource classes that the command named exist, and those in use stay.

    `at` is where the command says which ones stay.
    """
    if names := unknown("resource class", {name for name, _ in named}):
        return rejected(command, record, misnamed("resource class", names, named))
    if used := in_use(record.id, inventories, record.used, at=at):
        return rejected(command, record, Faults.of(used, told=IN_USE_TOLD))
    return _changed(record, command, decided_at, inventories=inventories)


def _children(children: Collection[str]) -> Faults:
    """That providers are below the one to be deleted."""
    listed = tuple(
        Fault(Code.PROVIDER_HAS_CHILDREN, f"The provider {child} is below it.", ("subject",), kind="provider", id=child)
        for child in nsmallest(ERRORS_MAX, children)
    )
    return Faults(listed, len(children), f"The provider has children, such as {listed[0].id}.")


def _bad_parent(state: State, command: Command, record: Provider | None, parent_id: str | None) -> Decision | None:
    if parent_id is None:
        return None
    code = Code.PARENT_LOOP
    parent = state.get(Provider, parent_id)
    if parent_id == command.subject:
        message = "A provider cannot be its own parent."
    elif parent is None or parent.deleted:
        code = Code.PARENT_NOT_FOUND
        message = f"There is no provider {parent_id} to be the parent."
    elif command.subject in ancestors_of(state, parent_id):
        message = f"The provider {parent_id} is below {command.subject}, and cannot be its parent."
    else:
        return None
    return rejected(command, record, Fault(code, message, ("data", "parent_id"), kind="provider", id=parent_id))


def _name_taken(state: State, command: Command, record: Provider | None, name: str) -> Decision | None:
    owner = state.owner(("provider", name))
    if owner is None or owner == command.subject:
        return None
    message = f"The name {name!r} belongs to the provider {owner}."
    return rejected(command, record, Fault(Code.DUPLICATE_NAME, message, ("data", "name"), kind="provider", id=owner))


def _changed(record: Provider, command: Command, decided_at: str, **fields: Any) -> Decision:
    """Accept the command under the next generation."""
    after = replace(
        record,
        generation=record.generation + 1,
        sequence=record.sequence + 1,
        maker=made_by(command, decided_at),
        **fields,
    )
    return succeeded(after)


def _own(footprint: Footprint, command: Command, _data: Any) -> None:
    footprint.change("provider", command.subject)


def _creation(footprint: Footprint, command: Command, data: ProviderCreate) -> None:
    footprint.change("provider", command.subject)
    footprint.names.add(("provider", data.name))
    if data.parent_id is not None:
        footprint.read("provider", data.parent_id)


def _renaming_or_move(footprint: Footprint, command: Command, data: ProviderUpdate) -> None:
    footprint.change("provider", command.subject)
    if "name" in data.model_fields_set:
        footprint.names.add(("provider", data.name))
    if "parent_id" in data.model_fields_set:
        trees = footprint.part(TreeFootprint)
        trees.moves.add(command.subject)
        if data.parent_id is not None:
            footprint.read("provider", data.parent_id)
            trees.moves.add(data.parent_id)


def _deletion(footprint: Footprint, command: Command, _data: ProviderDelete) -> None:
    footprint.change("provider", command.subject)
    footprint.part(TreeFootprint).deletions.add(command.subject)


RULES: Mapping[str, Rule] = {
    "provider.create": Rule(create, ABSENT, _creation),
    "provider.update": Rule(update, EXPECTED, _renaming_or_move),
    "provider.delete": Rule(delete, EXPECTED, _deletion),
    "provider.set_inventories": Rule(set_inventories, EXPECTED, _own),
    "provider.put_inventory": Rule(put_inventory, EXPECTED, _own),
    "provider.delete_inventory": Rule(delete_inventory, EXPECTED, _own),
    "provider.set_traits": Rule(set_traits, EXPECTED, _own),
    "provider.set_aggregates": Rule(set_aggregates, EXPECTED, _own),
}
