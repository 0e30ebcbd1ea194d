"""Commands on providers as a publisher would send them, and providers named for the state that they have reached."""

from typing import Any

from genlock.schemas.decode import Command
from genlock.schemas.providers import Inventory
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.state import State
from genlock.service.kinds.providers.record import Provider
from genlock.service.kinds.providers.trees import Trees
from genlock.service.kinds.registry import KINDS
from tests.support.factories import Json, command, maker, new_id

AMOUNT_MAX = 2**31 - 1

INVENTORY: Json = {
    "total": 64,
    "reserved": 4,
    "min_unit": 2,
    "max_unit": 16,
    "step_size": 2,
    "allocation_ratio": 1.5,
}


def provider_command(verb: str, provider: str, **data: Any) -> Command:
    """A command on a provider, filled up with what it must have besides an expected generation."""
    must: dict[str, Json] = {
        "create": {"name": provider},
        "update": {} if "parent_id" in data else {"name": f"{provider} renamed"},
        "set_inventories": {"inventories": {}},
        "put_inventory": {"resource_class": "VCPU", "inventory": {"total": 8}},
        "delete_inventory": {"resource_class": "VCPU"},
        "set_traits": {"traits": []},
        "set_aggregates": {"aggregates": []},
    }
    return command(f"provider.{verb}", provider, must.get(verb, {}) | data)


def create_provider(provider: str, name: str | None = None, **data: Any) -> Command:
    """A creation under a name, by default the id."""
    return provider_command("create", provider, name=provider if name is None else name, **data)


def move_provider(provider: str, expected: int, parent_id: str | None) -> Command:
    return provider_command("update", provider, expected_generation=expected, parent_id=parent_id)


def rename_provider(provider: str, expected: int, name: str) -> Command:
    return provider_command("update", provider, expected_generation=expected, name=name)


def delete_provider(provider: str, expected: int) -> Command:
    return provider_command("delete", provider, expected_generation=expected)


def provider_at(generation: int, **fields: Any) -> Provider:
    """A live provider that has been changed once for each of its generations, by default a root."""
    provider = new_id()
    values: Json = {
        "id": provider,
        "sequence": generation + 1,
        "maker": maker("provider.update"),
        "provider_name": f"provider-{provider}",
        "parent_id": None,
        "inventories": {"VCPU": Inventory(**INVENTORY), "CUSTOM_GOLD": Inventory(total=1)},
        "traits": frozenset({"HW_CPU_X86_AVX2", "CUSTOM_FAST"}),
        "aggregates": frozenset({new_id(), new_id()}),
        "deleted": False,
    }
    return Provider(generation=generation, **values | fields)


def below(parent: Provider, generation: int = 0, **fields: Any) -> Provider:
    """A live provider whose parent is this one."""
    return provider_at(generation, parent_id=parent.id, **fields)


def deleted_provider(generation: int, **fields: Any) -> Provider:
    """A tombstone, which keeps nothing but its counts and its maker."""
    nothing: Json = {"inventories": {}, "traits": frozenset(), "aggregates": frozenset(), "deleted": True}
    return provider_at(generation, maker=maker("provider.delete"), **nothing | fields)


def forest(*providers: Provider) -> State:
    """The state that is read of a database with these providers, with the parents and the children of each."""
    state = KINDS.state(Footprint())
    state.part(Trees).children = {provider.id: set() for provider in providers}
    state.take(providers)
    return state


def provider_of(state: State, provider: str) -> Provider:
    """The provider with the root that it has now."""
    found = state.get(Provider, provider)
    assert found is not None
    return found


def shown(provider: Provider, **changes: Any) -> Json:
    """A provider as the contract shows it; its root is itself unless `changes` name another."""
    inventories = {name: inventory.model_dump() for name, inventory in provider.inventories.items()}
    return {
        "id": provider.id,
        "name": provider.provider_name,
        "generation": provider.generation,
        "parent_id": provider.parent_id,
        "root_id": provider.id,
        "inventories": inventories,
        "traits": sorted(provider.traits),
        "aggregates": sorted(provider.aggregates),
    } | changes
