"""Commands as a publisher would send them, and records named for the state that they have reached."""

import json
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from genlock.schemas.base import ANY_COMMAND, Kind
from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.codes import Code
from genlock.schemas.decode import Command, Refusal, Undecodable, decode
from genlock.schemas.outcomes import ConflictData, RejectedData, SucceededData, Verdict
from genlock.schemas.stacks import Action, Status
from genlock.service.deciding.fold import Folded, fold
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.json_text import JsonText
from genlock.service.deciding.record import Maker, Record
from genlock.service.deciding.rule import Rule
from genlock.service.deciding.state import State
from genlock.service.kinds.allocations.record import Consumer
from genlock.service.kinds.documents.record import Document
from genlock.service.kinds.registry import KINDS
from genlock.service.kinds.stacks.record import Stack
from genlock.service.kinds.stacks.traversals import Traversals
from genlock.service.ledger.events import Event, build, timestamp
from tests.support.told_faults import check_entries

Json = dict[str, Any]

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
RETENTION = timedelta(days=14)
PUBLISHER = "/tests"
SERVICE = "/genlock"

TEMPLATE: Json = {"servers": 1}
PREVIOUS_TEMPLATE: Json = {"servers": 0}


SOME_ID = "4f3c5a1e-9f0d-4e0b-8a55-0c2d6f1b7e90"
OTHER_ID = "b1d2c3a4-5e6f-4a7b-9c8d-1e2f3a4b5c6d"
"""Ids for the names of tests, which several processes have to find alike; SOME_ID comes before OTHER_ID."""


def new_id() -> str:
    return str(uuid.uuid4())


def envelope(command_type: str, subject: str | None, data: Any, **attributes: Any) -> Json:
    """A valid envelope; `attributes` come on top of it, and those that are `...` are left out."""
    members: Json = {"specversion": "1.0", "id": new_id(), "source": PUBLISHER, "type": command_type}
    members |= {"subject": subject, "data": data} | attributes
    return {name: value for name, value in members.items() if value is not ...}


