"""Commands of consumers as they are received: which data and subjects are valid, and the errors of others."""

from typing import Any

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.consumers import ConsumerReshape, ConsumerSetAllocations
from genlock.schemas.decode import Command, Refusal, decode
from tests.support.consumer_factories import set_allocations, wanted
from tests.support.factories import Json, command, decided, envelope, event_of, json_bytes, new_id, received, state_of

PROVIDER = "7d2f0c2e-3b1a-4f7e-9d5c-0242ac120002"
CONSUMER = "0192f0c1-7b1e-4c3a-9d55-0242ac120002"
VALID: Json = wanted(None, {PROVIDER: {"VCPU": 1}})
INVENTORIES: Json = {PROVIDER: {"expected_generation": 0, "inventories": {"VCPU": {"total": 1}}}}


def changed(**fields: Any) -> Json:
    """Valid data of a consumer with other fields; those that are `...` are left out."""
    return {name: value for name, value in (VALID | fields).items() if value is not ...}


def allocating(allocation: Any) -> Json:
    return changed(allocations={PROVIDER: allocation})


def refusal_of(sent: Command) -> Refusal:
    assert isinstance(sent.data, Refusal), sent.data
    assert sent.data.code is Code.INVALID_DATA
    return sent.data


def refused_for(command_type: str, data: Any, subject: str | None = None) -> list[str]:
    """The paths of the errors."""
    return [error.path for error in refusal_of(received(envelope(command_type, subject, data))).errors]


BAD: list[tuple[Json, str]] = [
    (changed(expected_generation=...), "expected_generation"),
    (changed(expected_generation=-1), "expected_generation"),
    (changed(expected_generation=1.0), "expected_generation"),
    (changed(expected_generation="1"), "expected_generation"),
    (changed(project_id=...), "project_id"),
    (changed(project_id=""), "project_id"),
    (changed(project_id="x" * 256), "project_id"),
    (changed(user_id=...), "user_id"),
    (changed(user_id=None), "user_id"),
    (changed(consumer_type=""), "consumer_type"),
    (changed(consumer_type="instance"), "consumer_type"),
    (changed(consumer_type="X" * 256), "consumer_type"),
    (changed(consumer_type="X\n"), "consumer_type"),
    (changed(allocations=...), "allocations"),
    (changed(allocations=None), "allocations"),
    (changed(allocations=[]), "allocations"),
    (changed(allocations={"missing": {"resources": {"VCPU": 1}}}), "allocations.missing.[key]"),
    (changed(unknown=1), "unknown"),
    (allocating({}), f"allocations.{PROVIDER}.resources"),
    (allocating({"resources": {}}), f"allocations.{PROVIDER}.resources"),
    (allocating({"resources": {"vcpu": 1}}), f"allocations.{PROVIDER}.resources.vcpu.[key]"),
    (allocating({"resources": {"VCPU": 0}}), f"allocations.{PROVIDER}.resources.VCPU"),
    (allocating({"resources": {"VCPU": -1}}), f"allocations.{PROVIDER}.resources.VCPU"),
    (allocating({"resources": {"VCPU": 2**31}}), f"allocations.{PROVIDER}.resources.VCPU"),
    (allocating({"resources": {"VCPU": 1.0}}), f"allocations.{PROVIDER}.resources.VCPU"),
    (allocating({"resources": {"VCPU": True}}), f"allocations.{PROVIDER}.resources.VCPU"),
    (allocating({"resources": {"VCPU": 1}, "generation": 1}), f"allocations.{PROVIDER}.generation"),
    # Null would look like a check, and be none.
    (
        allocating({"resources": {"VCPU": 1}, "expected_generation": None}),
        f"allocations.{PROVIDER}.expected_generation",
    ),
    (
        changed(allocations={name: {"resources": {"VCPU": 1}} for name in (PROVIDER, PROVIDER.upper())}),
        "allocations",
    ),
]


