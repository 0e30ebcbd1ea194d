"""The table of stacks."""

import uuid
from collections.abc import Sequence
from dataclasses import replace

import asyncpg

from genlock.schemas.stacks import Action, Status
from genlock.service.deciding.json_text import JsonText
from genlock.service.deciding.record import NO_MAKER
from genlock.service.deciding.table import Row, Table, maker_of, maker_row, stored, text_of, uuid_text
from genlock.service.kinds.stacks.record import Stack


def stack_of(row: asyncpg.Record) -> Stack:
    return Stack(
        id=str(row["id"]),
        sequence=row["sequence"],
        maker=maker_of(row),
        stack_name=row["name"],
        action=Action(row["action"]),
        status=Status(row["status"]),
        status_reason=row["status_reason"],
        traversal=str(row["traversal"]),
        previous_traversal=uuid_text(row["previous_traversal"]),
        template=JsonText(text=row["template"]),
        previous_template=stored(row["previous_template"]),
        disable_rollback=row["disable_rollback"],
        timeout_s=row["timeout_s"],
    )


def _row(stack: Stack) -> Row:
    return (
        stack.id,
        stack.sequence,
        stack.stack_name,
        stack.action,
        stack.status,
        stack.status_reason,
        stack.traversal,
        stack.previous_traversal,
        text_of(stack.template),
        text_of(stack.previous_template),
        stack.disable_rollback,
        stack.timeout_s,
        *maker_row(stack.maker),
    )


def _blank(record_id: str) -> Stack:
    return Stack(
        id=record_id,
        sequence=1,
        maker=NO_MAKER,
        stack_name=record_id,
        action=Action.CREATE,
        status=Status.IN_PROGRESS,
        status_reason="",
        traversal=NO_MAKER.command_id,
        previous_traversal=None,
        template=JsonText({}),
        previous_template=None,
        disable_rollback=False,
        timeout_s=None,
    )


def _stages(stack: Stack) -> Sequence[Stack]:
    """With another name, and as it is."""
    return (stack,) if stack.deleted else (replace(stack, stack_name=str(uuid.uuid4())), stack)


TABLE = Table("stack", "stacks", stack_of, _row, lambda stack: (stack.traversal, stack.sequence), _blank, _stages)
