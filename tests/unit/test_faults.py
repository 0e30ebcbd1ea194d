"""Faults become entries that point into the command as it was sent, within limits."""

import json
from typing import Any

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.faults import (
    ERRORS_BYTES_MAX,
    ERRORS_MAX,
    POINTER_CHARACTERS_MAX,
    VALUE_BYTES_MAX,
    Fault,
    FieldError,
    entries,
)
from tests.support.factories import SOME_ID, Json
from tests.support.pointers import resolved

SENT: Json = {
    "type": "consumer.set_many",
    "subject": None,
    "data": {"consumers": {SOME_ID.upper(): {"a/b~c": [1, {"": "x"}]}}, "none": None, "wide": "é" * VALUE_BYTES_MAX},
}


def entry(*at: str | int, **fields: Any) -> Json:
    (made,) = entries([Fault(Code.NOT_FOUND, "Not there.", at, **fields)], SENT)
    written: Json = made.model_dump(exclude_unset=True)
    return written


def test_it_says_where_and_what_stands_there() -> None:
    assert entry("data", "consumers", SOME_ID, "a/b~c", 1, "") == {
        "code": Code.NOT_FOUND,
        "path": f"data.consumers.{SOME_ID}.a/b~c.1.",
        "pointer": f"/data/consumers/{SOME_ID.upper()}/a~1b~0c/1/",
        "value": "x",
        "message": "Not there.",
    }


@pytest.mark.parametrize("at", [(), ("type",), ("data", "consumers", SOME_ID, "a/b~c", 0), ("data", "none")])
def test_pointer_leads_to_the_value(at: tuple[str | int, ...]) -> None:
    told = entry(*at)
    assert resolved(told["pointer"], SENT) == told.get("value", resolved(told["pointer"], SENT))


def test_null_is_a_value_and_nothing_is_none() -> None:
    assert entry("data", "none")["value"] is None
    assert "value" not in entry("data", "absent")


def test_name_that_is_wrong_is_the_value() -> None:
    told = entry("data", "consumers", SOME_ID, named=True)
    assert told["value"] == SOME_ID.upper()


def test_value_that_is_too_large_is_left_out_and_pointed_to() -> None:
    told = entry("data", "wide")
    assert "value" not in told
    assert resolved(told["pointer"], SENT) == "é" * VALUE_BYTES_MAX
    assert "value" not in entry("data")


def test_fault_that_stands_nowhere_in_the_command_has_no_pointer() -> None:
    (told,) = entries([Fault(Code.INTERNAL_ERROR, "Failed.")], SENT)
    assert told.model_dump(exclude_unset=True) == {"code": Code.INTERNAL_ERROR, "path": "", "message": "Failed."}


def test_pointer_that_is_too_long_is_left_out_and_not_cut() -> None:
    told = entry("data", "n" * POINTER_CHARACTERS_MAX)
    assert "pointer" not in told
    assert told["path"] == "data." + "n" * 255


@pytest.mark.parametrize("name", ["n" * 255, "\N{GRINNING FACE}" * 255])
def test_entries_of_ten_thousand_faults_are_bounded(name: str) -> None:
    place = ("data", name, name, name)
    listed = entries((Fault(Code.NOT_FOUND, f"No {name}.", place, suggestions=(name,) * 3) for _ in range(10_000)), {})
    size = sum(len(told.model_dump_json(exclude_unset=True).encode()) for told in listed)
    assert 0 < len(listed) <= ERRORS_MAX
    assert size <= ERRORS_BYTES_MAX


def test_entry_of_an_earlier_version_is_read() -> None:
    read = FieldError.model_validate_json(json.dumps({"path": "data.body", "message": "Field required"}))
    assert (read.code, read.pointer, read.value, read.suggestions) == (None, None, None, [])


def test_entry_of_a_later_version_is_read() -> None:
    later = {"code": "of_later", "path": "", "message": "No.", "kind": "volume", "colour": "red"}
    read = FieldError.model_validate_json(json.dumps(later))
    assert (read.code, read.kind) == ("of_later", "volume")
