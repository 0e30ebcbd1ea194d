"""Resource providers: guarded by a generation (0 when created), in trees, with inventories, traits and aggregates.

The idea is OpenStack Placement's; the names of resource classes and traits are OpenStack's too.
"""

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from genlock.schemas.base import SHORT_NAMES, CommandData, Generation, Model, Name, NullIsAbsent, Shown, Uuid
from genlock.schemas.standards import ResourceClass, Trait

AMOUNT_MAX = 2**31 - 1
ALLOCATION_RATIO_MAX = 3.40282e38
"""The largest single-precision float, as in Placement."""

Amount = Annotated[int, Field(ge=1, le=AMOUNT_MAX)]


def _all_different(values: list[str]) -> list[str]:
    if len(set(values)) != len(values):
        raise ValueError("must not name anything twice")
    return values


class Inventory(Model):
    """How much of a resource class a provider has: `(total - reserved) * allocation_ratio` can be allocated.

    Each single amount is from `min_unit` to `max_unit`, and a multiple of `step_size`.
    """

    total: Amount
    reserved: NullIsAbsent[Annotated[int, Field(ge=0, le=AMOUNT_MAX)]] = 0
    min_unit: NullIsAbsent[Amount] = 1
    max_unit: NullIsAbsent[Amount] = AMOUNT_MAX
    step_size: NullIsAbsent[Amount] = 1
    allocation_ratio: NullIsAbsent[Annotated[float, Field(gt=0, le=ALLOCATION_RATIO_MAX)]] = 1.0

    @model_validator(mode="after")
    def _leaves_something(self) -> Self:
        if self.reserved > self.total:
            raise ValueError("reserved must not be more than total")
        return self


Inventories = Annotated[dict[ResourceClass, Inventory], SHORT_NAMES]


class ProviderCreate(CommandData):
    """Create a provider; without a parent it is a root."""

    name: Name
    parent_id: Uuid | None = None


class ProviderUpdate(CommandData):
    """Rename a provider, or move it and all that is below it; a null parent makes it a root."""

    expected_generation: Generation
    # Left out and null differ only for the parent; a name cannot be null, and the schema shows no default for it.
    name: Annotated[Name, Field(json_schema_extra=lambda schema: schema.pop("default"))] = ""
    parent_id: Uuid | None = None

    @model_validator(mode="after")
    def _changes_something(self) -> Self:
        if not self.model_fields_set & {"name", "parent_id"}:
            raise ValueError("name or parent_id is required")
        return self


class ProviderDelete(CommandData):
    """Leave a tombstone. Refused while the provider has children."""

    expected_generation: Generation


class ProviderSetInventories(CommandData):
    """Replace all inventories."""

    expected_generation: Generation
    inventories: Inventories


class ProviderPutInventory(CommandData):
    """Add or replace the inventory of one resource class."""

    expected_generation: Generation
    resource_class: ResourceClass
    inventory: Inventory


class ProviderDeleteInventory(CommandData):
    """Remove the inventory of one resource class."""

    expected_generation: Generation
    resource_class: ResourceClass


class ProviderSetTraits(CommandData):
    """Replace all traits."""

    expected_generation: Generation
    traits: Annotated[list[Trait], AfterValidator(_all_different)]


class ProviderSetAggregates(CommandData):
    """Replace all aggregates."""

    expected_generation: Generation
    aggregates: Annotated[list[Uuid], AfterValidator(_all_different)]


class ProviderState(Shown):
    """A provider as events and reads show it; traits and aggregates are sorted."""

    id: Uuid
    name: str
    generation: Generation
    parent_id: Uuid | None
    root_id: Uuid
    inventories: dict[str, Inventory]
    traits: list[str]
    aggregates: list[Uuid]
