"""How a command is made, completed, read from lines and written down."""

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

import genlock
from genlock._client.outgoing import OutgoingMessage, encode
from genlock.commands import Command, command, complete, read_lines
from genlock.schemas import decode
from genlock.schemas.base import CommandData
from genlock.schemas.catalogue import TYPE_OF

STACK = "0190a0a0-0000-7000-8000-000000000001"


def _put(**attributes: Any) -> Command:
    return command(genlock.DocumentPut(expected_generation=None, body={"a": 1}), subject="server-1", **attributes)


def test_id_is_a_new_uuid7_and_time_is_now() -> None:
    made = _put()
    assert uuid.UUID(made.id).version == 7
    assert made.id != _put().id
    assert abs((datetime.now(UTC) - made.time).total_seconds()) < 60


def test_type_follows_from_the_data() -> None:
    assert _put().type == "document.put"


def test_given_attributes_are_kept() -> None:
    made = _put(id=STACK.upper(), attempt=3, correlationid="order-7", causationid=STACK)
    members = made.members()
    assert members["id"] == STACK
    assert (members["attempt"], members["correlationid"], members["causationid"]) == (3, "order-7", STACK)


def test_null_and_left_out_stay_different() -> None:
    creates = command(genlock.DocumentMerge(expected_generation=None, patch={}), subject="x")
    commutes = command(genlock.DocumentMerge(patch={}), subject="x")
    assert creates.members()["data"] == {"expected_generation": None, "patch": {}}
    assert commutes.members()["data"] == {"patch": {}}


