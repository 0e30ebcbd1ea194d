"""Records as the fold sees them: immutable values, read under their locks and folded command by command."""

from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar, Protocol

from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.consumers import ConsumerState
from genlock.schemas.outcomes import GenerationToken, Token, TraversalToken, Winner
from genlock.schemas.providers import Inventory, ProviderState
from genlock.schemas.stacks import Action, StackState, Status
from genlock.schemas.values import value
from genlock.service.stored import Stored

RecordKey = tuple[Kind, str]
"""Kind and id."""

Name = tuple[Kind, str]
"""A name, unique among the live records of its kind."""

Allocations = Mapping[str, Mapping[str, int]]
"""Amounts by provider and resource class."""


class Record(Protocol):
    """A guarded thing. `sequence` counts its accepted commands, `maker` made its current token."""

    kind: ClassVar[Kind]

    @property
    def id(self) -> str: ...
    @property
    def sequence(self) -> int: ...
    @property
    def maker(self) -> Winner: ...
    @property
    def deleted(self) -> bool: ...
    @property
    def token(self) -> Token: ...
    @property
    def name(self) -> str | None:
        """The unique name that it holds now, None for a kind without names and for a tombstone."""
        ...

    def state(self) -> JsonObject:
        """The record as reads and conflicts show it."""
        ...

    def summary(self) -> JsonObject:
        """The record as success events show it."""
        ...


@value
class Document:
    kind: ClassVar[Kind] = "document"

    id: str
    generation: int
    sequence: int
    maker: Winner
    body: Stored | None
    """None is a tombstone."""

    @property
    def deleted(self) -> bool:
        return self.body is None

    @property
    def token(self) -> GenerationToken:
        return GenerationToken(generation=self.generation)

    @property
    def name(self) -> None:
        return None

    def state(self) -> JsonObject:
        """The document with its body, an empty one for a tombstone."""
        # DocumentState says what it is; made without it, which would take longer than all the rest of the rule.
        return {"id": self.id, "generation": self.generation, "body": self.body.value if self.body else {}}

    def summary(self) -> JsonObject:
        return self.state()


@value
class Provider:
    kind: ClassVar[Kind] = "provider"

    id: str
    generation: int
    sequence: int
    maker: Winner
    provider_name: str
    parent_id: str | None
    inventories: Mapping[str, Inventory]
    traits: frozenset[str]
    aggregates: frozenset[str]
    deleted: bool
    used: Mapping[str, int] = field(default_factory=dict)
    """How much of each resource class is allocated; what is not there is 0."""
    root_id: str = ""
    """The topmost ancestor as the state knows it; not stored, for it changes with any move above."""

    @property
    def token(self) -> GenerationToken:
        return GenerationToken(generation=self.generation)

    @property
    def name(self) -> str | None:
        return None if self.deleted else self.provider_name

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


@value
class Consumer:
    kind: ClassVar[Kind] = "consumer"

    id: str
    generation: int
    sequence: int
    maker: Winner
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


@value
class Stack:
    kind: ClassVar[Kind] = "stack"

    id: str
    sequence: int
    maker: Winner
    stack_name: str
    action: Action
    status: Status
    status_reason: str
    traversal: str
    previous_traversal: str | None
    template: Stored
    previous_template: Stored | None
    disable_rollback: bool
    timeout_s: int | None

    @property
    def deleted(self) -> bool:
        return self.action is Action.DELETE and self.status is Status.COMPLETE

    @property
    def token(self) -> TraversalToken:
        return TraversalToken(traversal=self.traversal, previous_traversal=self.previous_traversal)

    @property
    def name(self) -> str | None:
        return None if self.deleted else self.stack_name

    def summary(self) -> JsonObject:
        """The stack without its templates."""
        return self._state().model_dump(mode="json", exclude={"template", "previous_template"}, exclude_unset=True)

    def state(self) -> JsonObject:
        return self._state().model_dump(mode="json", exclude_unset=True)

    def _state(self) -> StackState:
        return StackState(
            id=self.id,
            name=self.stack_name,
            action=self.action,
            status=self.status,
            status_reason=self.status_reason,
            traversal=self.traversal,
            previous_traversal=self.previous_traversal,
            disable_rollback=self.disable_rollback,
            timeout_s=self.timeout_s,
            template=self.template.value,
            previous_template=self.previous_template.value if self.previous_template else None,
        )
