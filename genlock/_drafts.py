"""Drafts: commands without their token, and how they get it.

A draft is a `functools.partial` of a command's model, such as `partial(DocumentPut, body={})`, or the model itself
where nothing but the token has to be given, such as `DocumentDelete`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from types import NoneType
from typing import Any, TypeVar, get_args

from genlock._states import ReadableKind, State
from genlock.errors import InvalidMessage
from genlock.schemas.base import CommandData
from genlock.schemas.catalogue import TYPE_OF
from genlock.schemas.consumers import ConsumerSetAllocations
from genlock.schemas.documents import DocumentDelete, DocumentMerge, DocumentPut
from genlock.schemas.providers import (
    ProviderCreate,
    ProviderDelete,
    ProviderDeleteInventory,
    ProviderPutInventory,
    ProviderSetAggregates,
    ProviderSetInventories,
    ProviderSetTraits,
    ProviderUpdate,
)
from genlock.schemas.stacks import (
    StackCancel,
    StackCreate,
    StackDelete,
    StackRollback,
    StackSetState,
    StackState,
    StackUpdate,
)

DocumentDraft = Callable[..., DocumentPut | DocumentMerge | DocumentDelete]
"""A command on a document, without its `expected_generation`."""

StackDraft = Callable[..., StackCreate | StackUpdate | StackDelete | StackRollback | StackCancel | StackSetState]
"""A command on a stack, without its `expected_traversal`."""

ProviderDraft = Callable[
    ...,
    ProviderCreate
    | ProviderUpdate
    | ProviderDelete
    | ProviderSetInventories
    | ProviderPutInventory
    | ProviderDeleteInventory
    | ProviderSetTraits
    | ProviderSetAggregates,
]
"""A command on a provider, without its `expected_generation`."""

ConsumerDraft = Callable[..., ConsumerSetAllocations]
"""New allocations of a consumer, without its `expected_generation`."""

_S = TypeVar("_S")
_D = TypeVar("_D")
Drafting = Callable[[_S | None], _D | Awaitable[_D | None] | None]
"""From a record's state, None where there is none, to what shall be done about it, None for nothing."""

TOKENS = ("expected_generation", "expected_traversal")


def completed(draft: Any, kind: ReadableKind, record_id: str, state: State | None) -> CommandData:
    """Give a draft the token of the state that its author saw.

    Raises InvalidMessage for what is no draft on such a record, and for one that needs a record where there is none;
    pydantic's ValidationError for values that the command cannot have.
    """
    model = _model(draft, kind)
    token = next((name for name in TOKENS if name in model.model_fields), None)
    if token is None:
        data: CommandData = draft()
    elif state is not None:
        data = draft(**{token: state.traversal if isinstance(state, StackState) else state.generation})
    elif NoneType in get_args(model.model_fields[token].annotation):
        data = draft(**{token: None})
    else:
        raise InvalidMessage(f"There is no {kind} {record_id}, and {TYPE_OF[model].name} needs one.")
    return data


def _model(draft: Any, kind: ReadableKind) -> type[CommandData]:
    """The model that a draft is one of."""
    model = draft.func if isinstance(draft, partial) else draft
    if not isinstance(model, type) or model not in TYPE_OF:
        raise InvalidMessage("A draft is a functools.partial of a command's model, the model itself, or None.")
    if TYPE_OF[model].kind != kind or TYPE_OF[model].on_several:
        raise InvalidMessage(f"The command {TYPE_OF[model].name} is none on a {kind}.")
    if isinstance(draft, partial) and (given := draft.keywords.keys() & set(TOKENS)):
        raise InvalidMessage(f"The client fills in {given.pop()}: a draft is a command without it.")
    return model
