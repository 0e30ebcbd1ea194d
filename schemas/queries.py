"""Queries: reads over request and reply, in the same envelope as commands."""

import uuid
from collections.abc import Iterator
from typing import Annotated, ClassVar

from pydantic import Field, TypeAdapter

from genlock.schemas.base import Kind, Model, Name, NullIsAbsent, Uuid, example
from genlock.schemas.catalogue import RECORDS, SUBJECTS
from genlock.schemas.codes import Code
from genlock.schemas.documents import DocumentId
from genlock.schemas.filters import TERMS_MAX, AggregateTerms, Terms, TraitTerms
from genlock.schemas.providers import Amount
from genlock.schemas.stacks import Action, Status
from genlock.schemas.standards import ResourceClass

LIMIT_DEFAULT = 100
LIMIT_MAX = 1_000

Limit = Annotated[int, Field(ge=1, le=LIMIT_MAX, description="The most records of a page.")]
Cursor = Annotated[str, Field(min_length=1, max_length=255, description="The `next` of the page before.")]


class Filters(Model):
    """The `data` of a query."""

    errors: ClassVar[tuple[Code, ...]] = ()
    """What the query may be answered with in place of records, besides `ANY_QUERY`."""


ANY_QUERY = (Code.INVALID_DATA, Code.TOO_LARGE, Code.ROUTING_KEY_MISMATCH, Code.INTERNAL_ERROR)
"""What a query of any type may be answered with. One whose type is unknown is answered with `unknown_type`."""


class NoFilters(Filters):
    """A query for the one record that its subject names."""

    errors = (Code.NOT_FOUND,)


class OutcomeOfKind(Filters):
    """The outcome of a command on a record of this kind, by the command's id. That of any other command is not found.

    A publisher who may ask this about the kinds that it sends commands on sees the outcomes of no others.
    """

    errors = (Code.NOT_FOUND,)


class StackList(Filters):
    """Live stacks in the order of their ids."""

    name: Annotated[Name, Field(description="The stack of that name.")] | None = None
    action: Annotated[Action, Field(strict=False, description="Stacks in that action.")] | None = None
    status: Annotated[Status, Field(strict=False, description="Stacks in that status.")] | None = None
    limit: NullIsAbsent[Limit] = LIMIT_DEFAULT
    after: Cursor | None = None


class ProviderList(Filters):
    """Live providers in the order of their ids, that pass every filter which is given."""

    model_config = example(
        {"member_of": "3f6d1c0e-58f1-4a35-9a53-0e6a4f2b7c10", "required": ["HW_CPU_X86_AVX2"], "resources": {"VCPU": 2}}
    )
    errors = (Code.UNKNOWN_TRAIT, Code.UNKNOWN_RESOURCE_CLASS)

    name: Annotated[Name, Field(description="The provider of that name.")] | None = None
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

    errors = (Code.NOT_FOUND,)

    limit: NullIsAbsent[Limit] = LIMIT_DEFAULT
    after: Cursor | None = None


class ProviderUsages(Filters):
    """How much is used of each inventory of the provider that the subject names, in the order of resource classes."""

    errors = (Code.NOT_FOUND,)

    limit: NullIsAbsent[Limit] = LIMIT_DEFAULT
    after: Cursor | None = None


UNTYPED = "unknown"
ALL_TYPES = "all"
UsageType = Annotated[str, Field(pattern=rf"^([A-Z0-9_]+|{UNTYPED}|{ALL_TYPES})$", max_length=255)]


class ProjectUsages(Filters):
    """What the consumers of the project that the subject names have in all, by their type.

    Consumers without a type are of the type `unknown`. The type `all` stands for all types, as one.
    """

    user_id: Annotated[Name, Field(description="Consumers of that user alone.")] | None = None
    consumer_type: Annotated[UsageType, Field(description="Consumers of that type alone.")] | None = None
    limit: NullIsAbsent[Limit] = LIMIT_DEFAULT
    after: Cursor | None = None


class RecordHistory(Filters):
    """The accepted commands of a record, oldest first; also of a deleted one."""

    model_config = example({"kind": "document"})
    errors = (Code.NOT_FOUND,)

    kind: Annotated[Kind, Field(description="The kind of the record.")]
    limit: NullIsAbsent[Limit] = LIMIT_DEFAULT
    after: Cursor | None = None


_FURTHER: dict[Kind, dict[str, type[Filters]]] = {
    "provider": {
        "provider.list": ProviderList,
        "provider.allocations": ProviderAllocations,
        "provider.usages": ProviderUsages,
    },
    "consumer": {"project.usages": ProjectUsages},
    "stack": {"stack.list": StackList},
}
"""Those that kinds have besides `<kind>.get` and `<kind>.outcome`."""


def _queries() -> Iterator[tuple[str, type[Filters]]]:
    for kind in RECORDS:
        yield f"{kind}.get", NoFilters
        yield f"{kind}.outcome", OutcomeOfKind
        yield from _FURTHER.get(kind, {}).items()
    yield "command.get", NoFilters
    yield "record.history", RecordHistory


QUERIES: dict[str, type[Filters]] = dict(_queries())


QUERY_SUBJECTS: dict[str, TypeAdapter[str]] = {
    **{f"{kind}.get": subject for kind, subject in SUBJECTS.items()},
    **dict.fromkeys(("provider.allocations", "provider.usages"), SUBJECTS["provider"]),
    "project.usages": TypeAdapter(Name),
    **{f"{kind}.outcome": TypeAdapter(Uuid) for kind in RECORDS},
    "command.get": TypeAdapter(Uuid),
    "record.history": TypeAdapter(Uuid | DocumentId),
}
"""What each query is about. Those that are not here are about no record."""


def result_id(query_id: str) -> str:
    """The id of a query's reply."""
    return str(uuid.uuid5(uuid.UUID(query_id), "result"))
