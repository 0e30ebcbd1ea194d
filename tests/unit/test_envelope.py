"""The envelope: what each of its attributes may be, and what of a refused command its rejection repeats."""

from datetime import datetime
from typing import Any

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command, Refusal, decode
from genlock.schemas.envelope import Envelope
from genlock.schemas.outcomes import RejectedData
from genlock.schemas.providers import Inventory
from tests.support.factories import (
    SOME_ID,
    Json,
    decided,
    envelope,
    event_of,
    json_bytes,
    received,
    refused_command,
    state_of,
)

DATA: Json = {"expected_generation": None, "body": {"a": 1}}


def answered(members: Json, routing_key: str = "document.put", subject_header: Any = None) -> Command:
    command = decode(json_bytes(members), routing_key, subject_header)
    assert isinstance(command, Command), command
    return command


def refusal(members: Json, routing_key: str = "document.put", subject_header: Any = None) -> tuple[Command, Refusal]:
    command = answered(members, routing_key, subject_header)
    assert isinstance(command.data, Refusal), command.data
    return command, command.data


def message(**attributes: Any) -> Json:
    return envelope("document.put", **{"subject": "d", "data": DATA} | attributes)


def echo(command: Command) -> Json:
    return command.echo.model_dump(exclude_unset=True)


WRONG: dict[str, list[Any]] = {
    "specversion": [..., None, "1", "0.3", 1.0, 1],
    "source": [
        ...,
        None,
        "",
        7,
        "a b",
        "a\tb",
        "a\x7fb",
        'a"b',
        "<a>",
        "%",
        "%g0",
        "a\\b",
        "x" * 256,
        "é" * 128,
        "/" + "é" * 127 + "x",
    ],
    "type": [..., None, "", 7, ["document.put"]],
    "subject": [7, True, ["d"], {"id": "d"}],
    "time": [
        "",
        "now",
        1767225600,
        "2026-01-31",
        "2026-01-31T12:00:00",
        "2026-01-31 12:00:00Z",
        "2026-02-30T12:00:00Z",
        "2026-01-31T24:00:00Z",
        "2026-01-31T12:00Z",
        "20260131T120000Z",
        "2026-01-31T12:00:00+0100",
        "2026-01-31T12:00:00,5Z",
        "2026-01-31T12:00:00+25:00",
        "2026-01-31T12:00:00Z\n",
        "0000-01-01T00:00:00Z",
        "\u0662\u0660\u0662\u0666-01-31T12:00:00Z",
        "2026-01-31T12:00:61Z",
        "2026-01-31T12:00:60Z",
        "2026-01-30T23:59:60Z",
        "2026-12-31T23:59:60+01:00",
        "0001-01-01T00:59:60+01:00",
        "9999-12-31T23:59:60Z",
    ],
    "correlationid": ["", 7, "x" * 256, "é" * 128],
    "causationid": ["", 7],
    "attempt": [0, -1, True, "1", 1.0, 1.5, [1]],
    "traceparent": [7, {}],
    "tracestate": [7, {}],
    "datacontenttype": [
        "",
        "text/plain",
        "application/xml",
        "application/json+x",
        "application/vnd.example+json",
        "json",
        "application/json, text/plain",
        "application/json; charset=utf-16",
        'Application/JSON; charset="ISO-8859-1"',
        "application/json; charset=é",
        f"application/json; x={'x' * 255}",
        7,
    ],
    "dataschema": [7, {}],
    "data": [7, "x", [], [DATA], True],
}

LEAP_SECONDS = {
    "2016-12-31T23:59:60Z": "2016-12-31T23:59:59+00:00",
    "2016-12-31t23:59:60.75z": "2016-12-31T23:59:59.750000+00:00",
    "2017-01-01T08:59:60+09:00": "2017-01-01T08:59:59+09:00",
    "2024-02-29T15:59:60-08:00": "2024-02-29T15:59:59-08:00",
}
"""Leap seconds, and the time as which each is taken."""

