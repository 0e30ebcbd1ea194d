"""The contract as an AsyncAPI document: valid for the tools that read such documents, and complete."""

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from genlock import cli
from genlock.schemas.asyncapi import document, event_types
from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.outcomes import outcome_id
from genlock.schemas.queries import QUERIES
from tests.support.factories import SOME_ID, Json, conflicting, envelope, event_of, new_id, put, state_of

DOCUMENT = document("staging")


def printed(capsys: pytest.CaptureFixture[str], *arguments: str) -> Json:
    with pytest.raises(SystemExit) as ended:
        cli.main(["asyncapi", *arguments])
    assert not ended.value.code
    found: Json = json.loads(capsys.readouterr().out)
    return found


def message_schema(name: str) -> Json:
    """The schema of a message's payload, which refers to others in the document."""
    return {"$ref": f"#/components/messages/{name}/payload", "components": DOCUMENT["components"]}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(reference := value.get("$ref"), str):
            yield reference
        for child in value.values():
            yield from references(child)
    elif isinstance(value, list):
        for child in value:
            yield from references(child)


def test_it_is_an_asyncapi_document() -> None:
    with warnings.catch_warnings():
        # Its own models shadow attributes of their base.
        warnings.simplefilter("ignore")
        from asyncapi3.models import AsyncAPI3  # type: ignore[import-untyped]  # noqa: PLC0415

        AsyncAPI3.model_validate(DOCUMENT)


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["schemas"]))
def test_each_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(DOCUMENT["components"]["schemas"][name])


@pytest.mark.parametrize("name", sorted(DOCUMENT["components"]["messages"]))
def test_each_payload_is_a_schema(name: str) -> None:
    Draft202012Validator.check_schema(DOCUMENT["components"]["messages"][name]["payload"])


def test_each_reference_leads_somewhere() -> None:
    for reference in set(references(DOCUMENT)):
        place: Any = DOCUMENT
        for step in reference.removeprefix("#/").split("/"):
            place = place[step]


def test_everything_of_the_catalogue_is_there() -> None:
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    assert COMMANDS.keys() <= addresses
    messages = DOCUMENT["components"]["messages"]
    assert {name.replace(".", "_") for name in [*COMMANDS, *QUERIES]} <= messages.keys()
    told = [kind for name in DOCUMENT["channels"]["events"]["messages"] for kind in _types(messages[name])]
    assert sorted(told) == event_types()


def _types(message: Json) -> list[str]:
    types: list[str] = message["payload"]["allOf"][1]["properties"]["type"]["enum"]
    return types


def test_all_names_lie_in_the_namespace() -> None:
    exchanges = {
        channel["bindings"]["amqp"]["exchange"]["name"]
        for channel in DOCUMENT["channels"].values()
        if "exchange" in channel.get("bindings", {}).get("amqp", {})
    }
    assert exchanges == {"staging.commands", "staging.events", "staging.reads"}


def test_the_command_line_prints_it(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert printed(capsys, "--namespace", "staging") == DOCUMENT
    monkeypatch.setenv("GENLOCK_NAMESPACE", "staging")
    assert printed(capsys) == DOCUMENT
    monkeypatch.delenv("GENLOCK_NAMESPACE")
    assert printed(capsys) == document()


def test_a_namespace_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["asyncapi", "--namespace", "a b"])
    assert ended.value.code == 2
    assert "GENLOCK_NAMESPACE" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("data", "valid"),
    [
        ({"expected_generation": None, "body": {}}, True),
        ({"expected_generation": 3, "body": {}}, True),
        ({"body": {}}, False),
        ({"expected_generation": -1, "body": {}}, False),
        ({"expected_generation": 3, "body": [], "more": 1}, False),
    ],
)
def test_a_payload_tells_a_valid_command_from_another(data: Json, *, valid: bool) -> None:
    validator = Draft202012Validator(message_schema("document_put"))
    assert validator.is_valid(envelope("document.put", "x", data)) is valid


@pytest.mark.parametrize(
    ("query", "subject", "data", "valid"),
    [
        (
            "provider.list",
            None,
            {"member_of": f"in:{SOME_ID},{SOME_ID}", "required": ["in:A,B", "!C"], "resources": {"A": 1}},
            True,
        ),
        ("provider.list", None, {"member_of": [SOME_ID, f"!{SOME_ID}"], "limit": 1_000, "after": SOME_ID}, True),
        ("provider.list", None, {"member_of": "zone"}, False),
        ("provider.list", None, {"required": ["!in:A,B"]}, False),
        ("provider.list", None, {"resources": {"A": 0}}, False),
        ("provider.allocations", SOME_ID, {"limit": 5}, True),
        ("provider.allocations", "p", {}, False),
        ("provider.usages", ..., {}, False),
        ("consumer.get", SOME_ID, {}, True),
        ("consumer.get", SOME_ID, {"limit": 1}, False),
        ("project.usages", "any name", {"user_id": "u", "consumer_type": "unknown"}, True),
        ("project.usages", "any name", {"consumer_type": "any"}, False),
        ("project.usages", "", {}, False),
        ("record.history", "any name", {"kind": "document"}, True),
    ],
)
def test_a_payload_tells_a_valid_query_from_another(query: str, subject: Any, data: Json, *, valid: bool) -> None:
    validator = Draft202012Validator(message_schema(query.replace(".", "_")))
    members = envelope(query, subject, data)
    assert validator.is_valid(members) is valid


def test_events_are_valid_payloads() -> None:
    command = put(new_id(), 3)
    conflict = event_of(command, conflicting(state_of(), command))
    Draft202012Validator(message_schema("conflict")).validate(json.loads(conflict.body))
    assert conflict.id == outcome_id(command.id)
