"""Queries: reads over request and reply, in the same envelope as commands."""

import uuid
from typing import Annotated

from pydantic import Field, TypeAdapter

from genlock.schemas.base import Kind, Model, Name, NullIsAbsent, Uuid
from genlock.schemas.documents import DocumentId
from genlock.schemas.filters import TERMS_MAX, AggregateTerms, Terms, TraitTerms
from genlock.schemas.providers import Amount
from genlock.schemas.stacks import Action, Status
from genlock.schemas.standards import ResourceClass

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
    limit: NullIsAbsent[Limit] = LIMIT_DEFAULT
    after: Cursor | None = None


class ProviderList(Filters):
    """Live providers in the order of their ids, that pass every filter which is given."""

    name: Name | None = None
    in_tree: Annotated[Uuid, Field(description="Any provider of the tree.")] | None = None
    member_of: AggregateTerms | None = Field(
        default=None, description="Aggregates: a term that holds, or a list of terms, all of which do."
    )
    required: NullIsAbsent[TraitTerms] = Field(default_factory=list, description="Traits: terms, all of which hold.")
    resources: NullIsAbsent[dict[ResourceClass, Amount]] = Field(
        default_factory=dict, max_length=TERMS_MAX, description="Amounts that a consumer could still be given at once."
    )
    limit: NullIsAbsent[Limit] = LIMIT_DEFAULT
    after: Cursor | None = None

    @property
    def aggregates(self) -> Terms:
        return Terms.parse(self.member_of or ())

    @property
    def traits(self) -> Terms:
        return Terms.parse(self.required)


class ProviderAllocations(Filters):
    """What consumers have of the provider that the subject names, in the order of the consumers' ids."""

    limit: NullIsAbsent[Limit] = LIMIT_DEFAULT
    after: Cursor | None = None


class ProviderUsages(Filters):
    """How much is used of each inventory of the provider that the subject names, in the order of resource classes."""

    limit: NullIsAbsent[Limit] = LIMIT_DEFAULT
    after: Cursor | None = None


UNTYPED = "unknown"
ALL_TYPES = "all"
UsageType = Annotated[str, Field(pattern=rf"^([A-Z0-9_]+|{UNTYPED}|{ALL_TYPES})$", max_length=255)]


class ProjectUsages(Filters):
    """What the consumers of the project that the subject names have in all, by their type.

    Consumers without a type are of the type `unknown`. The type `all` stands for all types, as one.
    """

    user_id: Name | None = None
    consumer_type: UsageType | None = None
    limit: NullIsAbsent[Limit] = LIMIT_DEFAULT
    after: Cursor | None = None


class RecordHistory(Filters):
    """The accepted commands of a record, oldest first; also of a deleted one."""

    kind: Kind
    limit: NullIsAbsent[Limit] = LIMIT_DEFAULT
    after: Cursor | None = None


QUERIES: dict[str, type[Filters]] = {
    "provider.get": NoFilters,
    "provider.list": ProviderList,
    "provider.allocations": ProviderAllocations,
    "provider.usages": ProviderUsages,
    "consumer.get": NoFilters,
    "project.usages": ProjectUsages,
    "document.get": NoFilters,
    "stack.get": NoFilters,
    "stack.list": StackList,
    "command.get": NoFilters,
    "record.history": RecordHistory,
}


_UUID: TypeAdapter[str] = TypeAdapter(Uuid)
QUERY_SUBJECTS: dict[str, TypeAdapter[str]] = {
    **dict.fromkeys(("provider.get", "provider.allocations", "provider.usages", "consumer.get", "stack.get"), _UUID),
    "project.usages": TypeAdapter(Name),
    "document.get": TypeAdapter(DocumentId),
    "command.get": _UUID,
    "record.history": TypeAdapter(Uuid | DocumentId),
}
"""What each query is about. Those that are not here are about no record."""


def result_id(query_id: str) -> str:
    """The id of a query's reply."""
    return str(uuid.uuid5(uuid.UUID(query_id), "result"))
