"""A resource provider with its inventories, guarded by a generation."""

from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.outcomes import GenerationToken
from genlock.schemas.providers import Inventory, ProviderState
from genlock.schemas.values import value
from genlock.service.deciding.record import Maker

INVENTORY_BYTES = 150
NAME_BYTES = 40
"""About how much JSON an inventory is, and a trait or an aggregate."""


@value
class Provider:
    kind: ClassVar[Kind] = "provider"

    id: str
    generation: int
    sequence: int
    maker: Maker
    provider_name: str
    parent_id: str | None
    inventories: Mapping[str, Inventory]
    traits: frozenset[str]
    aggregates: frozenset[str]
    deleted: bool
    used: Mapping[str, int] = field(default_factory=dict)
    """How much of each resource class is allocated. A class that is missing counts as 0."""
    root_id: str = ""
    """The topmost ancestor as the state knows it. It is not stored, because it changes with any move above."""

    @property
    def token(self) -> GenerationToken:
        return GenerationToken(generation=self.generation)

    @property
    def name(self) -> str | None:
        return None if self.deleted else self.provider_name

    @property
    def size(self) -> int:
        return INVENTORY_BYTES * len(self.inventories) + NAME_BYTES * (len(self.traits) + len(self.aggregates))

    def state(self) -> JsonObject:
        return ProviderState(
            id=self.id,
            name=self.provider_name,
            generation=self.generation,
            parent_id=self.parent_id,
            root_id=self.root_id,
            inventories=dict(self.inventories),
            traits=sorted(self.traits),
            aggregates=sorted(self.aggregates),
        ).model_dump()

    def summary(self) -> JsonObject:
        return self.state()
