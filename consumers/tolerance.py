"""Properties of messages that a stranger has written badly must not end our connection.

pamqp raises on a time past the year 9999 and on text that is no UTF-8, within aiormq's reader. The connection is
closed then, and everything that it held comes back with one more return counted. So such a property is read as well
as it can be.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from pamqp import decode

LENGTH_BYTES = 4
TIMESTAMP_BYTES = 8
SHORT_TEXT_BYTES_MAX = 255
NO_TIME = datetime.fromtimestamp(0, tz=UTC)

Decode = Callable[[bytes], tuple[int, Any]]

_timestamp: Decode = decode.timestamp
_table: Decode = decode.field_table


def tolerate() -> None:
    """Read bad properties from now on. It may be called again."""
    decode.METHODS.update(timestamp=_any_timestamp, shortstr=_any_short_text, table=_any_table)
    decode.TABLE_MAPPING[b"T"] = _any_timestamp


def _any_timestamp(value: bytes) -> tuple[int, datetime]:
    try:
        return _timestamp(value)
    except (ValueError, OverflowError, OSError):
        return TIMESTAMP_BYTES, NO_TIME


def _any_short_text(value: bytes) -> tuple[int, str]:
    length = value[0]
    text = value[1 : length + 1].decode(errors="replace")
    # A replacement has three bytes, and where this text is repeated to others it has to be a short one again.
    return length + 1, text.encode()[:SHORT_TEXT_BYTES_MAX].decode(errors="ignore")


def _any_table(value: bytes) -> tuple[int, Any]:
    try:
        return _table(value)
    except (ValueError, OverflowError, OSError, LookupError):
        return LENGTH_BYTES + int.from_bytes(value[:LENGTH_BYTES], "big"), {}
