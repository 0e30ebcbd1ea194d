"""Queries: reads over request and reply, in the same envelope as commands."""

import uuid
from typing import Annotated

from pydantic import Field

from genlock.schemas.base import Kind, Model, Name, Uuid
from genlock.schemas.stacks import Action, Status
from genlock.schemas.standards import Trait

LIMIT_DEFAULT = 100
LIMIT_MAX = 1_000

Limit = Annotated[int, Field(ge=1, le=LIMIT_MAX)]
Cursor = Annotated[str, Field(min_length=1, max_length=255, description="The `next` of the page before.")]


class Filters(Model):
    """The `data` of a query."""


class NoFilters(Filters):
    """A query for the one record that its subject names."""


class StackList(Filters):
    """Live stacks in the order of their ids."""

    name: Name | None = None
    action: Annotated[Action, Field(strict=False)] | None = None
    status: Annotated[Status, Field(strict=False)] | None = None
    limit: Limit = LIMIT_DEFAULT
    after: Cursor | None = None


class ProviderList(Filters):
    """Live providers in the order of their ids, that pass every filter which is given."""

    name: Name | None = None
    in_tree: Annotated[Uuid, Field(description="Any provider of the tree.")] | None = None
    member_of: Annotated[Uuid, Field(description="An aggregate.")] | None = None
    required: Annotated[list[Trait], Field(default_factory=list, description="Traits that it has, all of them.")]
    limit: Limit = LIMIT_DEFAULT
    after: Cursor | None = None


class RecordHistory(Filters):
    """The accepted commands of a record, oldest first; also of a deleted one."""

    kind: Kind
    limit: Limit = LIMIT_DEFAULT
    after: Cursor | None = None


QUERIES: dict[str, type[Filters]] = {
    "provider.get": NoFilters,
    "provider.list": ProviderList,
    "document.get": NoFilters,
    "stack.get": NoFilters,
    "stack.list": StackList,
    "command.get": NoFilters,
    "record.history": RecordHistory,
}


def result_id(query_id: str) -> str:
    """The id of a query's reply."""
    return str(uuid.uuid5(uuid.UUID(query_id), "result"))
