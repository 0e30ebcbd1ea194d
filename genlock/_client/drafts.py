"""Drafts: commands without their token, as functions passed to `Client.change` return them.

A draft is a `functools.partial` of a command's model without its token, such as `partial(DocumentPut, body={})`; the
model itself where nothing but the token has to be given, such as `DocumentDelete`; the command's data with the token,
`DocumentPut(expected_generation=state.generation, body={})`; or a whole command made of that by `genlock.command`.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from types import NoneType
from typing import Any, TypeVar, get_args

from genlock._client.states import State
from genlock.commands import Command, command
from genlock.errors import InvalidMessage
from genlock.schemas.base import CommandData, Kind
from genlock.schemas.catalogue import SUBJECTS, TYPE_OF
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
    StackUpdate,
)

_DocumentData = DocumentPut | DocumentMerge | DocumentDelete
_StackData = StackCreate | StackUpdate | StackDelete | StackRollback | StackCancel | StackSetState
_ProviderData = (
    ProviderCreate
    | ProviderUpdate
    | ProviderDelete
    | ProviderSetInventories
    | ProviderPutInventory
    | ProviderDeleteInventory
    | ProviderSetTraits
    | ProviderSetAggregates
)

DocumentDraft = Callable[..., _DocumentData] | _DocumentData | Command
"""A command on a document, without its `expected_generation` or with that of the state."""

StackDraft = Callable[..., _StackData] | _StackData | Command
"""A command on a stack, without its `expected_traversal` or with that of the state."""

ProviderDraft = Callable[..., _ProviderData] | _ProviderData | Command
"""A command on a provider, without its `expected_generation` or with that of the state."""

ConsumerDraft = Callable[..., ConsumerSetAllocations] | ConsumerSetAllocations | Command
"""New allocations of a consumer, without their `expected_generation` or with that of the state."""

_S = TypeVar("_S")
_D = TypeVar("_D")
Drafting = Callable[[_S | None], _D | Awaitable[_D | None] | None]
"""A function from a record's state (None if there is no record) to a draft, or None to stop."""

TOKENS = ("expected_generation", "expected_traversal")


def completed(draft: Any, kind: Kind, record_id: str, state: State | None) -> Command:
    """Make a command of a draft, with the token of the state that its author saw.

    Raises InvalidMessage if the value is no draft on this record, has a token that is not the state's, needs a record
    that does not exist, creates one that does, or has invalid values.
    """
    if not isinstance(draft, Command):
        return command(_data(draft, kind, record_id, state), subject=record_id)
    data = _data(draft.data, kind, record_id, state)
    # A UUID may be in capitals.
    if draft.subject != SUBJECTS[kind].validate_python(record_id):
        raise InvalidMessage(f"fn returned a command on {draft.subject}; change is called for {record_id}.")
    return draft.model_copy(update={"data": data})


def _data(draft: Any, kind: Kind, record_id: str, state: State | None) -> CommandData:
    model = _model(draft, kind)
    token = next((name for name in TOKENS if name in model.model_fields), None)
    seen = _seen(token, state)
    if token is None and state is not None:
        raise InvalidMessage(f"There is a {kind} {record_id} already, and {TYPE_OF[model].name} makes one.")
    if token is not None:
        _check_token(draft, TYPE_OF[model].name, token, seen)
        if state is None and NoneType not in get_args(model.model_fields[token].annotation):
            raise InvalidMessage(f"There is no {kind} {record_id}, and {TYPE_OF[model].name} needs one.")
    filled = {} if token is None else {token: seen}
    if isinstance(draft, CommandData):
        return draft.model_copy(update=filled)
    try:
        data: CommandData = draft(**filled)
    except (TypeError, ValueError) as error:
        raise InvalidMessage(f"fn returned a {TYPE_OF[model].name} that cannot be one: {error}.") from error
    return data


def _seen(token: str | None, state: State | None) -> Any:
    """The value of a token such as `expected_generation` in the state; None where there is neither."""
    return None if token is None or state is None else getattr(state, token.removeprefix("expected_"))


def _check_token(draft: Any, name: str, token: str, seen: int | str | None) -> None:
    """Refuse a token that differs from the state's: filling in the state's token would skip the author's check."""
    if isinstance(draft, partial):
        given = draft.keywords
    elif isinstance(draft, CommandData):
        given = draft.model_dump(include=draft.model_fields_set)
    else:
        return
    if token in given and given[token] != seen:
        has = "there is no such record" if seen is None else f"the state that it was called with has {seen}"
        raise InvalidMessage(
            f"fn returned {name} with {token} {given[token]}, but {has}: take {token} from that state, or leave it out "
            "of a functools.partial."
        )


def _model(draft: Any, kind: Kind) -> type[CommandData]:
    """The command model of a draft."""
    model = type(draft) if isinstance(draft, CommandData) else draft.func if isinstance(draft, partial) else draft
    if not isinstance(model, type) or model not in TYPE_OF:
        raise InvalidMessage(
            f"fn returned {_described(draft)}. It has to return a functools.partial of a command's model, the model "
            "itself, the command's data with the state's token, or None to stop."
        )
    if TYPE_OF[model].kind != kind or TYPE_OF[model].multi_record:
        raise InvalidMessage(f"fn returned {TYPE_OF[model].name}, which is no command on one {kind}.")
    return model


def _described(draft: Any) -> str:
    if isinstance(draft, partial):
        return f"a partial of {getattr(draft.func, '__name__', type(draft.func).__name__)}"
    return f"the class {draft.__name__}" if isinstance(draft, type) else f"a value of the type {type(draft).__name__}"
