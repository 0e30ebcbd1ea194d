"""Stacks: guarded by a traversal, the id of the command that started the run which owns the stack now.

The idea comes from OpenStack Heat's convergence engine, where every store of a stack expects its current traversal.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from genlock.schemas.base import CommandData, JsonObject, Name, NullIsAbsent, Shown, Uuid

TIMEOUT_S_MAX = 2**31 - 1
Timeout = Annotated[int, Field(ge=1, le=TIMEOUT_S_MAX, description="Seconds. Kept; not acted on yet.")]


class Action(StrEnum):
    CREATE = "CREATE"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    ROLLBACK = "ROLLBACK"


class Status(StrEnum):
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETE = "COMPLETE"
    FAILED = "FAILED"


class StackCreate(CommandData):
    """Start a stack. Its name is unique among live stacks."""

    name: Name
    template: JsonObject
    disable_rollback: NullIsAbsent[bool] = True
    timeout_s: Timeout | None = None


class StackUpdate(CommandData):
    """Start an update; the template before is kept as the previous one. Fields left out stay as they are."""

    expected_traversal: Uuid
    template: JsonObject
    disable_rollback: bool | None = None
    timeout_s: Timeout | None = None


class StackDelete(CommandData):
    """Start the deletion. `stack.set_state` COMPLETE ends it and leaves the tombstone."""

    expected_traversal: Uuid


class StackRollback(CommandData):
    """Make the previous template the template again (the empty one after a CREATE) and start rolling back."""

    expected_traversal: Uuid


class StackCancel(CommandData):
    """Stop what is in progress: FAILED under a new traversal, no rollback, templates untouched."""

    expected_traversal: Uuid


class StackSetState(CommandData):
    """Report how the run of `expected_traversal` ended. It changes nothing once another run owns the stack."""

    expected_traversal: Uuid
    status: Literal["COMPLETE", "FAILED"]
    reason: NullIsAbsent[str] = ""


class StackState(Shown):
    """A stack as events and reads show it.

    Success events leave the templates out, save the one of a failure that starts a rollback: it has them, and the
    template that failed as `failed_template`.
    """

    id: Uuid
    name: str
    action: Action
    status: Status
    status_reason: str
    traversal: Uuid
    previous_traversal: Uuid | None
    disable_rollback: bool
    timeout_s: int | None
    template: JsonObject | None = None
    previous_template: JsonObject | None = None
    failed_template: JsonObject | None = None
