"""Commands on consumers as a publisher would send them, and consumers named for the state that they have reached."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from genlock.schemas.decode import Command
from genlock.schemas.providers import Inventory
from genlock.service.deciding.state import State
from genlock.service.kinds.allocations.record import Allocations, Consumer
from genlock.service.kinds.providers.record import Provider
from tests.support.factories import Json, command, maker, new_id
from tests.support.provider_factories import forest, provider_at

PROJECT = "project-1"
USER = "user-1"


def allocations_of(amounts: Allocations, **expected: int) -> Json:
    """The allocations of a command: amounts by provider and class; `expected` generations by provider."""
    return {
        provider: {"resources": dict(resources)}
        | ({"expected_generation": expected[provider]} if provider in expected else {})
        for provider, resources in amounts.items()
    }


def wanted(expected: int | None, amounts: Allocations, providers: dict[str, int] | None = None, **data: Any) -> Json:
    """What a command says of one consumer."""
    allocations = allocations_of(amounts, **(providers or {}))
    return {"expected_generation": expected, "project_id": PROJECT, "user_id": USER, "allocations": allocations} | data


def set_allocations(
    consumer: str, expected: int | None, amounts: Allocations, providers: dict[str, int] | None = None, **data: Any
) -> Command:
    """Replace a consumer's allocations; `providers` are the generations that are expected of them."""
    return command("consumer.set_allocations", consumer, wanted(expected, amounts, providers, **data))


def set_many(consumers: dict[str, Json]) -> Command:
    """Replace the allocations of several consumers, each as `wanted` says."""
    return command("consumer.set_many", None, {"consumers": consumers})


def reshape(inventories: dict[str, Json], consumers: dict[str, Json]) -> Command:
    """Replace inventories, each `{"expected_generation", "inventories"}`, and allocations, each as `wanted` says."""
    return command("consumer.reshape", None, {"inventories": inventories, "consumers": consumers})


def consumer_at(generation: int, amounts: dict[str, dict[str, int]], **fields: Any) -> Consumer:
    """A consumer that has been changed once for each of its generations; without amounts a tombstone."""
    values: Json = {
        "id": new_id(),
        "sequence": generation,
        "maker": maker("consumer.set_allocations"),
        "project_id": PROJECT,
        "user_id": USER,
        "consumer_type": None,
        "allocations": amounts,
        "deleted": not amounts,
    }
    return Consumer(generation=generation, **values | fields)


def deleted_consumer(generation: int) -> Consumer:
    """A tombstone of a consumer."""
    return consumer_at(generation, {})


def using(provider: Provider, **used: int) -> Provider:
    """The provider with so much of its classes in use."""
    return replace(provider, used=used)


def with_room(generation: int = 0, **totals: int) -> Provider:
    """A provider with plain inventories of these totals."""
    return provider_at(generation, inventories={name: Inventory(total=total) for name, total in totals.items()})


def placed(providers: Iterable[Provider], *consumers: Consumer) -> State:
    """The state that a database with these is read as: `used` is what these consumers have been given."""
    used: dict[str, Counter[str]] = defaultdict(Counter)
    for consumer in consumers:
        for provider_id, amounts in consumer.allocations.items():
            used[provider_id].update(amounts)
    state = forest(*(replace(provider, used=dict(used[provider.id])) for provider in providers))
    state.take(consumers)
    return state


def consumer_of(state: State, consumer: str) -> Consumer:
    found = state.get(Consumer, consumer)
    assert found is not None
    return found


def generations(state: State, *ids: str) -> list[int]:
    """The generations of these consumers and providers."""
    found = [state.records.get(("consumer", record)) or state.records.get(("provider", record)) for record in ids]
    return [record.generation for record in found if isinstance(record, Consumer | Provider)]


def shown_consumer(consumer: Consumer, **changes: Any) -> Json:
    """A consumer as the contract shows it."""
    return {
        "id": consumer.id,
        "generation": consumer.generation,
        "project_id": consumer.project_id,
        "user_id": consumer.user_id,
        "consumer_type": consumer.consumer_type,
        "allocations": consumer.allocations,
    } | changes
