"""Commands on consumers as a publisher would send them, and consumers named for the state that they have reached."""

from typing import Any

from genlock.schemas.decode import Command
from genlock.service.records import Consumer
from tests.factories import Json, command, new_id, winner

PROJECT = "project-1"
USER = "user-1"


def allocations_of(amounts: dict[str, Json], **expected: int) -> Json:
    """The allocations of a command: amounts by provider and class; `expected` generations by provider."""
    return {
        provider: {"resources": resources}
        | ({"expected_generation": expected[provider]} if provider in expected else {})
        for provider, resources in amounts.items()
    }


def wanted(
    expected: int | None, amounts: dict[str, Json], providers: dict[str, int] | None = None, **data: Any
) -> Json:
    """What a command says of one consumer."""
    allocations = allocations_of(amounts, **(providers or {}))
    return {"expected_generation": expected, "project_id": PROJECT, "user_id": USER, "allocations": allocations} | data


def set_allocations(
    consumer: str, expected: int | None, amounts: dict[str, Json], providers: dict[str, int] | None = None, **data: Any
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
        "maker": winner("consumer.set_allocations"),
        "project_id": PROJECT,
        "user_id": USER,
        "consumer_type": None,
        "allocations": amounts,
        "deleted": not amounts,
    }
    return Consumer(generation=generation, **values | fields)
