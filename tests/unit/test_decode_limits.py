"""Decoding at its limits: what is too deep, too large, or says one thing twice is answered all the same."""

import json

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.decode import Refusal, Undecodable, decode
from tests.support.decoding import (
    COMMAND_BYTES_MAX,
    ID,
    READABLE_BYTES_MAX,
    answered,
    code,
    echo,
    hash_of,
    message,
    nested,
    refusal,
    text,
)
from tests.support.factories import SOME_ID, json_bytes


def test_64_levels_are_taken_and_65_are_not() -> None:
    inner = nested(63)
    body = f'{{"expected_generation": null, "body": {inner}}}'
    assert not isinstance(answered(text(body)).data, Refusal)
    deeper = f'{{"expected_generation": null, "body": {nested(64)}}}'
    command, refused = refusal(text(deeper))
    assert refused.code is Code.INVALID_DATA
    assert "64 levels" in refused.message
    assert command.echo.data is None


def test_many_brackets_side_by_side_are_not_deep() -> None:
    body = f'{{"expected_generation": null, "body": {{"a": [{",".join(["[]"] * 1000)}]}}}}'
    assert not isinstance(answered(text(body)).data, Refusal)


@pytest.mark.parametrize("depth", [66, 500, 950, 1_000, 1_100, 20_000, 400_000])
def test_command_nested_beyond_the_parser_is_still_answered(depth: int) -> None:
    command, refused = refusal(text(nested(depth), correlationid='"behind"', attempt="7"))
    assert refused.code is Code.INVALID_DATA
    assert (command.type, command.kind, command.subject) == ("document.put", "document", "d")
    assert (command.source, command.correlationid, command.attempt) == ("/tests", "behind", 7)
    assert command.echo.data is None


def test_id_behind_the_deep_part_is_found() -> None:
    deep = nested(20_000)
    assert code(f'{{"data": {deep}, "id": "{ID}"}}'.encode(), "") is Code.INVALID_DATA
    assert isinstance(decode(f'{{"data": {{"id": "{ID}", "a": {deep}}}}}'.encode(), ""), Undecodable)


@pytest.mark.parametrize(
    "number", ["9223372036854775808", "99999999999999999999999", "9" * 6000, "1e999", "-1e999", "9" * 400 + ".5", "NaN"]
)
def test_number_that_does_not_fit_keeps_no_deep_or_large_command_from_its_answer(number: str) -> None:
    assert code(text(f'{{"deep": {nested(5_000)}, "n": {number}}}')) is Code.INVALID_DATA
    assert code(text(f'{{"long": "{"x" * COMMAND_BYTES_MAX}", "n": [{number}]}}')) is Code.TOO_LARGE


@pytest.mark.parametrize("rest", ["01", "1.", ".5", "NaNa", "[" * 2_000, "}", '"\\x"'])
def test_deep_or_large_text_is_refused_without_being_read(rest: str) -> None:
    assert code(text(f'{{"deep": {nested(5_000)}, "n": {rest}}}')) is Code.INVALID_DATA
    assert code(text(f'{{"long": "{"x" * COMMAND_BYTES_MAX}", "n": {rest}}}')) is Code.TOO_LARGE


@pytest.mark.parametrize("violation", [r"\u0000", r"\ud800"])
def test_no_attribute_of_a_deep_or_large_command_brings_in_text_that_cannot_be_stored(violation: str) -> None:
    for data in (nested(5_000), f'{{"long": "{"x" * COMMAND_BYTES_MAX}"}}', '{"a": 1e999}'):
        for name in ("subject", "source", "correlationid", "traceparent", "type"):
            command, _ = refusal(text(data, **{name: f'"a{violation}b"'}))
            parts = [command.type, command.subject, command.source, command.correlationid, command.traceparent]
            assert "\0" not in repr(parts).replace("\\x00", "\0")
            assert "\\ud800" not in repr(parts)
            assert (command.echo.data, "\0" in str(command.echo)) == (None, False)


