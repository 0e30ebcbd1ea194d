"""Properties that a stranger has written badly are read as well as they can be, and the next ones as they are."""

from typing import Any

from pamqp import encode
from pamqp.commands import Basic
from pamqp.frame import marshal, unmarshal
from pamqp.header import ContentHeader

from genlock.consumers.tolerance import NO_TIME, tolerate


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