@pytest.mark.parametrize(("bad", "path"), BAD)
def test_data_that_is_not_as_the_contract_says_is_invalid_wherever_it_stands(bad: Json, path: str) -> None:
    assert refused_for("consumer.set_allocations", bad, CONSUMER) == [f"data.{path}"]
    consumers = {CONSUMER: bad}
    assert refused_for("consumer.set_many", {"consumers": consumers}) == [f"data.consumers.{CONSUMER}.{path}"]
    reshape: Json = {"inventories": INVENTORIES, "consumers": consumers}
    assert refused_for("consumer.reshape", reshape) == [f"data.consumers.{CONSUMER}.{path}"]


@pytest.mark.parametrize(
    ("command_type", "data", "path"),
    [
        ("consumer.set_many", {}, "data.consumers"),
        ("consumer.set_many", {"consumers": {}}, "data.consumers"),
        ("consumer.set_many", {"consumers": {"missing": VALID}}, "data.consumers.missing.[key]"),
        ("consumer.set_many", {"consumers": {CONSUMER: VALID, CONSUMER.upper(): VALID}}, "data.consumers"),
        ("consumer.set_many", {"consumers": {CONSUMER: VALID}, "inventories": {}}, "data.inventories"),
        ("consumer.reshape", {"inventories": {}, "consumers": {}}, "data"),
        ("consumer.reshape", {"inventories": INVENTORIES}, "data.consumers"),
        ("consumer.reshape", {"consumers": {CONSUMER: VALID}}, "data.inventories"),
        (
            "consumer.reshape",
            {"inventories": INVENTORIES | {PROVIDER.upper(): INVENTORIES[PROVIDER]}, "consumers": {}},
            "data.inventories",
        ),
        (
            "consumer.reshape",
            {"inventories": {PROVIDER: {"inventories": {}}}, "consumers": {}},
            f"data.inventories.{PROVIDER}.expected_generation",
        ),
        (
            "consumer.reshape",
            {"inventories": {PROVIDER: {"expected_generation": None, "inventories": {}}}, "consumers": {}},
            f"data.inventories.{PROVIDER}.expected_generation",
        ),
        (
            "consumer.reshape",
            {
                "inventories": {PROVIDER: {"expected_generation": 0, "inventories": {"VCPU": {"total": 0}}}},
                "consumers": {},
            },
            f"data.inventories.{PROVIDER}.inventories.VCPU.total",
        ),
    ],
)
def test_commands_on_several_records_must_name_some_each_once_and_with_a_generation(
    command_type: str, data: Json, path: str
) -> None:
    assert refused_for(command_type, data) == [path]


def test_amounts_and_names_at_the_edge_are_taken() -> None:
    edge = changed(
        expected_generation=2**63 - 1,
        project_id="é" * 255,
        user_id="x",
        consumer_type="X" * 255,
        allocations={PROVIDER: {"resources": {"VCPU": 2**31 - 1, "CUSTOM_" + "X" * 248: 1}, "expected_generation": 0}},
    )
    assert isinstance(command("consumer.set_allocations", CONSUMER, edge).data, ConsumerSetAllocations)


def test_ids_are_lower_cased_wherever_they_stand() -> None:
    sent = command(
        "consumer.reshape",
        None,
        {
            "inventories": {PROVIDER.upper(): INVENTORIES[PROVIDER]},
            "consumers": {CONSUMER.upper(): changed(allocations={PROVIDER.upper(): {"resources": {"VCPU": 1}}})},
        },
    )
    assert isinstance(sent.data, ConsumerReshape)
    assert list(sent.data.inventories) == [PROVIDER]
    assert list(sent.data.consumers) == [CONSUMER]
    assert list(sent.data.consumers[CONSUMER].allocations) == [PROVIDER]


def test_generation_of_a_provider_is_checked_only_if_it_was_given() -> None:
    for expected, given in (({}, None), ({PROVIDER: 0}, 0)):
        sent = set_allocations(CONSUMER, None, {PROVIDER: {"VCPU": 1}}, expected)
        assert isinstance(sent.data, ConsumerSetAllocations)
        assert sent.data.allocations[PROVIDER].generation == given


# Subjects.