# Sizes.


def padded(size: int) -> bytes:
    body = json_bytes(message(padding=""))
    return json_bytes(message(padding="x" * (size - len(body))))


def test_command_of_1_mib_is_taken_and_one_byte_more_is_too_large() -> None:
    assert not isinstance(answered(padded(COMMAND_BYTES_MAX)).data, Refusal)
    command, refused = refusal(padded(COMMAND_BYTES_MAX + 1))
    assert refused.code is Code.TOO_LARGE
    assert (command.type, command.subject, command.source) == ("document.put", "d", "/tests")
    assert echo(command) == {}


def test_message_of_16_mib_is_answered_and_one_byte_more_is_a_dead_letter() -> None:
    assert code(padded(READABLE_BYTES_MAX)) is Code.TOO_LARGE
    assert isinstance(decode(padded(READABLE_BYTES_MAX + 1), "document.put"), Undecodable)


def test_large_message_that_is_not_utf_8_or_has_no_id_is_undecodable() -> None:
    body = padded(COMMAND_BYTES_MAX + 1)
    assert isinstance(decode(body.replace(b"/tests", b"/t\xffst"), "document.put"), Undecodable)
    assert isinstance(decode(body.replace(b'"id"', b'"ID"'), "document.put"), Undecodable)
    assert isinstance(decode(body[:-1], "document.put"), Undecodable)


LONG = f'{{"long": "{"x" * COMMAND_BYTES_MAX}", "id": "{SOME_ID}"}}'


@pytest.mark.parametrize("where", ["before", "behind", "both"])
def test_attributes_of_a_large_command_are_found_before_and_behind_its_data(where: str) -> None:
    attributes = [f'"{name}": {json.dumps(value)}' for name, value in message(data=...).items()]
    before = {"before": attributes, "behind": [], "both": attributes[:3]}[where]
    behind = [attribute for attribute in attributes if attribute not in before]
    members = ", ".join([*before, f'"data": {LONG}', *behind])
    body = f"\n{{{members}}} ".encode()
    command, refused = refusal(body)
    assert refused.code is Code.TOO_LARGE
    assert (command.type, command.subject, command.source) == ("document.put", "d", "/tests")


def test_id_of_a_large_command_is_none_if_it_stands_within_the_data_or_far_from_both_ends() -> None:
    for body in (f'{{"data": {LONG}}}', f'{{"data": {LONG}, "id": "{ID}", "more": {LONG}}}'):
        assert isinstance(decode(body.encode(), "document.put"), Undecodable)


def test_strings_with_quotes_and_backslashes_hide_no_attribute_of_a_large_command() -> None:
    odd = json.dumps('\\\\"id": "x"}, {\\')
    for body in (
        f'{{"a": {odd}, "data": {LONG}, "id": "{ID}", "b": {odd}}}',
        f'{{"id": "{ID}", "data": [{odd}, {LONG}]}}',
    ):
        assert code(body.encode()) is Code.TOO_LARGE


# Members that are there twice, and decimals that a double changes.


@pytest.mark.parametrize(
    ("data", "path"),
    [
        ('{"expected_generation": null, "body": {"a": 1, "a": 2}}', "data.body.a"),
        ('{"expected_generation": null, "body": {"a": 1, "a": 1}}', "data.body.a"),
        ('{"expected_generation": null, "body": {"a": 1, "\\u0061": 1}}', "data.body.a"),
        ('{"expected_generation": null, "body": {"\\u003a": ":", "b": {"\\u003A": 1, ":": 2}}}', "data.body.b.:"),
        ('{"expected_generation": null, "body": {"x": [1, {"": 0, "": "::"}]}}', "data.body.x.1."),
        ('{"expected_generation": null, "expected_generation": 0, "body": {}}', "data.expected_generation"),
        ('{"body": {"a": 1}, "expected_generation": null, "body": {"a": 1, "a": 1}}', "data.body"),
    ],
)
def test_member_that_is_there_twice_is_invalid_data_with_its_path(data: str, path: str) -> None:
    command, refused = refusal(text(data))
    assert refused.code is Code.INVALID_DATA
    assert refused.errors[0].path == path
    assert "twice" in refused.errors[0].message
    assert path in refused.message
    assert command.echo.data is None


