"""The rules of stacks: pure functions from a state and a command to a decision.

After OpenStack Heat's convergence engine: each run of a stack has a traversal, and only the run that owns the
stack may say how it ended.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from genlock.schemas.base import DOCUMENT_BYTES_MAX
from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command
from genlock.schemas.faults import Fault
from genlock.schemas.outcomes import TraversalToken
from genlock.schemas.stacks import (
    Action,
    StackCancel,
    StackCreate,
    StackDelete,
    StackRollback,
    StackSetState,
    StackUpdate,
    Status,
)
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.json_text import JsonText
from genlock.service.deciding.rule import Guard, Rule
from genlock.service.deciding.state import State, made_by
from genlock.service.deciding.verdicts import Decision, conflict, rejected, succeeded
from genlock.service.kinds.stacks.record import Stack
from genlock.service.kinds.stacks.traversals import AskedTraversals, had_traversal

EMPTY_TEMPLATE = JsonText({})

_ACTION = Code.WRONG_ACTION
_STATUS = Code.WRONG_STATUS
_FORWARD_IN_PROGRESS: Mapping[str, Code] = {}
_FORWARD_FAILED = {"cancel": _STATUS, "set_state": _STATUS}
_COMPLETE = {"rollback": _STATUS, "cancel": _STATUS, "set_state": _STATUS}

REFUSALS: Mapping[tuple[Action, Status], Mapping[str, Code]] = {
    (Action.CREATE, Status.IN_PROGRESS): _FORWARD_IN_PROGRESS,
    (Action.UPDATE, Status.IN_PROGRESS): _FORWARD_IN_PROGRESS,
    (Action.CREATE, Status.FAILED): _FORWARD_FAILED,
    (Action.UPDATE, Status.FAILED): _FORWARD_FAILED,
    (Action.CREATE, Status.COMPLETE): _COMPLETE,
    (Action.UPDATE, Status.COMPLETE): _COMPLETE,
    (Action.ROLLBACK, Status.COMPLETE): _COMPLETE,
    (Action.ROLLBACK, Status.IN_PROGRESS): {"rollback": _ACTION},
    (Action.ROLLBACK, Status.FAILED): {"rollback": _ACTION, "cancel": _STATUS, "set_state": _STATUS},
    (Action.DELETE, Status.IN_PROGRESS): {"update": _ACTION, "rollback": _ACTION},
    (Action.DELETE, Status.FAILED): {"update": _ACTION, "rollback": _ACTION, "cancel": _STATUS, "set_state": _STATUS},
}
"""What a stack refuses, by verb, in each action and status; a verb that is not listed is allowed."""


def create(state: State, command: Command, prepared: tuple[JsonText, StackCreate], decided_at: str) -> Decision:
    """Start a stack under a name that no other live stack has."""
    template, data = prepared
    owner = state.owner(("stack", data.name))
    if owner is not None:
        message = f"The name {data.name!r} belongs to the stack {owner}."
        fault = Fault(Code.DUPLICATE_NAME, message, ("data", "name"), kind="stack", id=owner)
        return rejected(command, None, fault)
    after = Stack(
        id=command.subject,
        sequence=1,
        maker=made_by(command, decided_at),
        stack_name=data.name,
        action=Action.CREATE,
        status=Status.IN_PROGRESS,
        status_reason="",
        traversal=command.id,
        previous_traversal=None,
        template=template,
        previous_template=None,
        disable_rollback=data.disable_rollback,
        timeout_s=data.timeout_s,
    )
    return succeeded(after)


def update(state: State, command: Command, prepared: tuple[JsonText, StackUpdate], decided_at: str) -> Decision:
    """Start an update; the template before is kept as the previous one."""
    template, data = prepared
    record = _allowing(state, command)
    if isinstance(record, Decision):
        return record
    after = replace(
        _run(record, command, decided_at, Action.UPDATE),
        template=template,
        previous_template=record.template,
        disable_rollback=record.disable_rollback if data.disable_rollback is None else data.disable_rollback,
        timeout_s=record.timeout_s if data.timeout_s is None else data.timeout_s,
    )
    return succeeded(after)


def delete(state: State, command: Command, _data: StackDelete, decided_at: str) -> Decision:
    """Start the deletion."""
    record = _allowing(state, command)
    if isinstance(record, Decision):
        return record
    after = _run(record, command, decided_at, Action.DELETE)
    return succeeded(after)


def rollback(state: State, command: Command, _data: StackRollback, decided_at: str) -> Decision:
    """Start rolling back to the previous template."""
    record = _allowing(state, command)
    if isinstance(record, Decision):
        return record
    after = _rolled_back(record, command, decided_at)
    return succeeded(after)


def cancel(state: State, command: Command, _data: StackCancel, decided_at: str) -> Decision:
    """Stop the run in progress: failed under a new traversal, so that its workers no longer own the stack."""
    record = _allowing(state, command)
    if isinstance(record, Decision):
        return record
    run = _run(record, command, decided_at, record.action)
    after = replace(run, status=Status.FAILED, status_reason="Cancelled.")
    return succeeded(after)


def set_state(state: State, command: Command, data: StackSetState, decided_at: str) -> Decision:
    """Take the report of the run that owns the stack."""
    record = _allowing(state, command)
    if isinstance(record, Decision):
        return record
    forward = record.action in (Action.CREATE, Action.UPDATE)
    if data.status == Status.FAILED and forward and not record.disable_rollback:
        after = replace(_rolled_back(record, command, decided_at), status_reason=data.reason)
        # The rollback's workers need both: the template to restore, and the one that failed.
        return succeeded(after, shown=after.state() | {"failed_template": record.template.value})
    after = replace(record, sequence=record.sequence + 1, status=Status(data.status), status_reason=data.reason)
    if after.status is Status.COMPLETE:
        after = replace(after, previous_template=None)
    return succeeded(after)


def _allowing(state: State, command: Command) -> Stack | Decision:
    """The stack that the guard has found, if its action and status allow the command; else the rejection."""
    record = state.live(Stack, command.subject)
    code = REFUSALS[record.action, record.status].get(command.type.removeprefix("stack."))
    if code is not None:
        message = f"A stack in {record.action} {record.status} does not take {command.type}."
        actual = {"action": record.action, "status": record.status}
        return rejected(command, record, Fault(code, message, ("type",), kind="stack", id=record.id, actual=actual))
    return record


def _run(record: Stack, command: Command, decided_at: str, action: Action) -> Stack:
    """The stack under a new traversal, named by the command that starts it."""
    return replace(
        record,
        sequence=record.sequence + 1,
        maker=made_by(command, decided_at),
        action=action,
        status=Status.IN_PROGRESS,
        status_reason="",
        traversal=command.id,
        previous_traversal=record.traversal,
    )


def _rolled_back(record: Stack, command: Command, decided_at: str) -> Stack:
    template = EMPTY_TEMPLATE if record.action is Action.CREATE else record.previous_template or EMPTY_TEMPLATE
    run = _run(record, command, decided_at, Action.ROLLBACK)
    return replace(run, template=template, previous_template=None)


def _deleted(command: Command, record: Stack) -> Decision:
    message = "The stack is deleted, and its id is never used again."
    return rejected(command, record, Fault(Code.DELETED, message, ("subject",), kind="stack", id=record.id))


def _too_large(command: Command, record: Stack | None) -> Decision:
    message = f"The template is larger than {DOCUMENT_BYTES_MAX} bytes of JSON."
    limit = {"max_bytes": DOCUMENT_BYTES_MAX}
    return rejected(command, record, Fault(Code.TOO_LARGE, message, ("data", "template"), constraints=limit))


def _sized(state: State, command: Command, data: StackCreate | StackUpdate) -> Any:
    """The template beside the data, unless it is too large."""
    template = JsonText(data.template)
    return _too_large(command, state.get(Stack, command.subject)) if template.too_large else (template, data)


def _new(state: State, command: Command, _prepared: Any) -> Decision | None:
    record = state.get(Stack, command.subject)
    if record is None:
        return None
    if record.deleted:
        return _deleted(command, record)
    return conflict(command, record, Reason.EXISTS, None, current=record.state())


def _owned(state: State, command: Command, _prepared: Any) -> Decision | None:
    data: Any = command.data
    expected = data.expected_traversal
    record = state.get(Stack, command.subject)
    token = TraversalToken(traversal=expected)
    if record is None:
        return conflict(command, None, Reason.MISSING, token)
    if record.deleted:
        return _deleted(command, record)
    if record.traversal == expected:
        return None
    superseded = had_traversal(state, record.id, expected)
    reports = isinstance(data, StackSetState)
    return conflict(
        command,
        record,
        Reason.SUPERSEDED if superseded else Reason.AHEAD,
        token,
        current=record.summary() if reports else record.state(),
        retry=not (reports and superseded),
    )


NEW = Guard(_new)
"""The id was never used: a deleted stack keeps its own."""

OWNED = Guard(_owned)
"""The expected traversal owns the stack."""


def _creation(footprint: Footprint, command: Command, data: StackCreate) -> None:
    footprint.change("stack", command.subject)
    footprint.names.add(("stack", data.name))


def _run_of(footprint: Footprint, command: Command, data: Any) -> None:
    footprint.change("stack", command.subject)
    footprint.part(AskedTraversals).pairs.add((command.subject, data.expected_traversal))


RULES: Mapping[str, Rule] = {
    "stack.create": Rule(create, NEW, _creation, prepare=_sized),
    "stack.update": Rule(update, OWNED, _run_of, prepare=_sized),
    "stack.delete": Rule(delete, OWNED, _run_of),
    "stack.rollback": Rule(rollback, OWNED, _run_of),
    "stack.cancel": Rule(cancel, OWNED, _run_of),
    "stack.set_state": Rule(set_state, OWNED, _run_of),
}
