"""Consumers of what providers have: guarded by a generation, 1 after the first allocation.

The idea and the names are OpenStack Placement's. A consumer exists as long as it has allocations.
"""

from collections.abc import Callable
from typing import Annotated, Any, Self, TypeVar

from pydantic import Field, WrapValidator, model_validator

from genlock.schemas.base import (
    SHORT_NAMES,
    CommandData,
    ExpectedGeneration,
    ExpectedOrNone,
    Generation,
    Model,
    Name,
    Shown,
    UnfitError,
    Uuid,
    example,
)
from genlock.schemas.codes import Code
from genlock.schemas.providers import Amount, Inventories
from genlock.schemas.standards import ResourceClass

Value = TypeVar("Value")


def _none_twice(members: Any, validate: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """Refuse ids that differ only in case: one of two such members would be lost."""
    validated = validate(members)
    if len(validated) != len(members):
        raise UnfitError("must not name anything twice", uniqueItems=True)
    return validated


ById = Annotated[dict[Uuid, Value], SHORT_NAMES, WrapValidator(_none_twice)]
SomeById = Annotated[dict[Uuid, Value], Field(min_length=1), SHORT_NAMES, WrapValidator(_none_twice)]

ConsumerType = Annotated[str, Field(pattern=r"^[A-Z0-9_]+$", min_length=1, max_length=255)]

_PROVIDER = "6b9b4f0a-2a53-4f57-8b7e-3d1c5a0f9e21"
_CONSUMER = "a1d5f0c2-7c37-4e0c-9d3b-2f8e6b4a1c05"
_WANTED = {
    "expected_generation": None,
    "project_id": "project-1",
    "user_id": "user-1",
    "consumer_type": "INSTANCE",
    "allocations": {_PROVIDER: {"resources": {"VCPU": 2, "MEMORY_MB": 4096}}},
}
_REFUSED = (
    Code.NOT_FOUND,
    Code.UNKNOWN_RESOURCE_CLASS,
    Code.NO_INVENTORY,
    Code.UNIT_CONSTRAINT_VIOLATED,
    Code.CAPACITY_EXCEEDED,
)


class Allocation(Model):
    """The amounts taken of one provider. Without an expected generation they commute with its other changes."""

    resources: Annotated[
        dict[ResourceClass, Amount], Field(min_length=1, description="The amounts, by resource class.")
    ]
    # An omitted generation is not checked. Null is refused: it would look like a check without being one.
    expected_generation: Annotated[
        Generation,
        Field(
            description="The generation that the provider must have. Left out, it is not checked.",
            json_schema_extra=lambda schema: schema.pop("default"),
        ),
    ] = 0

    @property
    def generation(self) -> int | None:
        """The expected generation of the provider, None if it is omitted."""
        return self.expected_generation if "expected_generation" in self.model_fields_set else None


class ConsumerAllocations(CommandData):
    """All that a consumer is to have from now on; nothing removes it. A null generation: it does not exist yet.

    A type that is left out stays as it is.
    """

    expected_generation: ExpectedOrNone
    project_id: Name
    user_id: Name
    consumer_type: (
        Annotated[ConsumerType, Field(description="Left out, it stays as it is; null removes it.")] | None
    ) = None
    allocations: Annotated[
        ById[Allocation], Field(description="All allocations, by the ids of providers; `{}` removes the consumer.")
    ]


class ConsumerSetAllocations(ConsumerAllocations):
    """Replace all allocations of one consumer, if they fit. The first allocation creates the consumer."""

    model_config = example(_WANTED)
    rejections = _REFUSED


class ConsumerSetMany(CommandData):
    """Replace all allocations of several consumers, or of none of them."""

    model_config = example({"consumers": {_CONSUMER: _WANTED}})
    rejections = _REFUSED

    consumers: Annotated[SomeById[ConsumerAllocations], Field(description="By the ids of consumers.")]


class NewInventories(Model):
    """All inventories that a provider is to have from now on."""

    expected_generation: ExpectedGeneration
    inventories: Inventories


class ConsumerReshape(CommandData):
    """Replace inventories of several providers and allocations of several consumers; only the end must be legal."""

    model_config = example(
        {
            "inventories": {_PROVIDER: {"expected_generation": 3, "inventories": {"VCPU": {"total": 64}}}},
            "consumers": {_CONSUMER: _WANTED},
        }
    )
    rejections = (*_REFUSED, Code.INVENTORY_IN_USE)

    inventories: Annotated[ById[NewInventories], Field(description="By the ids of providers.")]
    consumers: Annotated[ById[ConsumerAllocations], Field(description="By the ids of consumers.")]

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.inventories and not self.consumers:
            raise ValueError("inventories or consumers must not be empty")
        return self


class ConsumerState(Shown):
    """A consumer as events and reads show it: amounts by provider and resource class."""

    id: Uuid
    generation: Annotated[
        Generation, Field(description="1 after the first allocation, and 1 more for each accepted command.")
    ]
    project_id: str
    user_id: str
    consumer_type: str | None
    allocations: Annotated[
        dict[Uuid, dict[str, int]], Field(description="Amounts by the ids of providers and by resource class.")
    ]
