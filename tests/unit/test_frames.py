"""Frames of messages are read as pamqp reads them, only faster. Frames of any other form are left to pamqp."""

import struct
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from pamqp import exceptions, frame, header
from pamqp.commands import Basic

from genlock.consumers.amqp import frames, lenient_decoding

HEADER, METHOD = 2, 1

names = st.text(st.characters(codec="utf-8"), max_size=40).filter(lambda text: len(text.encode()) <= 255)
tables = st.dictionaries(
    names,
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=300),
        st.integers(-(2**63), 2**63 - 1),
        st.booleans(),
        st.none(),
        st.dictionaries(names, st.integers(0, 9), max_size=2),
    ),
    max_size=6,
)
texts = st.none() | names
times = st.none() | st.integers(0, 2**32).map(lambda seconds: datetime.fromtimestamp(seconds, tz=UTC))
properties = st.builds(
    Basic.Properties,
    content_type=texts,
    content_encoding=texts,
    headers=st.none() | tables,
    delivery_mode=st.sampled_from([None, 1, 2]),
    priority=st.none() | st.integers(0, 255),
    correlation_id=texts,
    reply_to=texts,
    expiration=texts,
    message_id=texts,
    timestamp=times,
    message_type=texts,
    user_id=texts,
    app_id=texts,
)


def shown(value: Any) -> Any:
    """What a frame says, in a form that can be compared: pamqp's methods have no equality."""
    if isinstance(value, header.ContentHeader):
        return value.body_size, dict(value.properties)
    return type(value), dict(value)


def by_pamqp(kind: int, payload: bytes) -> Any:
    lenient_decoding.tolerate()
    return frame.unmarshal(struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce")[2]


@example(Basic.Properties(headers={"": None}), 0)
@given(properties, st.integers(0, 2**40))
def test_a_header_is_read_as_pamqp_reads_it(given: Basic.Properties, body_size: int) -> None:
    payload = struct.pack(">HHQ", 60, 0, body_size) + given.marshal()
    assert shown(frames.content_header(payload)) == shown(by_pamqp(HEADER, payload))


@given(
    st.builds(
        Basic.Deliver,
        consumer_tag=names,
        delivery_tag=st.integers(0, 2**63 - 1),
        redelivered=st.booleans(),
        exchange=st.from_regex(r"[A-Za-z0-9.:_-]{0,127}", fullmatch=True),
        routing_key=names,
    )
)
def test_a_delivery_is_read_as_pamqp_reads_it(given: Basic.Deliver) -> None:
    payload = frames.DELIVER + given.marshal()
    assert shown(frames.deliver(payload)) == shown(by_pamqp(METHOD, payload)) == shown(given)


@given(properties, st.data())
def test_a_damaged_header_is_read_as_pamqp_reads_it_or_left_to_it(given: Basic.Properties, data: st.DataObject) -> None:
    payload = bytearray(struct.pack(">HHQ", 60, 0, 9) + given.marshal())
    for _ in range(data.draw(st.integers(1, 3))):
        payload[data.draw(st.integers(12, len(payload) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(payload[: data.draw(st.integers(12, len(payload)))])
    with suppress(ValueError, IndexError, struct.error):
        own = shown(frames.content_header(damaged))
        with suppress(exceptions.UnmarshalingException, struct.error, IndexError):
            assert own == shown(by_pamqp(HEADER, damaged))
