"""Decoding: what can be read is answered, however bad it is; what cannot, or has no id, is a dead letter."""

import hashlib
import json
from typing import Any

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command, Refusal, Undecodable, decode, decode_bulk
from tests.factories import Json, envelope, json_bytes, new_id, received

COMMAND_BYTES_MAX = 1024 * 1024
READABLE_BYTES_MAX = 16 * 1024 * 1024

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
DATA: Json = {"expected_generation": None, "body": {"a": 1}}


def message(**attributes: Any) -> Json:
    """A valid `document.put`; `attributes` come on top of it, and those that are `...` are left out."""
    return envelope("document.put", "d", **{"id": ID, "data": DATA} | attributes)


def text(data: str, **attributes: str) -> bytes:
    """A `document.put` whose data is any text; attributes are texts of JSON as well, and stand behind it."""
    rest = "".join(f', "{name}": {value}' for name, value in attributes.items())
    front = f'{{"specversion": "1.0", "id": "{ID}", "source": "/tests", "type": "document.put", "subject": "d"'
    return f'{front}, "data": {data}{rest}}}'.encode()


def answered(body: bytes, routing_key: str = "document.put", subject_header: Any = None) -> Command:
    command = decode(body, routing_key, subject_header)
    assert isinstance(command, Command), command
    return command


def refusal(body: bytes, routing_key: str = "document.put", subject_header: Any = None) -> tuple[Command, Refusal]:
    command = answered(body, routing_key, subject_header)
    assert command.id == ID
    assert isinstance(command.data, Refusal), command.data
    return command, command.data


def code(body: bytes, routing_key: str = "document.put", subject_header: Any = None) -> Code:
    return refusal(body, routing_key, subject_header)[1].code


def echo(command: Command) -> Json:
    return command.echo.model_dump(exclude_unset=True)


def nested(depth: int) -> str:
    """Data that makes a message as deep as this, its two outermost objects counted."""
    levels = depth - 2
    return '{"a": ' + "[" * levels + "]" * levels + "}"


def test_valid_command_is_read_whole() -> None:
    more = {"time": "2026-01-31T12:00:00.5+01:00", "correlationid": "order 7", "causationid": "any", "attempt": 3}
    more |= {"traceparent": "00-abc-def-01", "tracestate": "a=b", "datacontenttype": "application/json"}
    command = answered(json_bytes(message(**more, dataschema="https://example.org", extension={"ignored": True})))
    assert not isinstance(command.data, Refusal)
    assert (command.id, command.type, command.kind, command.subject) == (ID, "document.put", "document", "d")
    assert (command.source, command.correlationid, command.attempt) == ("/tests", "order 7", 3)
    assert command.time is not None
    assert command.time.isoformat() == "2026-01-31T12:00:00.500000+01:00"
    assert (command.traceparent, command.tracestate) == ("00-abc-def-01", "a=b")
    assert echo(command) == {"type": "document.put", "subject": "d", "data": DATA}


def test_attributes_that_may_be_absent_have_their_defaults() -> None:
    command = answered(json_bytes(message()))
    assert (command.time, command.correlationid, command.attempt) == (None, ID, 1)
    assert (command.traceparent, command.tracestate) == (None, None)


def test_ids_are_lower_cased_on_entry() -> None:
    members = envelope("stack.delete", ID.upper(), {"expected_traversal": ID.upper()}, id=ID.upper())
    command = received(members)
    assert not isinstance(command.data, Refusal)
    assert (command.id, command.subject, command.correlationid) == (ID, ID, ID)
    assert command.data.model_dump() == {"expected_traversal": ID}
    assert answered(text("[", id=f'"{ID.upper()}"').replace(b"[", b"[]")).id == ID


