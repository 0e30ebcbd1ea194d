"""A malformed property must not close our connection.

pamqp raises on a time past the year 9999, on text that is not UTF-8 and on lists in lists in lists, within aiormq's
reader. The connection is closed then, and everything that it held comes back with one more return counted. So such a
property is decoded leniently.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from pamqp import decode

LENGTH_BYTES = 4
TIMESTAMP_BYTES = 8
SHORT_TEXT_BYTES_MAX = 255
NO_TIME = datetime.fromtimestamp(0, tz=UTC)

NESTED_BYTES_MAX = 2 * 1024
"""Up to this size tables and lists are read: pamqp takes the square of it in time, and two calls for five bytes."""

Decode = Callable[[bytes], tuple[int, Any]]

UNREADABLE = (ValueError, ArithmeticError, OSError, LookupError, RecursionError)
"""What pamqp raises on a malformed value."""

_timestamp: Decode = decode.timestamp
_table: Decode = decode.field_table

_SIZES = {
    **dict.fromkeys(b"V\0", 0),
    **dict.fromkeys(b"tbB", 1),
    **dict.fromkeys(b"su", 2),
    **dict.fromkeys(b"Iif", 4),
    ord("D"): 5,
    **dict.fromkeys(b"lLdT", 8),
}
"""How many bytes follow the letter of a type. All others begin with their length."""


def tolerate() -> None:
    """Decode malformed properties from now on. May be called again."""
    decode.METHODS.update(timestamp=_any_timestamp, shortstr=_any_short_text, table=_any_table)
    decode.TABLE_MAPPING[b"T"] = _any_timestamp


def _any_timestamp(value: bytes) -> tuple[int, datetime]:
    try:
        return _timestamp(value)
    except UNREADABLE:
        return TIMESTAMP_BYTES, NO_TIME


def _any_short_text(value: bytes) -> tuple[int, str]:
    length = value[0]
    text = value[1 : length + 1].decode(errors="replace")
    # A replacement has three bytes, and where this text is repeated to others it has to be a short one again.
    return length + 1, text.encode()[:SHORT_TEXT_BYTES_MAX].decode(errors="ignore")


def _any_table(value: bytes) -> tuple[int, Any]:
    end = LENGTH_BYTES + int.from_bytes(value[:LENGTH_BYTES], "big")
    if end <= NESTED_BYTES_MAX:
        with suppress(*UNREADABLE):
            return _table(value)
    return end, _fields(value[LENGTH_BYTES:end])


def _fields(data: bytes) -> dict[str, Any]:
    """Read each field by itself, so that a malformed one does not spoil the others."""
    fields: dict[str, Any] = {}
    at = 0
    with suppress(*UNREADABLE):
        while at < len(data):
            value_at = at + 1 + data[at]
            name = data[at + 1 : value_at].decode(errors="replace")
            at = value_at + _size(data, value_at)
            fields[name] = _any_value(data[value_at:at])
    return fields


def _size(data: bytes, at: int) -> int:
    """How many bytes the value has that begins there with the letter of its type."""
    size = _SIZES.get(data[at])
    if size is None:
        size = LENGTH_BYTES + int.from_bytes(data[at + 1 : at + 1 + LENGTH_BYTES], "big")
    return 1 + size


def _any_value(data: bytes) -> Any:
    """The value, or in words that it was not read."""
    if data[:1] not in (b"A", b"F") or len(data) <= NESTED_BYTES_MAX:
        with suppress(*UNREADABLE):
            return decode.embedded_value(data)[1]
    return f"{len(data)} bytes that were not read"
