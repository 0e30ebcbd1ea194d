"""A consumer with its allocations, guarded by a generation."""

from collections.abc import Mapping
from typing import ClassVar

from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.consumers import ConsumerState
from genlock.schemas.outcomes import GenerationToken
from genlock.schemas.values import value
from genlock.service.deciding.record import Maker

Allocations = Mapping[str, Mapping[str, int]]
"""Amounts by provider and resource class."""


@value
class Consumer:
    kind: ClassVar[Kind] = "consumer"

    id: str
    generation: int
    sequence: int
    maker: Maker
    project_id: str
    user_id: str
    consumer_type: str | None
    allocations: Allocations
    deleted: bool

    @property
    def token(self) -> GenerationToken:
        return GenerationToken(generation=self.generation)

    @property
    def name(self) -> None:
        return None

    @property
    def size(self) -> int:
        return 60 * sum(map(len, self.allocations.values()))

    def state(self) -> JsonObject:
        return ConsumerState(
            id=self.id,
            generation=self.generation,
            project_id=self.project_id,
            user_id=self.user_id,
            consumer_type=self.consumer_type,
            allocations={name: dict(sorted(amounts.items())) for name, amounts in sorted(self.allocations.items())},
        ).model_dump()

    def summary(self) -> JsonObject:
        return self.state()
