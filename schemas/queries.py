"""Queries: reads over request and reply, in the same envelope as commands."""

import uuid
from typing import Annotated

from pydantic import Field

from genlock.schemas.base import Kind, Model, Name
from genlock.schemas.stacks import Action, Status

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


class RecordHistory(Filters):
    """The accepted commands of a record, oldest first; also of a deleted one."""

    kind: Kind
    limit: Limit = LIMIT_DEFAULT
    after: Cursor | None = None


QUERIES: dict[str, type[Filters]] = {
    "document.get": NoFilters,
    "stack.get": NoFilters,
    "stack.list": StackList,
    "command.get": NoFilters,
    "record.history": RecordHistory,
}


def result_id(query_id: str) -> str:
    """The id of a query's reply."""
    return str(uuid.uuid5(uuid.UUID(query_id), "result"))
