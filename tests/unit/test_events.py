"""Outcome events: each one can be read back, has a stable id, a type of a closed set, and a size that passes."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import product

import pytest
from pydantic import ValidationError

from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.codes import Code, Reason, VerdictName
from genlock.schemas.decode import Command, Refusal
from genlock.schemas.outcomes import (
    Conflict,
    ConflictData,
    Outcome,
    Rejected,
    RejectedData,
    Succeeded,
    SucceededData,
    Verdict,
    id_reused_id,
    outcome_id,
    parse_outcome,
)
from genlock.service.deciding.json_text import JsonText
from genlock.service.deciding.verdicts import refused
from genlock.service.ledger.events import Event, timestamp
from tests.support.factories import (
    NOW,
    Json,
    command,
    decided,
    delete_document,
    deleted_document,
    document_at,
    event_of,
    merge,
    new_id,
    put,
    refused_command,
    stack_command,
    stack_in,
    state_of,
)

EVENT_BYTES_MAX = 4 * 1024 * 1024

# The contract's list, for the existing kinds of records.
CODES = """
unknown_type invalid_data too_large expired routing_key_mismatch id_reused not_found duplicate_name deleted
wrong_action wrong_status internal_error
"""
REASONS = "stale ahead exists missing superseded"


def cases() -> Iterator[tuple[Command, Verdict]]:
    """A command and its verdict for each verdict, each kind, and the odd ones."""
    document, gone, stack = document_at(3), deleted_document(3), stack_in("UPDATE", "IN_PROGRESS")
    rolling = stack_in("UPDATE", "IN_PROGRESS", disable_rollback=False)
    ending = stack_in("DELETE", "IN_PROGRESS")
    state = state_of(document, gone, stack, rolling, ending)
    failure: Json = {"expected_traversal": rolling.traversal, "status": "FAILED", "reason": "disk full"}
    for sent in (
        put(document.id, 3, {"é": ["😀", 1.5, None]}, correlationid="order 7", attempt=4),
        put(document.id, 3),
        delete_document(document.id, 4),
        put("new", None),
        put(gone.id, 3),
        put("none", 3),
        merge("none", {}),
        stack_command("update", stack.id, expected_traversal=new_id()),
        stack_command("set_state", stack.id, expected_traversal=new_id()),
        stack_command("update", stack.id, expected_traversal=stack.traversal),
        stack_command("create", stack.id),
        stack_command("create", new_id(), name=stack.stack_name),
        stack_command("create", new_id()),
        stack_command("set_state", rolling.id, **failure),
        stack_command("set_state", ending.id, expected_traversal=ending.traversal),
        stack_command("delete", ending.id, expected_traversal=ending.traversal),
        refused_command("document.put", "d", {"unknown": 1}),
        refused_command("frobnicate", "d", {}),
        refused_command("stack.create", "no uuid", {}),
        refused_command("stack.create", None, {}, source="not valid", attempt=0),
    ):
        yield sent, decided(state, sent)


CASES = list(cases())


@pytest.mark.parametrize(("sent", "verdict"), CASES)
def test_every_event_can_be_read_back(sent: Command, verdict: Verdict) -> None:
    event = event_of(sent, verdict)
    outcome = parse_outcome(event.body)
    assert outcome.data == verdict
    assert (event.id, event.type, event.subject, event.time) == (
        outcome.id,
        outcome.type,
        outcome.subject,
        outcome.time,
    )
    assert parse_outcome(event.body.encode()) == outcome
    assert event.internal_error == (isinstance(verdict, RejectedData) and verdict.code is Code.INTERNAL_ERROR)
    assert Event.stored(event.body) == event


@pytest.mark.parametrize(("sent", "verdict"), CASES)
def test_every_event_has_the_envelope_of_the_contract(sent: Command, verdict: Verdict) -> None:
    event = json.loads(event_of(sent, verdict).body)
    word = {SucceededData: "succeeded", ConflictData: "conflict", RejectedData: "rejected"}[type(verdict)]
    data = event.pop("data")
    wanted = {
        "specversion": "1.0",
        "id": str(uuid.uuid5(uuid.UUID(sent.id), "outcome")),
        "source": "/genlock",
        "type": f"{sent.type or 'command.unknown'}.{word}",
        "subject": sent.subject,
        "time": "2026-03-01T12:00:00.000000Z",
        "correlationid": sent.correlationid,
        "causationid": sent.id,
        "attempt": sent.attempt,
        "datacontenttype": "application/json",
    }
    assert event == {name: value for name, value in wanted.items() if value != ""}
    assert (data["kind"], data["id"]) == (sent.kind, sent.subject or None)
    assert data["sequence"] >= 0
    assert "truncated" not in data


def data_of(sent: Command, verdict: Verdict) -> Json:
    data: Json = json.loads(event_of(sent, verdict).body)["data"]
    return data


def test_success_event_has_the_fields_of_the_contract() -> None:
    document = document_at(3)
    sent = put(document.id, 3, {"é": 1})
    assert data_of(sent, decided(state_of(document), sent)) == {
        "kind": "document",
        "id": document.id,
        "sequence": 5,
        "record": {"id": document.id, "generation": 4, "body": {"é": 1}},
        "token": {"generation": 4},
    }


def test_conflict_event_has_the_fields_of_the_contract() -> None:
    document = document_at(3)
    sent = put(document.id, 2, {"é": 1}, attempt=2)
    assert data_of(sent, decided(state_of(document), sent)) == {
        "kind": "document",
        "id": document.id,
        "sequence": 4,
        "reason": "stale",
        "expected": {"generation": 2},
        "actual": {"generation": 3},
        "winner": document.maker.winner.model_dump(exclude_unset=True),
        "current": {"id": document.id, "generation": 3, "body": document.body},
        "command": {
            "type": "document.put",
            "subject": document.id,
            "data": {"expected_generation": 2, "body": {"é": 1}},
        },
        "retry": {"allowed": True, "attempt": 2, "after_ms": 10},
    }


def test_conflict_with_a_traversal_shows_it_alone_as_expected_and_both_as_actual() -> None:
    stack, expected = stack_in("UPDATE", "COMPLETE"), new_id()
    sent = stack_command("delete", stack.id, expected_traversal=expected)
    data = data_of(sent, decided(state_of(stack), sent))
    assert data["expected"] == {"traversal": expected}
    assert data["actual"] == {"traversal": stack.traversal, "previous_traversal": stack.previous_traversal}


def test_rejection_event_has_the_fields_of_the_contract() -> None:
    sent = refused_command("document.put", "d", {"expected_generation": 1, "body": {}, "unknown": 1})
    assert data_of(sent, decided(state_of(), sent)) == {
        "kind": "document",
        "id": "d",
        "sequence": 0,
        "code": "invalid_data",
        "message": "The data of document.put is not valid.",
        "errors": [
            {
                "code": "invalid_data",
                "path": "data.unknown",
                "pointer": "/data/unknown",
                "value": "unknown",
                "constraints": {"additionalProperties": False},
                "message": "Extra inputs are not permitted",
            }
        ],
        "command": {"type": "document.put", "subject": "d"},
    }


def test_rejection_of_which_nothing_may_be_repeated_has_no_command() -> None:
    sent = refused_command("document.put", "d", {"a": "x" * 1024 * 1024})
    assert isinstance(sent.data, Refusal)
    assert sent.data.code is Code.TOO_LARGE
    assert not data_of(sent, decided(state_of(), sent)).get("command")


def test_command_comes_back_as_it_came_and_not_with_defaults() -> None:
    stack = stack_in("UPDATE", "COMPLETE")
    sent = command("stack.create", stack.id, {"name": "n", "template": {"a": 1.0}})
    data = data_of(sent, decided(state_of(stack), sent))
    assert data["command"]["data"] == {"name": "n", "template": {"a": 1.0}}


# Ids.


def test_event_id_depends_on_the_command_s_id_alone() -> None:
    document = document_at(3)
    sent = put(document.id, 3)
    won, lost = decided(state_of(document), sent), decided(state_of(), sent)
    assert event_of(sent, won).id == event_of(sent, lost).id == outcome_id(sent.id)
    assert event_of(sent, won) == event_of(sent, won)
    assert outcome_id("01890a5d-ac96-774b-bcce-b302099a8057") == "0084181f-9fab-5aa6-b04e-54290f93f05a"


def test_reused_id_is_answered_under_an_id_of_its_own_for_each_content() -> None:
    first, second = put("d", None, {"a": 1}), put("d", None, {"a": 2})
    ids = {id_reused_id(first.id, sent.content_hash) for sent in (first, second, first)}
    assert len(ids | {outcome_id(first.id)}) == 3
    name = f"id_reused:{first.content_hash.hex()}"
    event_id = id_reused_id(first.id, first.content_hash)
    assert event_id == str(uuid.uuid5(uuid.UUID(first.id), name))
    verdict = refused(first, None, Refusal(Code.ID_REUSED, "Used before.")).verdict
    event = event_of(first, verdict, event_id)
    assert (event.id, event.type) == (event_id, "document.put.rejected")
    assert parse_outcome(event.body).command_id == first.id


# Types.


def test_event_types_are_a_closed_set() -> None:
    closed = {f"{name}.{word}" for name, word in product(COMMANDS, VerdictName)} | {"command.unknown.rejected"}
    assert {event_of(sent, verdict).type for sent, verdict in CASES} <= closed
    for odd in ("frobnicate", "document.", ".put", "#", "x" * 250, "é"):
        sent = refused_command(odd, "d", {})
        event = event_of(sent, decided(state_of(), sent))
        assert (event.type, event.subject) == ("command.unknown.rejected", None)
    assert all(len(name.encode()) <= 255 for name in closed)


def test_codes_and_reasons_are_those_of_the_contract() -> None:
    assert set(CODES.split()) <= set(Code)
    assert set(Reason) == set(REASONS.split())
    assert set(VerdictName) == {"succeeded", "conflict", "rejected"}


# Sizes.


def large(megabytes: int) -> Command:
    """A command whose conflict carries so many MiB of current state and command data together."""
    sent = put("d", 3)
    text = "é" * (megabytes * 1024 * 1024 // 2)
    return replace(sent, echo=sent.echo.model_copy(update={"data": {"body": {"text": text}}}))


def test_event_past_4_mib_leaves_current_and_command_out_and_says_so() -> None:
    sent = large(4)
    verdict = decided(state_of(replace(document_at(7), id="d")), sent)
    event = event_of(sent, verdict)
    assert len(event.body.encode()) < 10_000
    outcome = parse_outcome(event.body)
    assert isinstance(outcome, Conflict)
    assert outcome.data.truncated
    assert (outcome.current, outcome.data.command) == (None, None)
    whole = {
        name: value for name, value in verdict.model_dump(mode="json").items() if name not in ("current", "command")
    }
    assert outcome.data.model_dump(mode="json") == whole | {"truncated": True, "current": None, "command": None}
    data = json.loads(event.body)["data"]
    assert "current" not in data
    assert "command" not in data


def test_event_of_exactly_4_mib_is_whole_and_one_byte_more_is_not() -> None:
    sent, document = put("d", 3), replace(document_at(7), id="d")

    def event_with(text: str) -> Event:
        padded = replace(sent, echo=sent.echo.model_copy(update={"data": {"text": text}}))
        return event_of(padded, decided(state_of(document), padded))

    room = EVENT_BYTES_MAX - len(event_with("").body.encode())
    assert len(event_with("x" * room).body.encode()) == EVENT_BYTES_MAX
    assert "truncated" in event_with("x" * (room + 1)).body


def test_largest_documents_and_templates_make_no_truncated_event() -> None:
    half = {"a": "é" * (512 * 1024 // 2 - 10)}
    halves = {"template": JsonText(half), "previous_template": JsonText(half)}
    stack = stack_in("UPDATE", "IN_PROGRESS", **halves, disable_rollback=False)
    late = stack_command("update", stack.id, expected_traversal=new_id(), template=half)
    failure: Json = {"expected_traversal": stack.traversal, "status": "FAILED"}
    for sent in (late, stack_command("set_state", stack.id, **failure)):
        event = event_of(sent, decided(state_of(stack), sent))
        assert '"truncated"' not in event.body
        assert len(event.body) > 512 * 1024


# Reading.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"\xff",
        "hello",
        '{"specversion": "1.0"}',
    ],
)
def test_message_that_is_no_outcome_event_is_not_read(body: bytes | str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_outcome(body)


def test_event_of_another_type_is_not_read() -> None:
    sent = put("d", None)
    body = event_of(sent, decided(state_of(), sent)).body
    with pytest.raises(ValueError, match="is not the type of an outcome event"):
        parse_outcome(body.replace("document.put.succeeded", "document.put"))
    with pytest.raises(ValidationError):
        parse_outcome(body.replace("document.put.succeeded", "document.put.conflict"))


def test_outcomes_give_their_contents_by_name() -> None:
    words: dict[type[Outcome], list[str]] = {
        Succeeded: ["record", "token"],
        Conflict: ["reason", "expected", "actual", "winner", "current", "retry"],
        Rejected: ["code", "message", "errors"],
    }
    for sent, verdict in CASES:
        outcome = parse_outcome(event_of(sent, verdict).body)
        for name in words[type(outcome)]:
            assert getattr(outcome, name) == getattr(verdict, name)


def test_times_are_written_in_utc_with_microseconds() -> None:
    assert timestamp(NOW) == "2026-03-01T12:00:00.000000Z"
    assert (
        timestamp(datetime(2026, 3, 1, 1, 2, 3, 4, tzinfo=timezone(timedelta(hours=2))))
        == "2026-02-28T23:02:03.000004Z"
    )
    assert timestamp(datetime(2026, 1, 1, tzinfo=UTC)).endswith("Z")
