"""The states of records, by the table of the contract."""

from typing import Any

from pydantic import ValidationError

from genlock.errors import UnreadableAnswer
from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.catalogue import STATES
from genlock.schemas.consumers import ConsumerState
from genlock.schemas.documents import DocumentState
from genlock.schemas.providers import ProviderState
from genlock.schemas.stacks import StackState

State = ProviderState | ConsumerState | StackState | DocumentState
"""The state of a record of a kind that this client knows (tests/unit/test_client_names.py)."""


def read_state(kind: Kind, record: Any) -> State:
    """Read a record's state as the service shows it. Raises UnreadableAnswer."""
    try:
        # A newer service may show more than this client knows, and JSON has no enumerations.
        state: Any = STATES[kind].model_validate(record, strict=False, extra="ignore")
    except ValidationError as error:
        raise UnreadableAnswer(f"The answer is not the state of a {kind}: {error}.") from error
    known: State = state
    return known


def read_any_state(kind: str, record: Any) -> State | JsonObject:
    """Read a state likewise, or that of a kind that only a newer service knows, as it came. Raises UnreadableAnswer."""
    for known in STATES:
        if known == kind:
            return read_state(known, record)
    if not isinstance(record, dict):
        raise UnreadableAnswer(f"The answer is not the state of a {kind}: {record!r}.")
    return record
