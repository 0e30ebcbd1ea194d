"""The catalogue against the contract's tables: types, fields, and which of these are required."""

from typing import Any, get_args

import pytest
from pydantic import ValidationError

from genlock.schemas.base import CommandData, Kind
from genlock.schemas.catalogue import COMMANDS, SUBJECTS, TYPE_OF
from tests.support.factories import SOME_ID, Json

TRAVERSAL = SOME_ID

# For each type the data with every field that it must have, and the fields that it may have.
COMMAND_DATA: dict[str, tuple[Json, Json]] = {
    "document.put": ({"expected_generation": 3, "body": {}}, {}),
    "document.merge": ({"patch": {}}, {"expected_generation": 3}),
    "document.delete": ({"expected_generation": 3}, {}),
    "stack.create": ({"name": "blue", "template": {}}, {"disable_rollback": False, "timeout_s": 60}),
    "stack.update": ({"expected_traversal": TRAVERSAL, "template": {}}, {"disable_rollback": False, "timeout_s": 60}),
    "stack.delete": ({"expected_traversal": TRAVERSAL}, {}),
    "stack.rollback": ({"expected_traversal": TRAVERSAL}, {}),
    "stack.cancel": ({"expected_traversal": TRAVERSAL}, {}),
    "stack.set_state": ({"expected_traversal": TRAVERSAL, "status": "FAILED"}, {"reason": "disk full"}),
}


def read(name: str, data: Any) -> CommandData:
    return COMMANDS[name].model.model_validate(data)


def refuses(name: str, data: Any) -> bool:
    try:
        read(name, data)
    except ValidationError:
        return True
    return False


def test_catalogue_has_every_command_of_documents_and_stacks() -> None:
    assert {name for name, command in COMMANDS.items() if command.kind in ("document", "stack")} == COMMAND_DATA.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_type_is_the_kind_and_the_verb(name: str) -> None:
    command = COMMANDS[name]
    kind, _, verb = name.partition(".")
    assert (command.name, command.kind) == (name, kind)
    assert verb.replace("_", "").isalpha()
    assert verb.islower()
    assert TYPE_OF[command.model] is command


def test_every_command_has_data_of_its_own() -> None:
    assert len(TYPE_OF) == len(COMMANDS)


def test_every_kind_says_what_its_subjects_are() -> None:
    assert SUBJECTS.keys() == set(get_args(Kind))
    assert {command.kind for command in COMMANDS.values()} <= SUBJECTS.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_data_is_frozen_strict_and_takes_no_unknown_field(name: str) -> None:
    config = COMMANDS[name].model.model_config
    assert (config.get("frozen"), config.get("strict"), config.get("extra")) == (True, True, "forbid")


@pytest.mark.parametrize("name", COMMAND_DATA)
def test_data_has_the_fields_of_the_contract(name: str) -> None:
    must, may = COMMAND_DATA[name]
    assert COMMANDS[name].model.model_fields.keys() == must.keys() | may.keys()
    assert not refuses(name, must)
    assert not refuses(name, must | may)
    assert refuses(name, must | {"unknown": 1})
    for field in must:
        assert refuses(name, {other: value for other, value in must.items() if other != field})


@pytest.mark.parametrize("name", COMMAND_DATA)
def test_no_field_takes_a_value_of_another_type(name: str) -> None:
    must, may = COMMAND_DATA[name]
    values: list[Any] = [7.5, "x" * 256, True, [], 1, {}, ""]
    for field, right in (must | may).items():
        for wrong in values:
            same = type(wrong) is type(right) or (field == "reason" and isinstance(wrong, str))
            assert same or refuses(name, must | {field: wrong}), (field, wrong)


@pytest.mark.parametrize(
    ("name", "field"),
    [
        (name, field)
        for name, (must, may) in COMMAND_DATA.items()
        for field in must | may
        if field not in ("expected_generation", "disable_rollback", "timeout_s", "reason")
    ]
    + [("document.delete", "expected_generation")],
)
def test_null_is_no_value(name: str, field: str) -> None:
    assert refuses(name, COMMAND_DATA[name][0] | {field: None})


def test_left_out_and_null_generation_of_a_merge_differ() -> None:
    assert read("document.merge", {"patch": {}}).model_fields_set == {"patch"}
    null = read("document.merge", {"patch": {}, "expected_generation": None})
    assert null.model_fields_set == {"patch", "expected_generation"}


def test_rollback_is_disabled_where_nothing_is_said() -> None:
    created = read("stack.create", {"name": "blue", "template": {}})
    assert created.model_dump() == {"name": "blue", "template": {}, "disable_rollback": True, "timeout_s": None}


@pytest.mark.parametrize(("characters", "refused"), [(0, True), (1, False), (255, False), (256, True)])
def test_stack_s_name_has_1_to_255_characters(characters: int, refused: bool) -> None:
    assert refuses("stack.create", {"name": "é" * characters, "template": {}}) == refused


@pytest.mark.parametrize("status", ["IN_PROGRESS", "complete", "", "DELETED"])
def test_run_reports_that_it_completed_or_failed_and_nothing_else(status: str) -> None:
    assert refuses("stack.set_state", {"expected_traversal": TRAVERSAL, "status": status, "reason": ""})


@pytest.mark.parametrize("traversal", ["", "latest", TRAVERSAL[:-1], TRAVERSAL.replace("-", ""), TRAVERSAL + "\n"])
def test_traversal_is_a_uuid(traversal: str) -> None:
    assert refuses("stack.delete", {"expected_traversal": traversal})