@pytest.mark.parametrize(
    ("data", "attributes"),
    [
        (genlock.StackDelete(expected_traversal=STACK), {"subject": "no-uuid"}),
        (genlock.DocumentDelete(expected_generation=1), {"subject": ""}),
        (genlock.DocumentDelete(expected_generation=1), {"subject": "x", "attempt": 0}),
        (genlock.DocumentDelete(expected_generation=1), {"subject": "x", "id": "5"}),
        (genlock.DocumentDelete(expected_generation=1), {"subject": "x", "correlationid": "x" * 256}),
    ],
)
def test_what_the_contract_does_not_allow_is_refused_at_once(data: CommandData, attributes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        command(data, **attributes)


def test_every_command_reaches_the_service_as_it_was_made() -> None:
    inventory = genlock.Inventory(total=8, reserved=1)
    allocations = {STACK: genlock.Allocation(resources={"VCPU": 2})}
    taken: dict[str, Any] = {"project_id": "p", "user_id": "u", "allocations": allocations}
    made: list[CommandData] = [
        genlock.ProviderCreate(name="host-1"),
        genlock.ProviderUpdate(expected_generation=0, parent_id=None),
        genlock.ProviderDelete(expected_generation=0),
        genlock.ProviderSetInventories(expected_generation=0, inventories={"VCPU": inventory}),
        genlock.ProviderPutInventory(expected_generation=0, resource_class="VCPU", inventory=inventory),
        genlock.ProviderDeleteInventory(expected_generation=0, resource_class="VCPU"),
        genlock.ProviderSetTraits(expected_generation=0, traits=["CUSTOM_FAST"]),
        genlock.ProviderSetAggregates(expected_generation=0, aggregates=[STACK]),
        genlock.ConsumerSetAllocations(expected_generation=None, **taken),
        genlock.ConsumerSetMany(consumers={STACK: genlock.ConsumerAllocations(expected_generation=2, **taken)}),
        genlock.ConsumerReshape(
            inventories={STACK: genlock.NewInventories(expected_generation=0, inventories={"VCPU": inventory})},
            consumers={},
        ),
        genlock.DocumentPut(expected_generation=3, body={"a": [1, None]}),
        genlock.DocumentMerge(patch={"a": None}),
        genlock.DocumentDelete(expected_generation=0),
        genlock.StackCreate(name="web", template={}),
        genlock.StackUpdate(expected_traversal=STACK, template={"servers": 2}),
        genlock.StackDelete(expected_traversal=STACK),
        genlock.StackRollback(expected_traversal=STACK),
        genlock.StackCancel(expected_traversal=STACK),
        genlock.StackSetState(expected_traversal=STACK, status="FAILED", reason="no host"),
    ]
    assert {type(data) for data in made} == set(TYPE_OF)
    for data in made:
        subject = None if TYPE_OF[type(data)].multi_record else STACK
        sent = command(data, subject=subject)
        body = encode(complete(sent.members(), "/test"))
        came = decode.decode(body, sent.type, subject)
        assert isinstance(came, decode.Command)
        assert came.data == data
        assert (came.id, came.type, came.subject or None, came.time) == (sent.id, sent.type, sent.subject, sent.time)


def test_complete_fills_in_missing_attributes_and_changes_nothing_else() -> None:
    given = {"type": "document.put", "source": "/me", "scene": "one", "data": {"x": 1}}
    envelope = complete(given, "/test")
    assert {name: envelope[name] for name in given} == given
    assert envelope["specversion"] == "1.0"
    assert uuid.UUID(envelope["id"]).version == 7
    assert datetime.fromisoformat(envelope["time"]).tzinfo is not None


@pytest.mark.parametrize(
    "members",
    [
        {},
        {"type": ""},
        {"type": 5},
        {"type": "x" * 256},
        {"type": "ä" * 128},
        {"type": "a", "id": None},
        {"type": "a", "id": "5"},
    ],
)
def test_what_could_never_be_answered_is_refused(members: dict[str, Any]) -> None:
    with pytest.raises(genlock.InvalidMessage):
        complete(members, "/test")


def test_lines_are_read_and_empty_ones_skipped() -> None:
    text = '{"type": "a", "data": {"line": "\u2028"}}\r\n\n   \n{"type": "b"}\n'
    assert read_lines(text.split("\n")) == [{"type": "a", "data": {"line": "\u2028"}}, {"type": "b"}]


def test_byte_order_marks_in_front_of_lines_are_skipped() -> None:
    """The second one comes from files that were joined; within a text it is a character like others."""
    lines = ['\ufeff{"type": "a"}', "\ufeff", '\ufeff{"type": "b\ufeff"}']
    assert read_lines(lines) == [{"type": "a"}, {"type": "b\ufeff"}]


@pytest.mark.parametrize("line", ["{", "[]", "5", '{"type": 1}', '{"type": "a", "data": NaN}', "[" * 100_000, "{}"])
def test_a_bad_line_is_named(line: str) -> None:
    with pytest.raises(genlock.InvalidMessage, match=r"^Line 3: "):
        read_lines(['{"type": "a"}', "", line])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "\ud800", object()])
def test_what_json_cannot_hold_is_refused(value: Any) -> None:
    with pytest.raises(genlock.InvalidMessage):
        encode({"data": value})


def test_unreadable_command_is_refused() -> None:
    with pytest.raises(genlock.InvalidMessage, match="bytes"):
        encode({"data": "x" * decode.READABLE_BYTES_MAX})


def test_properties_repeat_the_body() -> None:
    made = _put()
    envelope = complete(made.members(), "/test")
    message = OutgoingMessage("genlock.commands", made.type, envelope).message()
    assert (message.message_id, message.type, message.app_id) == (made.id, "document.put", "/test")
    assert message.headers == {"subject": "server-1"}
    assert message.delivery_mode == 2
    assert message.content_type == "application/cloudevents+json"
    assert message.timestamp is not None


def test_properties_leave_out_what_they_cannot_hold() -> None:
    envelope = complete({"type": "a", "source": "x" * 256, "subject": 5}, "/test")
    message = OutgoingMessage("genlock.commands", "a", envelope).message()
    assert message.app_id is None
    assert message.headers == {}