# What cannot be read.


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"hello",
        b"[]",
        b"null",
        b'"text"',
        b"7",
        json_bytes([message()]),
        json_bytes(message()) + b"x",
        json_bytes(message())[:-1],
        json_bytes(message()).replace(b"/tests", b"/t\xe9st"),
        json_bytes(message()).replace(b"/tests", b"/t\xed\xa0\x80"),
        json_bytes(message()).replace(b"/tests", b"/t\xc0\x80"),
        json_bytes(message()).replace(b"/tests", b"/t\x01"),
        json.dumps(message()).encode("utf-16"),
        json.dumps(message()).encode("utf-16-le"),
        b"\xef\xbb\xbf" * 2 + json_bytes(message()),
        b" \xef\xbb\xbf" + json_bytes(message()),
        "\ufeff".encode("utf-16-le") + json_bytes(message()),
        text("[" * 100_000),
        text("[" * 100_000 + "}" * 100_000),
    ],
    ids=lambda body: repr(body[:30]),
)
def test_what_is_not_utf_8_or_not_json_or_no_object_is_undecodable(body: bytes) -> None:
    undecodable = decode(body, "document.put")
    assert isinstance(undecodable, Undecodable)
    assert undecodable.reason


@pytest.mark.parametrize(
    "bad", [..., None, 7, True, "", "id", ID[:-1], ID + "0", f" {ID}", f"{ID}\n", f"{{{ID}}}", [ID]]
)
def test_command_without_a_uuid_as_its_id_is_undecodable(bad: Any) -> None:
    assert decode(json_bytes(message(id=bad)), "document.put") == Undecodable("no UUID as its id")


@pytest.mark.parametrize("bad", [ID.replace("-", ""), f"urn:uuid:{ID}", ID.replace("0", "g")])
def test_uuid_that_is_not_hyphenated_hexadecimal_is_undecodable(bad: str) -> None:
    assert isinstance(decode(json_bytes(message(id=bad)), "document.put"), Undecodable)


@pytest.mark.parametrize(
    "body",
    [
        json_bytes(message()),
        json_bytes(message(data={"n": 7})),
        text('{"n": NaN}'),
        text(nested(5_000)),
        text(f'{{"long": "{"x" * COMMAND_BYTES_MAX}"}}'),
    ],
    ids=["valid", "refused", "flawed", "deep", "large"],
)
def test_byte_order_mark_in_front_changes_nothing(body: bytes) -> None:
    marked = answered(b"\xef\xbb\xbf" + body)
    if isinstance(marked.data, Refusal) and marked.data.code is Code.TOO_LARGE:
        assert marked.content_hash == answered(body).content_hash
    else:
        assert marked == answered(body)


def test_byte_order_mark_in_front_of_a_bulk_changes_nothing() -> None:
    body = json_bytes([message(), message(id=new_id())])
    assert decode_bulk(b"\xef\xbb\xbf" + body, "document.put") == decode_bulk(body, "document.put")


# What can be read as JSON, and holds what no other language or database takes.


@pytest.mark.parametrize(
    "value",
    [
        "NaN",
        "Infinity",
        "-Infinity",
        "9223372036854775808",
        "-9223372036854775809",
        "9" * 5000,
        "1e999",
        "-1e999",
        "9" * 400 + ".0",
        r'"\ud800"',
        r'"\udc00\ud800"',
        r'"a\u0000"',
        r'{"a\u0000": 1}',
        r'{"\ud800": 1}',
        r'[{"a": ["\udfff"]}]',
    ],
    ids=lambda value: value[:20],
)
def test_value_that_cannot_be_kept_is_invalid_data(value: str) -> None:
    command, refused = refusal(text(f'{{"expected_generation": null, "body": {{"a": {value}}}}}'))
    assert refused.code is Code.INVALID_DATA
    assert refused.errors
    assert (command.type, command.subject) == ("document.put", "d")
    assert command.echo.data is None


@pytest.mark.parametrize("value", ["9223372036854775807", "-9223372036854775808", "1e308", "1e-999", r'"\ud83d\ude00"'])
def test_value_at_the_edge_of_what_can_be_kept_is_valid(value: str) -> None:
    command = answered(text(f'{{"expected_generation": null, "body": {{"a": {value}}}}}'))
    assert not isinstance(command.data, Refusal)


