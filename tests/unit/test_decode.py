"""Decoding: what can be read is answered, however bad it is; what cannot, or has no id, is a dead letter."""

import hashlib
import json
from typing import Any

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.decode import Refusal, Undecodable, decode, decode_bulk
from tests.support.decoding import (
    COMMAND_BYTES_MAX,
    DATA,
    ID,
    answered,
    code,
    echo,
    hash_of,
    message,
    nested,
    refusal,
    text,
)
from tests.support.factories import Json, envelope, json_bytes, new_id, received


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
    assert answered(json_bytes(message(id=ID.upper(), data=[]))).id == ID


# Bodies that cannot be read.


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
        text("[" * 100_000)[:-1],
    ],
    ids=lambda body: repr(body[:30]),
)
def test_body_that_is_no_utf_8_or_no_json_object_is_undecodable(body: bytes) -> None:
    undecodable = decode(body, "document.put")
    assert isinstance(undecodable, Undecodable)
    assert undecodable.reason


@pytest.mark.parametrize(
    "bad", [..., None, 7, True, "", "id", ID[:-1], ID + "0", f" {ID}", f"{ID}\n", f"{{{ID}}}", [ID]]
)
def test_command_without_a_uuid_as_its_id_is_undecodable(bad: Any) -> None:
    undecodable = decode(json_bytes(message(id=bad, correlationid="c", attempt="x")), "document.put")
    assert isinstance(undecodable, Undecodable)
    assert undecodable.reason == "no UUID as its id"
    known = {"specversion": "1.0", "source": "/tests", "type": "document.put", "subject": "d", "correlationid": "c"}
    assert undecodable.attributes == known


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
    ids=["valid", "refused", "invalid", "deep", "large"],
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


# JSON that can be read, but holds values that other languages or databases do not take.


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


@pytest.mark.parametrize("value", ["9223372036854775807", "-9223372036854775808", "1e308", "5e-324", r'"\ud83d\ude00"'])
def test_value_at_the_edge_of_what_can_be_kept_is_valid(value: str) -> None:
    command = answered(text(f'{{"expected_generation": null, "body": {{"a": {value}}}}}'))
    assert not isinstance(command.data, Refusal)


@pytest.mark.parametrize("value", ["1", "{}", '"x"', "[1]", "null", "true"])
def test_data_that_is_no_object_is_invalid_data(value: str) -> None:
    code_of = code(text(value))
    assert code_of is Code.INVALID_DATA


def test_content_hash_is_that_of_type_subject_and_data_as_the_contract_writes_them() -> None:
    data: Json = {"expected_generation": None, "body": {"é": 1.0, "b": [True, None], "a": 2**63 - 1}}
    content = (
        '["document.put","d",{"body":{"a":9223372036854775807,"b":[true,null],"é":1.0},"expected_generation":null}]'
    )
    assert hash_of(json_bytes(message(data=data))) == hashlib.sha256(content.encode()).digest()


def test_order_white_space_and_the_rest_of_the_envelope_do_not_matter_to_the_content_hash() -> None:
    one = text('{"expected_generation": null, "body": {"a": 1, "b": "\\u00e9"}}')
    two = text('{ "body":{"b" : "é","a":1},\n"expected_generation":null}', attempt="2").replace(
        ID.encode(), new_id().encode()
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
    invalid = text('{"a": NaN}')
    assert refusal(invalid)[0].content_hash == hashlib.sha256(invalid).digest()


def test_binary_data_are_refused_with_a_message_that_says_so() -> None:
    for members in (message(data=..., data_base64="eyJhIjogMX0="), message(data_base64="")):
        _, refused = refusal(json_bytes(members))
        assert refused.code is Code.INVALID_DATA
        assert [error.path for error in refused.errors] == ["data_base64"]
        assert "data_base64" in refused.message
    assert not isinstance(answered(json_bytes(message(data_base64=None))).data, Refusal)