def json_bytes(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def received(members: Json) -> Command:
    """The envelope, decoded; it must be one that can be answered."""
    command = decode(json_bytes(members), members.get("type", ""))
    assert not isinstance(command, Undecodable), command.reason
    if isinstance(command.data, Refusal):
        check_entries(command.data.errors, members)
    return command


def command(command_type: str, subject: str | None, data: Any, **attributes: Any) -> Command:
    """A command that is valid; see `envelope`."""
    result = received(envelope(command_type, subject, data, **attributes))
    assert not isinstance(result.data, Refusal), result.data
    return result


def refused_command(command_type: str, subject: str | None, data: Any, **attributes: Any) -> Command:
    """A command that can be answered, but not decided on its merits."""
    result = received(envelope(command_type, subject, data, **attributes))
    assert isinstance(result.data, Refusal)
    return result


def put(subject: str, expected: int | None, body: Json | None = None, **attributes: Any) -> Command:
    data = {"expected_generation": expected, "body": {} if body is None else body}
    return command("document.put", subject, data, **attributes)


def merge(subject: str, patch: Json, **data: Any) -> Command:
    """A merge that has an expected generation only if it is given."""
    return command("document.merge", subject, {"patch": patch, **data})


def delete_document(subject: str, expected: int) -> Command:
    return command("document.delete", subject, {"expected_generation": expected})


def stack_command(verb: str, subject: str, **data: Any) -> Command:
    """A command on a stack; an update, a report or a creation is filled up with what it must have."""
    must: dict[str, Json] = {
        "create": {"name": subject, "template": TEMPLATE},
        "update": {"template": {"servers": 2}},
        "set_state": {"status": "COMPLETE"},
    }
    return command(f"stack.{verb}", subject, must.get(verb, {}) | data)


def maker(command_type: str = "document.put") -> Maker:
    return Maker(new_id(), command_type, "/winner", "2026-02-01T00:00:00.000000Z")


def document_at(generation: int, body: Json | None = None) -> Document:
    """A live document that has been written once for each of its generations."""
    body = {"colour": "red"} if body is None else body
    return Document(new_id(), generation, sequence=generation + 1, maker=maker(), body=JsonText(body))


def deleted_document(generation: int) -> Document:
    return Document(new_id(), generation, sequence=generation + 1, maker=maker("document.delete"), body=None)


def stack_in(action: Action | str, status: Status | str, *, disable_rollback: bool = True, **fields: Any) -> Stack:
    """A stack in the given action and status, under the third of its traversals."""
    traversal = new_id()
    values: Json = {
        "id": new_id(),
        "sequence": 3,
        "maker": Maker(traversal, "stack.update", "/winner", "2026-02-01T00:00:00.0Z"),
        "stack_name": f"stack-{traversal}",
        "action": Action(action),
        "status": Status(status),
        "status_reason": "as it was",
        "traversal": traversal,
        "previous_traversal": new_id(),
        "template": JsonText(TEMPLATE),
        "previous_template": JsonText(PREVIOUS_TEMPLATE),
        "disable_rollback": disable_rollback,
        "timeout_s": 60,
    }
    return Stack(**values | fields)


def deleted_stack(**fields: Any) -> Stack:
    return stack_in(Action.DELETE, Status.COMPLETE, previous_template=None, **fields)


def state_of(*records: Record, traversals: Iterable[tuple[str, str]] = ()) -> State:
    """The state that a database with these records is read as; `traversals` are some that stacks had before."""
    state = KINDS.state(Footprint())
    state.part(Traversals).known.update(traversals)
    state.take(records)
    return state


def declare(state: State, commands: Iterable[Command]) -> None:
    """Let the state have the footprint of these commands, as if it had been read for them."""
    state.footprint = KINDS.footprint_of(list(commands))
    for consumer_id in state.footprint.ids("consumer"):
        consumer = state.records.get(("consumer", consumer_id))
        if isinstance(consumer, Consumer):
            state.footprint.change("provider", *consumer.allocations)


def folded_over(state: State, commands: Iterable[Command], rules: Mapping[str, Rule] = KINDS.rules) -> Folded:
    """Fold commands over a state that has their footprint."""
    batch = list(commands)
    declare(state, batch)
    folded = fold(state, batch, NOW, RETENTION, rules)
    for each, verdict in zip(batch, folded.verdicts, strict=True):
        if isinstance(verdict, RejectedData):
            assert verdict.code in may_be_rejected_with(each.type), verdict
            # What was refused when it was read is no more known here; see `received`.
            if not isinstance(each.data, Refusal):
                sent = {"type": each.type, "subject": each.echo.subject, "data": each.echo.data}
                check_entries(verdict.errors, sent | {"id": each.id, "time": each.time_sent})
    return folded


def may_be_rejected_with(command_type: str) -> tuple[Code, ...]:
    """The codes that the contract has for a type of command, which is empty for one that is not in the catalogue."""
    known = COMMANDS.get(command_type)
    return (*ANY_COMMAND, *known.model.rejections) if known else (*ANY_COMMAND, Code.UNKNOWN_TYPE)


def decided(state: State, *commands: Command) -> Verdict:
    """Fold the commands and return the verdict of the last one; none of them may have raised."""
    folded = folded_over(state, commands)
    assert folded.faults == []
    return folded.verdicts[-1]


def accepted(state: State, *commands: Command) -> SucceededData:
    verdict = decided(state, *commands)
    assert isinstance(verdict, SucceededData), verdict
    return verdict


def conflicting(state: State, *commands: Command) -> ConflictData:
    verdict = decided(state, *commands)
    assert isinstance(verdict, ConflictData), verdict
    return verdict


def turned_down(state: State, *commands: Command) -> RejectedData:
    verdict = decided(state, *commands)
    assert isinstance(verdict, RejectedData), verdict
    return verdict


def event_of(command: Command, verdict: Verdict, event_id: str | None = None) -> Event:
    return build(command, verdict, SERVICE, timestamp(NOW), event_id)


def document_in(state: State, subject: str) -> Document:
    document = state.get(Document, subject)
    assert document is not None
    return document


def stack_of(state: State, subject: str) -> Stack:
    stack = state.get(Stack, subject)
    assert stack is not None
    return stack


def key(record: Record) -> tuple[Kind, str]:
    return record.kind, record.id