@pytest.mark.parametrize("value", ["1", "{}", '"x"', "[1]", "null", "true"])
def test_data_that_is_no_object_is_invalid_data(value: str) -> None:
    code_of = code(text(value))
    assert code_of is Code.INVALID_DATA


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
    assert decode(f'{{"data": {{"id": "{ID}", "a": {deep}}}}}'.encode(), "") == Undecodable("no UUID as its id")


@pytest.mark.parametrize(
    "number", ["9223372036854775808", "99999999999999999999999", "9" * 6000, "1e999", "-1e999", "9" * 400 + ".5", "NaN"]
)
def test_number_that_does_not_fit_keeps_no_deep_or_large_command_from_its_answer(number: str) -> None:
    assert code(text(f'{{"deep": {nested(5_000)}, "n": {number}}}')) is Code.INVALID_DATA
    assert code(text(f'{{"long": "{"x" * COMMAND_BYTES_MAX}", "n": [{number}]}}')) is Code.TOO_LARGE


@pytest.mark.parametrize(
    "number", ["01", "1.", ".5", "+1", "0x10", "1e", "--1", "1-1", "12345678901234567890e", "NaNa"]
)
def test_deep_text_with_what_is_no_number_is_no_json(number: str) -> None:
    assert isinstance(decode(text(f'{{"deep": {nested(5_000)}, "n": {number}}}'), "document.put"), Undecodable)


@pytest.mark.parametrize("flaw", [r"\u0000", r"\ud800"])
def test_no_attribute_of_a_deep_or_large_command_brings_in_what_cannot_be_stored(flaw: str) -> None:
    for data in (nested(5_000), f'{{"long": "{"x" * COMMAND_BYTES_MAX}"}}', '{"a": 1e999}'):
        for name in ("subject", "source", "correlationid", "traceparent", "type"):
            command, _ = refusal(text(data, **{name: f'"a{flaw}b"'}))
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
    assert isinstance(decode(padded(COMMAND_BYTES_MAX + 1)[:-3] + b'\xff"}', "document.put"), Undecodable)
    assert isinstance(decode(padded(COMMAND_BYTES_MAX + 1).replace(b'"id"', b'"ID"'), "document.put"), Undecodable)


# The content hash.


def hash_of(body: bytes) -> bytes:
    return answered(body).content_hash


def test_content_hash_is_that_of_type_subject_and_data_as_the_contract_writes_them() -> None:
    data: Json = {"expected_generation": None, "body": {"é": 1.0, "b": [True, None], "a": 2**63 - 1}}
    content = (
        '["document.put","d",{"body":{"a":9223372036854775807,"b":[true,null],"é":1.0},"expected_generation":null}]'
    )
    assert hash_of(json_bytes(message(data=data))) == hashlib.sha256(content.encode()).digest()


def test_order_white_space_and_the_rest_of_the_envelope_do_not_matter_to_the_content_hash() -> None:
    one = text('{"expected_generation": null, "body": {"a": 1, "b": "\\u00e9"}}')
    two = text(
        '{ "body":{"b" : "é","a":1},\n"expected_generation":null}', source='"/x"', attempt="2", id=f'"{new_id()}"'
    )
    assert hash_of(one) == hash_of(two)


def test_1_and_1_0_are_other_content() -> None:
    bodies = ['{"a": 1}', '{"a": 1.0}', '{"a": true}', '{"a": "1"}', '{"a": [1]}', "{}", '{"a": null}']
    hashes = {hash_of(text(f'{{"expected_generation": null, "body": {body}}}')) for body in bodies}
    assert len(hashes) == len(bodies)


def test_content_is_hashed_before_defaults() -> None:
    create: Json = {"name": "n", "template": {}}
    commands = [received(envelope("stack.create", ID, create | more)) for more in ({}, {"disable_rollback": True})]
    assert commands[0].data == commands[1].data
    assert commands[0].content_hash != commands[1].content_hash


def test_refused_commands_have_their_content_hash_too() -> None:
    members = message(data={"unknown": 1})
    content = b'["document.put","d",{"unknown":1}]'
    assert refusal(json_bytes(members))[0].content_hash == hashlib.sha256(content).digest()
    flawed = text('{"a": NaN}')
    assert refusal(flawed)[0].content_hash == hashlib.sha256(flawed).digest()
