"""Stacks: guarded by a traversal, the id of the command that started the run which owns the stack now.

The idea comes from OpenStack Heat's convergence engine, where every store of a stack expects its current traversal.
"""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from genlock.schemas.base import CommandData, JsonObject, Name, NullIsAbsent, Shown, Uuid, example
from genlock.schemas.codes import Code

TIMEOUT_S_MAX = 2**31 - 1
Timeout = Annotated[int, Field(ge=1, le=TIMEOUT_S_MAX, description="Seconds. Kept; not acted on yet.")]

Template = Annotated[JsonObject, Field(description="Any JSON object, at most 512 KiB.")]
ExpectedTraversal = Annotated[Uuid, Field(description="The traversal that must own the stack.")]
DisableRollback = Annotated[bool, Field(description="Whether a failed create or update leaves the stack as it is.")]

_TRAVERSAL = "0192f0c1-7a03-7d11-8c2e-0242ac120002"
_REFUSED = (Code.DELETED, Code.WRONG_ACTION, Code.WRONG_STATUS)


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
    """Start a stack, in CREATE IN_PROGRESS. Its name is unique among live stacks."""

    model_config = example({"name": "web", "template": {"servers": 3}, "disable_rollback": False})
    rejections = (Code.DELETED, Code.DUPLICATE_NAME)

    name: Name
    template: Template
    disable_rollback: NullIsAbsent[DisableRollback] = True
    timeout_s: Timeout | None = None


class StackUpdate(CommandData):
    """Start an update of a stack; the template before is kept as the previous one. Fields left out stay as they are."""

    model_config = example({"expected_traversal": _TRAVERSAL, "template": {"servers": 5}})
    rejections = (Code.DELETED, Code.WRONG_ACTION)

    expected_traversal: ExpectedTraversal
    template: Template
    disable_rollback: DisableRollback | None = None
    timeout_s: Timeout | None = None


class StackDelete(CommandData):
    """Start the deletion of a stack. `stack.set_state` COMPLETE ends it and leaves the tombstone."""

    model_config = example({"expected_traversal": _TRAVERSAL})
    rejections = (Code.DELETED,)

    expected_traversal: ExpectedTraversal


class StackRollback(CommandData):
    """Make the previous template the template again (the empty one after a CREATE) and start rolling back."""

    model_config = example({"expected_traversal": _TRAVERSAL})
    rejections = _REFUSED

    expected_traversal: ExpectedTraversal


class StackCancel(CommandData):
    """Stop the run in progress: FAILED under a new traversal, no rollback, templates untouched."""

    model_config = example({"expected_traversal": _TRAVERSAL})
    rejections = (Code.DELETED, Code.WRONG_STATUS)

    expected_traversal: ExpectedTraversal


class StackSetState(CommandData):
    """Report how the run of `expected_traversal` ended. It changes nothing once another run owns the stack."""

    model_config = example({"expected_traversal": _TRAVERSAL, "status": "FAILED", "reason": "No host has room."})
    rejections = (Code.DELETED, Code.WRONG_STATUS)

    expected_traversal: ExpectedTraversal
    status: Literal["COMPLETE", "FAILED"]
    reason: NullIsAbsent[Annotated[str, Field(description="Becomes the `status_reason` of the stack.")]] = ""


class StackState(Shown):
    """A stack as events and reads show it.

    Success events leave the templates out, except that of a failure that starts a rollback: it has them, and the
    template that failed as `failed_template`.
    """

    id: Uuid
    name: str
    action: Action
    status: Status
    status_reason: str
    traversal: Annotated[Uuid, Field(description="The id of the command that started the run which owns the stack.")]
    previous_traversal: Annotated[Uuid, Field(description="The traversal before this one.")] | None
    disable_rollback: bool
    timeout_s: int | None
    template: Annotated[JsonObject, Field(description="What the stack is to be.")] | None = None
    previous_template: Annotated[JsonObject, Field(description="What a rollback goes back to.")] | None = None
    failed_template: Annotated[JsonObject, Field(description="What a failed run had begun to build.")] | None = None
