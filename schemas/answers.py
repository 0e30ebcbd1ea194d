"""What queries are answered with: a record, or records page by page."""

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from genlock.schemas.base import Generation, Known, Shown, Uuid
from genlock.schemas.catalogue import STATES
from genlock.schemas.codes import Code
from genlock.schemas.faults import FieldError
from genlock.schemas.outcomes import OutcomeEvent, Token, User
from genlock.schemas.providers import ProviderState
from genlock.schemas.stacks import StackState


class ProviderAllocation(Shown):
    """What one consumer has of a provider."""

    consumer_id: Uuid
    consumer_generation: Generation
    project_id: str
    user_id: str
    consumer_type: str | None
    resources: Annotated[dict[str, int], Field(description="Amounts by resource class.")]


class ProviderUsage(Shown):
    """How much of one inventory is used. `capacity - used` is left, and may be negative."""

    resource_class: str
    used: int
    capacity: Annotated[int, Field(description="`(total - reserved) * allocation_ratio`, rounded down.")]
    total: int
    reserved: int


class ProjectUsage(Shown):
    """What the consumers of one type have in all."""

    consumer_type: Annotated[str, Field(description="`unknown` for consumers without a type, `all` for all of them.")]
    consumer_count: int
    resources: Annotated[dict[str, int], Field(description="Sums by resource class.")]


class AcceptedCommand(Shown):
    """A command that a record accepted."""

    sequence: int
    token: Annotated[Token, Field(description="The token that the command made.")]
    command_id: Uuid
    type: str
    source: str
    time: Annotated[str, Field(description="When it was decided, RFC 3339.")]
    user: User | None = None


class ErrorData(Shown):
    """The `error` of a query's result, in place of a record."""

    code: Known[Code]
    message: Annotated[str, Field(description="A sentence for a person. Programs compare `code`.")]
    errors: list[FieldError] = Field(default_factory=list, description="Each fault, as those of a rejection.")
    errors_total: (
        Annotated[int, Field(description="How many faults there are, where `errors` does not list them all.")] | None
    ) = None


@dataclass(frozen=True, slots=True)
class AnswerModel:
    """The `data` of a query's result."""

    record: type[Shown | OutcomeEvent]
    """The model of `record`, or of each of `records`."""
    paged: bool = False
    """Whether the answer has `records` and `next` in place of `record`."""
    beside: tuple[str, ...] = ()
    """The further members: `sequence`, the record's; `generation`, the provider's."""


ANSWERS: dict[str, AnswerModel] = {
    **{f"{kind}.get": AnswerModel(state, beside=("sequence",)) for kind, state in STATES.items()},
    **{f"{kind}.outcome": AnswerModel(OutcomeEvent) for kind in STATES},
    "provider.list": AnswerModel(ProviderState, paged=True),
    "provider.allocations": AnswerModel(ProviderAllocation, paged=True, beside=("generation",)),
    "provider.usages": AnswerModel(ProviderUsage, paged=True, beside=("generation",)),
    "project.usages": AnswerModel(ProjectUsage, paged=True),
    "stack.list": AnswerModel(StackState, paged=True),
    "command.get": AnswerModel(OutcomeEvent),
    "record.history": AnswerModel(AcceptedCommand, paged=True),
}
"""By the type of the query."""
