"""Consumers of what providers have: guarded by a generation, 1 after the first allocation.

The idea and the names are OpenStack Placement's. A consumer exists as long as it has allocations.
"""

from collections.abc import Callable
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, WrapValidator, model_validator

from genlock.schemas.base import SHORT_NAMES, CommandData, Generation, Model, Name, Shown, Uuid
from genlock.schemas.providers import Amount, Inventories
from genlock.schemas.standards import ResourceClass

Value = TypeVar("Value")


def _none_twice(members: Any, validate: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Refuse ids that differ in their case alone: of two such members only one would be left."""
    validated = validate(members)
    if len(validated) != len(members):
        raise ValueError("must not name anything twice")
    return validated


ById = Annotated[dict[Uuid, Value], SHORT_NAMES, WrapValidator(_none_twice)]
SomeById = Annotated[dict[Uuid, Value], Field(min_length=1), SHORT_NAMES, WrapValidator(_none_twice)]

ConsumerType = Annotated[str, Field(pattern=r"^[A-Z0-9_]+$", min_length=1, max_length=255)]


class Allocation(Model):
    """What is taken of one provider. Without an expected generation it commutes with other changes of the provider."""

    resources: Annotated[dict[ResourceClass, Amount], Field(min_length=1)]
    # Left out, it is not checked; null would look like a check and be none.
    expected_generation: Annotated[Generation, Field(json_schema_extra=lambda schema: schema.pop("default"))] = 0

    @property
    def generation(self) -> int | None:
        """The generation that the provider must have, None where none is expected."""
        return self.expected_generation if "expected_generation" in self.model_fields_set else None


class ConsumerAllocations(CommandData):
    """All that a consumer is to have from now on; nothing removes it. A null generation: it does not exist yet.

    A type that is left out stays as it is.
    """

    expected_generation: Generation | None
    project_id: Name
    user_id: Name
    consumer_type: ConsumerType | None = None
    allocations: ById[Allocation]


class ConsumerSetAllocations(ConsumerAllocations):
    """Replace all allocations of one consumer."""


class ConsumerSetMany(CommandData):
    """Replace all allocations of several consumers, or of none of them."""

    consumers: SomeById[ConsumerAllocations]


class NewInventories(Model):
    """All inventories that a provider is to have from now on."""

    expected_generation: Generation
    inventories: Inventories


class ConsumerReshape(CommandData):
    """Replace inventories of several providers and allocations of several consumers; only the end must be legal."""

    inventories: ById[NewInventories]
    consumers: ById[ConsumerAllocations]

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.inventories and not self.consumers:
            raise ValueError("inventories or consumers must not be empty")
        return self


class ConsumerState(Shown):
    """A consumer as events and reads show it: amounts by provider and resource class."""

    id: Uuid
    generation: Generation
    project_id: str
    user_id: str
    consumer_type: str | None
    allocations: dict[Uuid, dict[str, int]]
