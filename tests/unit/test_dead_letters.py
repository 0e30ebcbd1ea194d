"""What a dead letter says of itself, and which dead letters a selection means."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pamqp.commands import Basic

from genlock.cli.moments import moment
from genlock.consumers.commands.deliveries import Delivery, Part
from genlock.consumers.operations.dead_letters import DeadLetter, Selection, Summary, read_dead_letter
from genlock.schemas.decode import decode, decode_bulk
from genlock.schemas.outcomes import BULK_CONTENT_TYPE
from tests.support.factories import Json, envelope, json_bytes

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def dead_letter(body: bytes, routing_key: str = "document.put", **properties: Any) -> DeadLetter:
    bulk = properties.get("content_type") == BULK_CONTENT_TYPE
    contents = decode_bulk(body, routing_key) if bulk else [(decode(body, routing_key), body)]
    assert isinstance(contents, list)
    delivery = Delivery(
        tag=1,
        routing_key=routing_key,
        properties=Basic.Properties(**properties),
        parts=tuple(Part(content, written) for content, written in contents),
        size=len(body),
        bulk=bulk,
        returns=0,
        redelivered=False,
    )
    return read_dead_letter(delivery, body)


def summary_of(body: bytes, routing_key: str = "document.put", **properties: Any) -> Summary:
    return dead_letter(body, routing_key, **properties).summary


def died(headers: Json, **properties: Any) -> tuple[str, datetime | None]:
    summary = summary_of(b"{", headers=headers, **properties)
    return summary.reason, summary.died


def moved(reason: str, time: datetime) -> list[Json]:
    return [{"reason": reason, "time": time, "count": 1}, {"reason": "older", "time": NOON - 9 * HOUR}]


def ours(reason: str, time: str) -> Json:
    return {"x-genlock-reason": reason, "x-genlock-time": time}


@pytest.mark.parametrize(
    ("headers", "reason", "time"),
    [
        (ours("internal_error", "2026-03-01T12:00:00.5Z"), "internal_error", NOON + timedelta(seconds=0.5)),
        ({"x-death": moved("delivery_limit", NOON)}, "delivery_limit", NOON),
        ({"x-death": moved("delivery_limit", NOON.replace(tzinfo=None))}, "delivery_limit", NOON),
        (ours("x", "2026-03-01T11:00:00Z") | {"x-death": moved("delivery_limit", NOON)}, "delivery_limit", NOON),
        (ours("x", "2026-03-01T13:00:00Z") | {"x-death": moved("delivery_limit", NOON)}, "x", NOON + HOUR),
        ({"x-genlock-reason": "x"}, "x", None),
        (ours("x", "long ago"), "x", None),
        ({"x-genlock-reason": 7}, "7", None),
        ({"x-death": "no list"}, "", None),
        ({"x-death": []}, "", None),
        ({"x-death": [{"count": 1}]}, "", None),
        ({}, "", None),
    ],
)
def test_a_dead_letter_died_when_and_of_what_its_latest_death_says(
    headers: Json, reason: str, time: datetime | None
) -> None:
    assert died(headers) == (reason, time)


def test_a_dead_letter_that_does_not_say_when_it_died_is_as_old_as_its_message() -> None:
    assert died({}, timestamp=NOON) == ("", NOON)
    assert died({"x-death": moved("delivery_limit", NOON)}, timestamp=NOON - HOUR) == ("delivery_limit", NOON)


def test_a_dead_letter_is_named_by_its_id_or_by_the_hash_of_its_body() -> None:
    command = envelope("document.put", "x", {"expected_generation": None, "body": {}})
    named = summary_of(json_bytes(command | {"id": command["id"].upper()}))
    assert (named.handle, named.command_id) == (command["id"], command["id"])
    same, other = summary_of(b"{"), summary_of(b"[")
    assert (same.handle, same.command_id) == (summary_of(b"{").handle, None)
    assert same.handle != other.handle


def test_a_dead_letter_has_the_type_that_its_command_says_or_else_its_routing_key() -> None:
    unknown = envelope("document.paint", "x", {})
    assert summary_of(json_bytes(unknown), "document.put").type == "document.paint"
    assert summary_of(b"{", "stack.create").type == "stack.create"
    assert summary_of(json_bytes(unknown | {"type": 7}), "document.put").type == "document.put"


def test_a_bulk_dead_letter_has_the_hash_of_its_body_and_is_found_by_each_of_its_commands() -> None:
    commands = [envelope("document.put", "x", {"expected_generation": None, "body": {}}) for _ in range(3)]
    body = json_bytes([*commands, {"no": "id"}])
    bulk = dead_letter(body, content_type=BULK_CONTENT_TYPE)
    assert bulk.summary.handle.startswith("body-")
    assert (bulk.summary.command_id, bulk.summary.commands, bulk.summary.type) == (None, 3, "document.put")
    assert bulk.names == {bulk.summary.handle, *(command["id"] for command in commands)}
    assert Selection(frozenset({commands[2]["id"]})).takes(bulk)


ID = "0190a0a0-0000-7000-8000-000000000001"
DEAD_LETTER = dead_letter(
    json_bytes(envelope("document.put", "x", {}, id=ID)),
    headers=ours("not JSON: [", "2026-03-01T12:00:00Z"),
)
WITHOUT_TIME = dead_letter(b"{", headers={"x-genlock-reason": "delivery_limit"})


@pytest.mark.parametrize(
    ("selection", "takes", "takes_without_time"),
    [
        (Selection(), True, True),
        (Selection(frozenset({ID, "c"})), True, False),
        (Selection(reason="not JSON"), True, False),
        (Selection(reason="JSON"), False, False),
        (Selection(reason="*JSON*"), True, False),
        (Selection(reason="delivery_?????"), False, True),
        # A reason may also begin with a text that looks like a pattern.
        (Selection(reason="not JSON: ["), True, False),
        (Selection(type="document.*"), True, True),
        (Selection(type="document"), False, False),
        (Selection(since=NOON), True, False),
        (Selection(since=NOON + HOUR), False, False),
        (Selection(until=NOON), False, False),
        (Selection(since=NOON - HOUR, until=NOON + HOUR), True, False),
        (Selection(reason="not JSON", type="stack.*"), False, False),
    ],
)
def test_a_selection_takes_what_meets_all_of_it(selection: Selection, takes: bool, takes_without_time: bool) -> None:
    assert (selection.takes(DEAD_LETTER), selection.takes(WITHOUT_TIME)) == (takes, takes_without_time)
    assert selection.is_everything == (selection == Selection())


@pytest.mark.parametrize(
    ("text", "ago"), [("90s", 90), ("2h", 7200), ("1.5m", 90), ("1d12h", 129_600), ("1w", 604_800)]
)
def test_a_duration_is_so_long_ago(text: str, ago: float) -> None:
    before = datetime.now(UTC)
    assert before <= moment(text) + timedelta(seconds=ago) <= datetime.now(UTC)


def test_a_time_is_read_as_in_rfc_3339() -> None:
    assert moment("2026-03-01T13:00:00+01:00") == NOON