RIGHT: dict[str, list[Any]] = {
    "source": [
        "/",
        "x",
        "urn:a:b",
        "https://example.org/a?b=c#d",
        "//host",
        "a%20b",
        "#f",
        "/käse",
        "x" * 255,
        "é" * 127 + "x",
    ],
    "time": [
        None,
        "2026-01-31T12:00:00Z",
        "2026-01-31t12:00:00z",
        "2026-01-31T12:00:00.123456789Z",
        "2026-01-31T23:59:59.5-23:59",
        "2024-02-29T00:00:00+14:00",
        "1970-01-01T00:00:00-00:00",
        *LEAP_SECONDS,
    ],
    "correlationid": [None, "x" * 255, "é" * 127 + "x", "a b"],
    "causationid": [None, "x", "x" * 255],
    "attempt": [None, 1, 2, 2**63 - 1],
    "traceparent": [None, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
    "datacontenttype": [
        None,
        "application/json",
        "Application/JSON",
        "application/json; charset=utf-8",
        'application/json ;Charset="UTF-8"; x="a;b"',
        "application/json;charset=us-ascii",
        "application/json;",
    ],
    "subject": ["d"],
    "tracestate": [None, "a=b"],
    "dataschema": [None, "https://example.org/schema"],
    "extension": [None, 7, "x", True],
}


def each(values: dict[str, list[Any]]) -> list[tuple[str, Any]]:
    return [(name, value) for name, some in values.items() for value in some]


@pytest.mark.parametrize(("name", "value"), each(WRONG))
def test_wrong_attribute_is_invalid_data_and_is_named(name: str, value: Any) -> None:
    command, refused = refusal(message(**{name: value}))
    assert refused.code is Code.INVALID_DATA
    assert [error.path.split(".")[0] for error in refused.errors] == [name]
    assert refused.errors[0].message
    without = {"type": "document.put", "subject": "d", "data": DATA}
    without.pop(name, None)
    assert echo(command) == without
    assert (command.source, command.correlationid) == ("" if name == "source" else "/tests", command.id)
    assert (command.time, command.attempt, command.traceparent) == (None, 1, None)


@pytest.mark.parametrize(("name", "value"), each(RIGHT))
def test_right_attribute_is_taken(name: str, value: Any) -> None:
    assert not isinstance(answered(message(**{name: value})).data, Refusal)


@pytest.mark.parametrize(
    "name", sorted(name for name, field in Envelope.model_fields.items() if not field.is_required())
)
def test_null_is_as_good_as_absent(name: str) -> None:
    null, absent = (answered(message(**{name: value, "id": SOME_ID})) for value in (None, ...))
    assert null == absent


@pytest.mark.parametrize(
    ("command_type", "data"),
    [
        ("provider.put_inventory", {"inventory": dict.fromkeys(Inventory.model_fields.keys() - {"total"})}),
        ("stack.create", {"disable_rollback": None, "timeout_s": None}),
        ("stack.update", {"disable_rollback": None, "timeout_s": None}),
        ("stack.set_state", {"reason": None}),
        ("provider.create", {"parent_id": None}),
    ],
)
def test_null_in_data_is_as_good_as_absent_where_it_means_nothing_else(command_type: str, data: Json) -> None:
    examples: dict[str, Json] = {
        "provider.put_inventory": {"expected_generation": 0, "resource_class": "VCPU", "inventory": {"total": 1}},
        "stack.create": {"name": "n", "template": {}},
        "stack.update": {"expected_traversal": SOME_ID, "template": {}},
        "stack.set_state": {"expected_traversal": SOME_ID, "status": "FAILED"},
        "provider.create": {"name": "n"},
    }
    needed = examples[command_type]
    nulls = {name: value | needed[name] if isinstance(value, dict) else value for name, value in data.items()}
    null, absent = (received(envelope(command_type, SOME_ID, some)) for some in (needed | nulls, needed))
    assert not isinstance(null.data, Refusal)
    assert null.data == absent.data
    assert null.content_hash != absent.content_hash


@pytest.mark.parametrize(
    ("command_type", "data", "path"),
    [
        ("provider.update", {"expected_generation": 0, "name": None, "parent_id": None}, "data.name"),
        (
            "consumer.set_allocations",
            {
                "expected_generation": None,
                "project_id": "p",
                "user_id": "u",
                "allocations": {SOME_ID: {"resources": {"VCPU": 1}, "expected_generation": None}},
            },
            f"data.allocations.{SOME_ID}.expected_generation",
        ),
        ("document.put", {"body": {}}, "data.expected_generation"),
    ],
)
def test_null_that_could_be_misunderstood_is_refused(command_type: str, data: Json, path: str) -> None:
    command = received(envelope(command_type, SOME_ID, data))
    assert isinstance(command.data, Refusal)
    assert [error.path for error in command.data.errors] == [path]


@pytest.mark.parametrize(
    ("subject", "valid"),
    [("x" * 255, True), ("é" * 255, True), ("x" * 256, False), ("", False), (None, False), (..., False)],
)
def test_document_s_subject_has_1_to_255_characters(subject: Any, valid: bool) -> None:
    command = answered(message(subject=subject))
    assert isinstance(command.data, Refusal) != valid
    if not valid:
        assert command.data == refusal(message(subject=subject))[1]
        assert (command.subject, echo(command)) == ("", {"type": "document.put", "data": DATA})


@pytest.mark.parametrize(
    "subject", [..., None, "", "stack", SOME_ID.replace("-", ""), f"{{{SOME_ID}}}", SOME_ID + "\n"]
)
def test_stack_s_subject_is_a_uuid(subject: Any) -> None:
    command = refused_command("stack.create", subject, {"name": "n", "template": {}})
    assert isinstance(command.data, Refusal)
    assert (command.data.code, [error.path for error in command.data.errors]) == (Code.INVALID_DATA, ["subject"])
    assert (command.type, command.kind, command.subject) == ("stack.create", "stack", "")
    assert echo(command) == {"type": "stack.create", "data": {"name": "n", "template": {}}}


@pytest.mark.parametrize("unknown", ["document.frobnicate", "frobnicate", "Document.put", "#"])
def test_unknown_type_is_refused_as_such(unknown: str) -> None:
    command, refused = refusal(message(type=unknown), unknown)
    assert refused.code is Code.UNKNOWN_TYPE
    assert (command.type, command.kind, command.subject) == ("", None, "")
    assert echo(command) == {"type": unknown, "subject": "d", "data": DATA}


@pytest.mark.parametrize(
    "routing_key", ["", "document", "document.delete", "Document.put", "document.put ", "document.*"]
)
def test_other_routing_key_is_refused(routing_key: str) -> None:
    command, refused = refusal(message(), routing_key)
    assert refused.code is Code.ROUTING_KEY_MISMATCH
    assert (command.type, command.subject) == ("document.put", "d")
    assert echo(command) == {"type": "document.put", "subject": "d", "data": DATA}


def test_routing_key_is_checked_before_the_type_and_after_the_envelope() -> None:
    assert refusal(message(type="unknown"), "document.put")[1].code is Code.ROUTING_KEY_MISMATCH
    assert refusal(message(attempt=0), "other")[1].code is Code.INVALID_DATA


@pytest.mark.parametrize("header", ["", "D", "d ", 7, b"d"])
def test_other_subject_in_the_header_is_invalid_data(header: Any) -> None:
    assert refusal(message(), subject_header=header)[1].code is Code.INVALID_DATA


@pytest.mark.parametrize("header", [None, "d"])
def test_header_that_repeats_the_subject_or_is_absent_is_taken(header: str | None) -> None:
    assert not isinstance(answered(message(), subject_header=header).data, Refusal)


def test_unknown_field_in_data_is_refused_and_named() -> None:
    command, refused = refusal(message(data=DATA | {"expected_genration": 3}))
    assert refused.code is Code.INVALID_DATA
    assert [error.path for error in refused.errors] == ["data.expected_genration"]
    assert echo(command) == {"type": "document.put", "subject": "d"}


def test_every_wrong_field_is_named() -> None:
    _, refused = refusal(message(subject="", data={"body": 7, "a": 1}))
    paths = {"subject", "data.body", "data.expected_generation", "data.a"}
    assert {error.path for error in refused.errors} == paths


@pytest.mark.parametrize("expected", [True, 1.0, "1", -1, 2**63, [1]])
def test_generation_that_is_no_integer_from_0_to_63_bits_is_refused(expected: Any) -> None:
    assert refusal(message(data=DATA | {"expected_generation": expected}))[1].code is Code.INVALID_DATA


def test_absent_expected_generation_is_no_null() -> None:
    _, refused = refusal(message(data={"body": {}}))
    assert [error.path for error in refused.errors] == ["data.expected_generation"]


def test_rejection_repeats_each_part_that_is_valid_itself() -> None:
    sent = message(source="not valid", attempt=5, time="2026-02-28T00:00:00Z", correlationid="c", traceparent=7)
    command, refused = refusal(sent)
    assert {error.path for error in refused.errors} == {"source", "traceparent"}
    assert (command.source, command.attempt, command.correlationid, command.traceparent) == ("", 5, "c", None)
    assert command.time is not None


def test_rejection_fits_into_an_event_whatever_is_wrong() -> None:
    fields: Json = {f"{number:x}": 0 for number in range(100_000)}
    for wrong in (message(data=fields), message(type="\x7f" * 1_000_000), envelope("\x7f" * 900_000, "d", DATA)):
        command, _ = refusal(wrong)
        verdict = decided(state_of(), command)
        assert isinstance(verdict, RejectedData)
        assert len(event_of(command, verdict).body.encode()) <= 4 * 1024 * 1024
        assert '"truncated"' not in event_of(command, verdict).body


@pytest.mark.parametrize(("written", "taken"), LEAP_SECONDS.items())
def test_leap_second_is_the_second_before(written: str, taken: str) -> None:
    command = answered(message(time=written))
    assert command.time == datetime.fromisoformat(taken)
    assert command.time_sent == written
