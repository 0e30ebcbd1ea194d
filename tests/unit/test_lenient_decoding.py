"""Malformed properties are read as well as possible, and the properties after them as they are."""

from typing import Any

from pamqp import decode, encode
from pamqp.commands import Basic
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader

from genlock.consumers.amqp.lenient_decoding import _SIZES, NO_TIME, tolerate


def read(frame: bytes) -> Basic.Properties:
    tolerate()
    _, _, header = unmarshal(frame)
    assert isinstance(header, ContentHeader)
    return header.properties


def written(**properties: Any) -> bytes:
    return marshal(ContentHeader(body_size=1, properties=Basic.Properties(**properties)), 1)


def test_text_that_is_no_utf_8_is_read_with_a_replacement_and_what_follows_it_too() -> None:
    frame = written(correlation_id="wrong", message_id="right").replace(b"wrong", b"wr\xffng")
    properties = read(frame)
    assert (properties.correlation_id, properties.message_id) == ("wr\ufffdng", "right")


def test_text_that_is_no_utf_8_is_short_enough_to_be_repeated() -> None:
    properties = read(written(correlation_id="w" * 255).replace(b"w" * 255, b"\xff" * 255))
    assert properties.correlation_id == "\ufffd" * 85
    assert read(written(correlation_id=properties.correlation_id)) == properties


def test_time_past_all_calendars_is_no_time_and_what_follows_it_is_read() -> None:
    frame = written(timestamp=NO_TIME, message_type="right")
    microseconds = encode.long_long_int(1_795_000_000_000_000)
    properties = read(frame.replace(encode.timestamp(NO_TIME), microseconds))
    assert (properties.timestamp, properties.message_type) == (NO_TIME, "right")


def test_headers_with_a_name_that_is_no_utf_8_are_none_and_what_follows_them_is_read() -> None:
    properties = read(written(headers={"wrong": "x"}, message_id="right").replace(b"wrong", b"wr\xffng"))
    assert (properties.headers or {}, properties.message_id) in (({}, "right"), ({"wr\ufffdng": "x"}, "right"))


def headers(*fields: tuple[bytes, bytes]) -> dict[str, Any]:
    """Read headers whose values are the letter of a type and its bytes."""
    data = b"".join(bytes([len(name)]) + name + value for name, value in fields)
    raw = len(data).to_bytes(4) + data
    frame = written(headers={"x": True}, message_id="right")
    table = encode.field_table({"x": True})
    size = len(frame) - 8 - len(table) + len(raw)
    frame = frame[:3] + size.to_bytes(4) + frame[7:].replace(table, raw)
    properties = read(frame)
    assert properties.message_id == "right"
    return dict(properties.headers or {})


LARGE = 10_000


def listed(data: bytes) -> bytes:
    return b"A" + len(data).to_bytes(4) + data


def test_each_header_is_read_by_itself_where_one_is_bad() -> None:
    nested = b"V"
    for _ in range(5_000):
        nested = listed(nested)
    read_headers = headers(
        (b"deep", nested),
        (b"long", listed(b"V" * LARGE)),
        (b"text", b"S" + LARGE.to_bytes(4) + b"x" * LARGE),
        (b"wr\xffng", b"t\x01"),
        (b"bytes", b"S\x00\x00\x00\x01\xff"),
        (b"x-delivery-count", b"l" + (7).to_bytes(8)),
        (b"small", listed(b"t\x01V")),
        *((bytes([letter]), bytes([letter]) + b"\0" * size) for letter, size in _SIZES.items()),
    )
    assert read_headers["deep"] == f"{5 * 5_000 + 1} bytes that were not read"
    assert read_headers["long"] == f"{LARGE + 5} bytes that were not read"
    assert read_headers["text"] == "x" * LARGE
    assert read_headers["wr\ufffdng"] is True
    assert read_headers["bytes"] == b"\xff"
    assert read_headers["x-delivery-count"] == 7
    assert read_headers["small"] == [True, None]
    assert {chr(letter) for letter in _SIZES} <= read_headers.keys()


def test_header_of_an_unknown_type_takes_none_before_it_away() -> None:
    assert headers((b"before", b"t\x01"), (b"unknown", b"?abcd"))["before"] is True


def test_every_type_of_header_that_pamqp_reads_has_its_size() -> None:
    lengths = {b"S", b"A", b"F", b"x"}
    assert {bytes([letter]) for letter in _SIZES} | lengths == decode.TABLE_MAPPING.keys()
