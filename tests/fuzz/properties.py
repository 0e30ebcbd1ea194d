"""Routing keys and properties of messages: mostly as they should be, and every type of value that the protocol has."""

import struct
from typing import Literal

from hypothesis import strategies as st

from tests.fuzz.wire import long, short, table

ODD_TEXTS = (b"", b"\xff" * 255, b"x" * 255, "é😀".encode() * 40, b"\x00", b"\xed\xa0\x80", b"#", b"*.*", b"\r\n")

short_texts = st.sampled_from(ODD_TEXTS) | st.binary(max_size=40) | st.text(max_size=20).map(str.encode)
timestamps = st.sampled_from((0, 1, 2**31, 2**32, 2**33, 1_795_000_000_000_000, 2**63 - 1, 2**63, 2**64 - 1))

_NAMES = st.sampled_from(
    (b"subject", b"x-delivery-count", b"x-death", b"x-genlock-reason", b"x", b"k" * 200, b"\xff", "é".encode(), b"")
)
"""Names of headers. CC and BCC are the broker's, which closes the channel where they are not lists of texts."""


def _floats(width: Literal[32, 64]) -> st.SearchStrategy[float]:
    """Numbers alone: of anything else the broker itself makes an internal error."""
    return st.floats(width=width, allow_nan=False, allow_infinity=False)


_SCALARS = st.one_of(
    st.sampled_from((b"t\x00", b"t\x01", b"t\x07", b"V")),
    st.binary(min_size=1, max_size=1).map(lambda data: b"b" + data),
    st.binary(min_size=1, max_size=1).map(lambda data: b"B" + data),
    st.binary(min_size=2, max_size=2).map(lambda data: b"s" + data),
    st.binary(min_size=2, max_size=2).map(lambda data: b"u" + data),
    st.binary(min_size=4, max_size=4).map(lambda data: b"I" + data),
    st.binary(min_size=4, max_size=4).map(lambda data: b"i" + data),
    st.binary(min_size=8, max_size=8).map(lambda data: b"l" + data),
    st.sampled_from((0, 1, 3, 100, 2**31)).map(lambda count: b"l" + struct.pack(">q", count)),
    _floats(32).map(lambda value: b"f" + struct.pack(">f", value)),
    _floats(64).map(lambda value: b"d" + struct.pack(">d", value)),
    st.binary(min_size=5, max_size=5).map(lambda data: b"D" + data),
    timestamps.map(lambda moment: b"T" + struct.pack(">Q", moment)),
    (st.binary(max_size=30) | short_texts).map(lambda data: b"S" + long(data)),
    st.binary(max_size=30).map(lambda data: b"x" + long(data)),
)


def _arrays(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(values, max_size=4).map(lambda items: b"A" + long(b"".join(items)))


def _tables(values: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.lists(st.tuples(_NAMES, values), max_size=4).map(lambda fields: b"F" + table(fields))


def nested(levels: int) -> bytes:
    """Arrays within arrays."""
    value = b"V"
    for _ in range(levels):
        value = b"A" + long(value)
    return value


values = st.one_of(
    st.recursive(_SCALARS, lambda inner: _arrays(inner) | _tables(inner), max_leaves=6),
    st.sampled_from((1, 100, 400, 1_000, 5_000)).map(nested),
    st.just(b"A" + long(b"V" * 10_000)),
)
CONTENT_TYPES = (
    b"application/json",
    b"Application/CloudEvents+JSON; charset=UTF-8",
    b"application/cloudevents+json; charset=utf-16",
)
headers = st.lists(st.tuples(_NAMES | st.binary(max_size=20), values), max_size=4)
"""Fields of the headers: names and values."""


def octets(*values: int) -> st.SearchStrategy[bytes]:
    return st.sampled_from([bytes([value]) for value in values])


def properties(replies: str, namespace: str) -> dict[str, st.SearchStrategy[bytes]]:
    """A strategy for each property besides headers; replies may go to a queue that there is.

    An expiration that is no number, and a user that is not the connection's, the broker refuses by itself.
    """
    names = (
        *(*(replies,) * 6, "unknown", "amq.gen-unknown", namespace, f"{namespace}.inbox", f"{namespace}.dead"),
        *("amq.rabbitmq.reply-to.", "amq.rabbitmq.reply-to.unknown"),
    )
    return {
        "content_type": st.sampled_from(CONTENT_TYPES).map(short) | short_texts.map(short),
        "content_encoding": st.sampled_from((b"utf-8", b"gzip")).map(short) | short_texts.map(short),
        "delivery_mode": octets(1, 2),
        "priority": octets(0, 1, 9, 255),
        "correlation_id": short_texts.map(short),
        "reply_to": st.sampled_from([*(name.encode() for name in names), b"\xff" * 255]).map(short),
        "expiration": st.sampled_from((b"0", b"1", b"50", b"60000", b"4294967295")).map(short),
        "message_id": short_texts.map(short),
        "timestamp": timestamps.map(lambda moment: struct.pack(">Q", moment)),
        "message_type": short_texts.map(short),
        "app_id": short_texts.map(short),
        "cluster_id": short_texts.map(short),
    }
