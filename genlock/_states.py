"""The records that can be read: their kinds, and the models of their states."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ValidationError

from genlock.errors import UnreadableAnswer
from genlock.schemas.consumers import ConsumerState
from genlock.schemas.documents import DocumentState
from genlock.schemas.providers import ProviderState
from genlock.schemas.stacks import StackState

ReadableKind = Literal["provider", "consumer", "stack", "document"]
State = ProviderState | ConsumerState | StackState | DocumentState
STATES: Mapping[ReadableKind, type[State]] = {
    "provider": ProviderState,
    "consumer": ConsumerState,
    "stack": StackState,
    "document": DocumentState,
}


def read_state(kind: ReadableKind, record: Any) -> State:
    """Read a record's state as the service shows it. Raises UnreadableAnswer."""
    try:
        # A newer service may show more than this client knows, and JSON has no enumerations.
        return STATES[kind].model_validate(record, strict=False, extra="ignore")
    except ValidationError as error:
        raise UnreadableAnswer(f"The answer is not the state of a {kind}: {error}.") from error