@pytest.mark.parametrize("name", ["type", "subject", "source", "data", "correlationid", "extension"])
def test_attribute_that_is_there_twice_is_invalid_data(name: str) -> None:
    members = message(correlationid="c", extension=1)
    body = json.dumps(members)[:-1] + f", {json.dumps(name)}: {json.dumps(members[name])}}}"
    _, refused = refusal(body.encode())
    assert refused.code is Code.INVALID_DATA
    assert [error.path for error in refused.errors] == [name]


def test_two_ids_are_none_and_one_that_is_there_twice_is_invalid_data() -> None:
    assert isinstance(decode(text("{}", id=f'"{SOME_ID}"'), "document.put"), Undecodable)
    assert isinstance(decode(text("{}", id="7"), "document.put"), Undecodable)
    assert code(text("{}", id=f'"{ID.upper()}"')) is Code.INVALID_DATA


@pytest.mark.parametrize(
    "number",
    [
        "0.1234567890123456789",
        "1e-400",
        "-1e-400",
        "3e-324",
        "9007199254740993.0",
        "0." + "1" * 5_000,
        "1e-" + "9" * 30,
    ],
    ids=lambda number: number[:24],
)
def test_decimal_that_a_double_changes_is_invalid_data_with_its_path(number: str) -> None:
    _, refused = refusal(text(f'{{"expected_generation": null, "body": {{"a": [0.5, {number}]}}}}'))
    assert refused.code is Code.INVALID_DATA
    assert [error.path for error in refused.errors] == ["data.body.a.1"]


@pytest.mark.parametrize(
    "number",
    [
        *("0.1", "1.10", "1e2", "1E+2", "-0.0", "0.30000000000000004", "0.10000000000000001", "1e22", "5e-324"),
        *("4.9E-324", "1.7976931348623157e308", "2.2250738585072014E-308", "1.00000000000000000000", "0e-9999"),
        *("0.1000000000000000055511151231257827021181583404541015625", "100000000000000000000.0", "1e005"),
    ],
)
def test_decimal_that_its_double_says_is_taken(number: str) -> None:
    command = answered(
        text(f'{{"expected_generation": null, "body": {{"a": {number}, "b": "0.1234567890123456789"}}}}')
    )
    assert not isinstance(command.data, Refusal)
    assert command.echo.data is not None
    assert command.echo.data["body"]["a"] == float(number)


def test_copy_of_a_command_that_an_earlier_version_took_has_the_content_hash_that_it_had() -> None:
    for written, read in (
        ('{"a": 1, "a": 2}', {"a": 2}),
        ('{"a": 0.1234567890123456789}', {"a": 0.12345678901234568}),
        ('{"a": [1e-400, 1e19], "b": 1, "b": "\\u003a"}', {"a": [0.0, 1e19], "b": ":"}),
        ('{"a": "\\ud800", "a": 1}', {"a": 1}),
        ('{"a": 99999999999999999999, "a": 1}', {"a": 1}),
    ):
        new = text(f'{{"expected_generation": null, "body": {written}}}')
        was = json_bytes(message(data={"expected_generation": None, "body": read}))
        assert code(new) is Code.INVALID_DATA
        assert hash_of(new) == hash_of(was)


def test_rejection_lists_no_more_than_100_faults_of_the_json() -> None:
    many = ", ".join(f'{{"a{n}": 1, "a{n}": NaN}}' for n in range(300))
    _, refused = refusal(text(f'{{"expected_generation": null, "body": {{"list": [{many}]}}}}'))
    assert len(refused.errors) == 100
    assert len(refused.message) < 500


# The content hash.
