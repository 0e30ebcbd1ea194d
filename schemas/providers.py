"""Resource providers: guarded by a generation (0 when created), in trees, with inventories, traits and aggregates.

The idea is OpenStack Placement's; the names of resource classes and traits are OpenStack's too.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from genlock.schemas.base import (
    SHORT_NAMES,
    CommandData,
    ExpectedGeneration,
    Generation,
    Model,
    Name,
    NullIsAbsent,
    Shown,
    UnfitError,
    Uuid,
    example,
)
from genlock.schemas.codes import Code
from genlock.schemas.standards import ResourceClass, Trait

AMOUNT_MAX = 2**31 - 1
ALLOCATION_RATIO_MAX = 3.40282e38
"""The largest single-precision float, as in Placement."""

Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX)]


def _all_different(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise UnfitError("must not name anything twice", uniqueItems=True)
    return values


class Inventory(Model):
    """How much of a resource class a provider has: `(total - reserved) * allocation_ratio` can be allocated.

    Each single amount is from `min_unit` to `max_unit`, and a multiple of `step_size`.
    """

    total: Annotated[Amount, Field(description="How much there is.")]
    reserved: NullIsAbsent[
        Annotated[int, Field(ge=0, le=AMOUNT_MAX, description="The part that consumers may not use; at most `total`.")]
    ] = 0
    min_unit: NullIsAbsent[Annotated[Amount, Field(description="The least that one allocation may have.")]] = 1
    max_unit: NullIsAbsent[Annotated[Amount, Field(description="The most that one may have.")]] = AMOUNT_MAX
    step_size: NullIsAbsent[Annotated[Amount, Field(description="Every allocation is a multiple of it.")]] = 1
    allocation_ratio: NullIsAbsent[
        Annotated[float, Field(gt=0, le=ALLOCATION_RATIO_MAX, description="More than 1 lets more be allocated.")]
    ] = 1.0

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.reserved > self.total:
            raise ValueError("reserved must not be more than total")
        return self


Inventories = Annotated[
    dict[ResourceClass, Inventory], SHORT_NAMES, Field(description="All inventories, by resource class.")
]

_PARENT = "6b9b4f0a-2a53-4f57-8b7e-3d1c5a0f9e21"


class ProviderCreate(CommandData):
    """Create a provider; without a parent it is a root. Its name is unique among live providers."""

    model_config = example({"name": "host-17", "parent_id": _PARENT})
    rejections = (Code.PARENT_NOT_FOUND, Code.PARENT_LOOP, Code.DUPLICATE_NAME)

    name: Name
    parent_id: Annotated[Uuid, Field(description="The provider that it stands below.")] | None = None


class ProviderUpdate(CommandData):
    """Rename a provider, or move it and all that is below it; a null parent makes it a root."""

    model_config = example({"expected_generation": 3, "parent_id": _PARENT})
    rejections = (Code.PARENT_NOT_FOUND, Code.PARENT_LOOP, Code.DUPLICATE_NAME)

    expected_generation: ExpectedGeneration
    # Left out and null differ only for the parent; a name cannot be null, and the schema shows no default for it.
    name: Annotated[Name, Field(json_schema_extra=lambda schema: schema.pop("default"))] = ""
    parent_id: Annotated[Uuid, Field(description="The new parent; null makes the provider a root.")] | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set & {"name", "parent_id"}:
            raise ValueError("name or parent_id is required")
        return self


class ProviderDelete(CommandData):
    """Delete a provider; its tombstone stays.

    Refused while the provider has children, or consumers have allocations of it.
    """

    model_config = example({"expected_generation": 3})
    rejections = (Code.PROVIDER_HAS_CHILDREN, Code.PROVIDER_IN_USE)

    expected_generation: ExpectedGeneration


class ProviderSetInventories(CommandData):
    """Replace all inventories of a provider."""

    model_config = example(
        {"expected_generation": 3, "inventories": {"VCPU": {"total": 64, "reserved": 4, "allocation_ratio": 4.0}}}
    )
    rejections = (Code.UNKNOWN_RESOURCE_CLASS, Code.INVENTORY_IN_USE)

    expected_generation: ExpectedGeneration
    inventories: Inventories


class ProviderPutInventory(CommandData):
    """Add or replace the inventory of one resource class."""

    model_config = example({"expected_generation": 3, "resource_class": "MEMORY_MB", "inventory": {"total": 65536}})
    rejections = (Code.UNKNOWN_RESOURCE_CLASS,)

    expected_generation: ExpectedGeneration
    resource_class: ResourceClass
    inventory: Inventory


class ProviderDeleteInventory(CommandData):
    """Remove the inventory of one resource class."""

    model_config = example({"expected_generation": 3, "resource_class": "MEMORY_MB"})
    rejections = (Code.NO_INVENTORY, Code.INVENTORY_IN_USE)

    expected_generation: ExpectedGeneration
    resource_class: ResourceClass


class ProviderSetTraits(CommandData):
    """Replace all traits of a provider."""

    model_config = example({"expected_generation": 3, "traits": ["HW_CPU_X86_AVX2", "CUSTOM_FAST"]})
    rejections = (Code.UNKNOWN_TRAIT,)

    expected_generation: ExpectedGeneration
    traits: Annotated[
        list[Trait], AfterValidator(_all_different), Field(description="All traits, nothing in it twice.")
    ]


class ProviderSetAggregates(CommandData):
    """Replace all aggregates of a provider."""

    model_config = example({"expected_generation": 3, "aggregates": ["3f6d1c0e-58f1-4a35-9a53-0e6a4f2b7c10"]})

    expected_generation: ExpectedGeneration
    aggregates: Annotated[
        list[Uuid], AfterValidator(_all_different), Field(description="All aggregates, nothing in it twice.")
    ]


class ProviderState(Shown):
    """A provider as events and reads show it; traits and aggregates are sorted."""

    id: Uuid
    name: str
    generation: Annotated[Generation, Field(description="0 when created, and 1 more for each accepted command.")]
    parent_id: Annotated[Uuid, Field(description="Null for a root.")] | None
    root_id: Annotated[Uuid, Field(description="The root of its tree; a root's own id.")]
    inventories: dict[str, Inventory]
    traits: list[str]
    aggregates: list[Uuid]