@pytest.mark.parametrize(
    ("command_type", "data"),
    [
        ("consumer.set_many", {"consumers": {CONSUMER: VALID}}),
        ("consumer.reshape", {"inventories": {}, "consumers": {CONSUMER: VALID}}),
    ],
)
def test_commands_on_several_records_have_no_subject(command_type: str, data: Json) -> None:
    members = envelope(command_type, None, data)
    for given in (members, {name: value for name, value in members.items() if name != "subject"}):
        sent = received(given)
        assert (sent.kind, sent.subject) == ("consumer", "")
        assert not isinstance(sent.data, Refusal)
    for subject in (CONSUMER, "d", ""):
        assert refused_for(command_type, data, subject)[0] == "subject"
    refused = received(envelope(command_type, CONSUMER, data))
    assert (refused.subject, refused.echo.subject, refused.echo.data) == ("", None, data)


def test_subject_in_the_header_of_a_command_on_several_records_differs_from_none() -> None:
    body = json_bytes(envelope("consumer.set_many", None, {"consumers": {CONSUMER: VALID}}))
    refused = decode(body, "consumer.set_many", CONSUMER)
    assert isinstance(refused, Command)
    assert "header 'subject'" in refusal_of(refused).message


@pytest.mark.parametrize("subject", [None, "", "server-7", CONSUMER.replace("-", "")])
def test_subject_of_set_allocations_is_a_uuid(subject: str | None) -> None:
    assert refused_for("consumer.set_allocations", VALID, subject) == ["subject"]


def test_event_of_a_command_on_several_records_has_no_subject_and_repeats_the_command() -> None:
    data = {"consumers": {CONSUMER: wanted(3, {})}}
    sent = command("consumer.set_many", None, data)
    event = event_of(sent, decided(state_of(), sent))
    assert (event.type, event.subject) == ("consumer.set_many.conflict", None)
    assert '"subject"' not in event.body.replace('"subject":null', "")
    assert sent.echo.data == data


# The errors of a hostile command stay small.


LONG = "x" * 500_000
MISTAKES = {f"{number}": 1 for number in range(40_000)}


@pytest.mark.parametrize(
    ("command_type", "data", "path"),
    [
        ("consumer.set_many", {"consumers": {LONG: {"allocations": MISTAKES}}}, "consumers"),
        ("consumer.set_allocations", changed(allocations={LONG: MISTAKES}), "allocations"),
        ("consumer.reshape", {"inventories": {LONG: MISTAKES}, "consumers": {}}, "inventories"),
        (
            "consumer.reshape",
            {"inventories": {PROVIDER: {"expected_generation": 0, "inventories": {LONG: MISTAKES}}}, "consumers": {}},
            f"inventories.{PROVIDER}.inventories",
        ),
        ("provider.set_inventories", {"expected_generation": 0, "inventories": {LONG: MISTAKES}}, "inventories"),
    ],
)
def test_long_name_stands_in_no_path_of_the_mistakes_below_it(command_type: str, data: Json, path: str) -> None:
    """All of them together would take 20 GB, of the one megabyte that the command has."""
    subject = CONSUMER if command_type in ("consumer.set_allocations", "provider.set_inventories") else None
    assert refused_for(command_type, data, subject) == [f"data.{path}"]


def test_paths_of_errors_quote_so_much_of_a_long_name_and_no_more() -> None:
    data = {"consumers": {CONSUMER: changed(**{f"{number}{LONG[:9_000]}": 1 for number in range(100)})}}
    sent = received(envelope("consumer.set_many", None, data))
    paths = [error.path for error in refusal_of(sent).errors]
    assert len(paths) == 100
    assert {len(path) for path in paths} == {len(f"data.consumers.{CONSUMER}.") + 255}
    assert len(event_of(sent, decided(state_of(), sent)).body) < 100_000


def test_other_order_of_its_members_is_the_same_content() -> None:
    other = new_id()
    data = {"consumers": {CONSUMER: VALID, other: VALID}}
    turned = {"consumers": {other: dict(reversed(VALID.items())), CONSUMER: VALID}}
    first, second = (command("consumer.set_many", None, content) for content in (data, turned))
    assert first.content_hash == second.content_hash
