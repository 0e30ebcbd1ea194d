"""The rules of resource providers: pure functions from a state and a command to a decision.

After OpenStack Placement: whoever changes a provider passes the generation that they read.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
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
from genlock.schemas.standards import complaint, unknown
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.generations import ABSENT, EXPECTED, GENERATION_FIRST
from genlock.service.deciding.rule import Rule
from genlock.service.deciding.state import State, made_by
from genlock.service.deciding.verdicts import Decision, rejected, succeeded
from genlock.service.kinds.providers.capacity import in_use
from genlock.service.kinds.providers.record import Provider


def create(state: State, command: Command, data: ProviderCreate, decided_at: str) -> Decision:
    """Create a provider, as a root or below its parent."""
    record = state.provider(command.subject)
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
        root_id=state.root_of(data.parent_id) if data.parent_id else command.subject,
    )
    return succeeded(after)


def update(state: State, command: Command, data: ProviderUpdate, decided_at: str) -> Decision:
    """Rename a provider, or move it with all that is below it."""
    record = state.live_provider(command.subject)
    fields: dict[str, Any] = {}
    failed = None
    if "parent_id" in data.model_fields_set:
        failed = _bad_parent(state, command, record, data.parent_id)
        fields["parent_id"] = data.parent_id
        fields["root_id"] = state.root_of(data.parent_id) if data.parent_id else record.id
    if "name" in data.model_fields_set:
        failed = failed or _name_taken(state, command, record, data.name)
        fields["provider_name"] = data.name
    return failed or _changed(record, command, decided_at, **fields)


def delete(state: State, command: Command, _data: ProviderDelete, decided_at: str) -> Decision:
    """Leave a tombstone, unless something depends on the provider."""
    record = state.live_provider(command.subject)
    if children := state.children_of(record.id):
        message = f"The provider has children, such as {min(children)}."
        return rejected(command, record, Code.PROVIDER_HAS_CHILDREN, message)
    if used := in_use(record.id, {}, record.used):
        return rejected(command, record, Code.PROVIDER_IN_USE, " ".join(used))
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
    record = state.live_provider(command.subject)
    return _with_inventories(record, command, data.inventories, data.inventories, decided_at)


def put_inventory(state: State, command: Command, data: ProviderPutInventory, decided_at: str) -> Decision:
    """Add or replace the inventory of one resource class."""
    record = state.live_provider(command.subject)
    named = {data.resource_class: data.inventory}
    return _with_inventories(record, command, {**record.inventories, **named}, named, decided_at)


def delete_inventory(state: State, command: Command, data: ProviderDeleteInventory, decided_at: str) -> Decision:
    """Remove the inventory of one resource class."""
    record = state.live_provider(command.subject)
    if data.resource_class not in record.inventories:
        message = f"The provider has no inventory of {data.resource_class}."
        return rejected(command, record, Code.NO_INVENTORY, message)
    kept = {name: inventory for name, inventory in record.inventories.items() if name != data.resource_class}
    return _with_inventories(record, command, kept, {}, decided_at)


def set_traits(state: State, command: Command, data: ProviderSetTraits, decided_at: str) -> Decision:
    """Replace all traits."""
    record = state.live_provider(command.subject)
    if names := unknown("trait", data.traits):
        return rejected(command, record, Code.UNKNOWN_TRAIT, complaint("trait", names))
    return _changed(record, command, decided_at, traits=frozenset(data.traits))


def set_aggregates(state: State, command: Command, data: ProviderSetAggregates, decided_at: str) -> Decision:
    """Replace all aggregates."""
    record = state.live_provider(command.subject)
    return _changed(record, command, decided_at, aggregates=frozenset(data.aggregates))


def _with_inventories(
    record: Provider,
    command: Command,
    inventories: Mapping[str, Inventory],
    named: Mapping[str, Inventory],
    decided_at: str,
) -> Decision:
    """Accept the inventories, if the resource classes that the command named exist, and those in use stay."""
    if names := unknown("resource class", list(named)):
        return rejected(command, record, Code.UNKNOWN_RESOURCE_CLASS, complaint("resource class", names))
    if used := in_use(record.id, inventories, record.used):
        return rejected(command, record, Code.INVENTORY_IN_USE, " ".join(used))
    return _changed(record, command, decided_at, inventories=inventories)


def _bad_parent(state: State, command: Command, record: Provider | None, parent_id: str | None) -> Decision | None:
    if parent_id is None:
        return None
    if parent_id == command.subject:
        return rejected(command, record, Code.PARENT_LOOP, "A provider cannot be its own parent.")
    parent = state.provider(parent_id)
    if parent is None or parent.deleted:
        return rejected(command, record, Code.PARENT_NOT_FOUND, f"There is no provider {parent_id} to be the parent.")
    if command.subject in state.ancestors_of(parent_id):
        message = f"The provider {parent_id} is below {command.subject}, and cannot be its parent."
        return rejected(command, record, Code.PARENT_LOOP, message)
    return None


def _name_taken(state: State, command: Command, record: Provider | None, name: str) -> Decision | None:
    owner = state.owner(("provider", name))
    if owner is None or owner == command.subject:
        return None
    message = f"The name {name!r} belongs to the provider {owner}."
    return rejected(command, record, Code.DUPLICATE_NAME, message)


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
        footprint.moves.add(command.subject)
        if data.parent_id is not None:
            footprint.read("provider", data.parent_id)
            footprint.moves.add(data.parent_id)


def _deletion(footprint: Footprint, command: Command, _data: ProviderDelete) -> None:
    footprint.change("provider", command.subject)
    footprint.deletions.add(command.subject)


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
