"""The CloudEvents 1.0 envelope of commands and queries."""

import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.types import AwareDatetime

from genlock.schemas.base import GENERATION_MAX, UUID_PATTERN, JsonObject, NullIsAbsent, Uuid
from genlock.schemas.media_types import MEDIA_TYPE_CHARACTERS_MAX, media_type

DATA_CONTENT_TYPE = "application/json"

SOURCE_BYTES_MAX = 255
CORRELATION_BYTES_MAX = 255

_UUID = re.compile(UUID_PATTERN)
_RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", re.IGNORECASE)
# RFC 3986, section 4.1, as far as characters go: no spaces, no quotes, no control characters, percent escapes whole.
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2}|[^\x00-\x7f])+")


def _rfc3339(value: Any) -> datetime:
    if not isinstance(value, str) or not _RFC3339.fullmatch(value):
        raise ValueError("must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z")
    return datetime.fromisoformat(value.upper())


def _uri_reference(value: str) -> str:
    if not _URI_REFERENCE.fullmatch(value):
        raise ValueError("must be a URI reference")
    return value


def _json_in_utf_8(value: str) -> str:
    declared = media_type(value)
    if len(value) > MEDIA_TYPE_CHARACTERS_MAX or declared.name != DATA_CONTENT_TYPE or not declared.is_utf_8:
        raise ValueError(f"must be {DATA_CONTENT_TYPE}, in UTF-8 if it names a charset")
    return value


def _at_most(limit: int) -> AfterValidator:
    def check(value: str) -> str:
        if len(value.encode()) > limit:
            raise ValueError(f"must be at most {limit} bytes of UTF-8")
        return value

    return AfterValidator(check)


Source = Annotated[str, Field(min_length=1), _at_most(SOURCE_BYTES_MAX), AfterValidator(_uri_reference)]
CorrelationId = Annotated[str, Field(min_length=1), _at_most(CORRELATION_BYTES_MAX)]
Time = Annotated[AwareDatetime, BeforeValidator(_rfc3339)]
DataContentType = Annotated[
    str,
    AfterValidator(_json_in_utf_8),
    Field(description=f"{DATA_CONTENT_TYPE} in any case, with or without parameters.", examples=[DATA_CONTENT_TYPE]),
]


class Envelope(BaseModel):
    """What a publisher sends around its `data`. Null is as good as absent; what is not listed here is ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    specversion: Literal["1.0"]
    id: Uuid
    source: Source
    type: Annotated[str, Field(min_length=1)]
    subject: str | None = None
    time: Time | None = None
    correlationid: CorrelationId | None = None
    causationid: Annotated[str, Field(min_length=1), _at_most(CORRELATION_BYTES_MAX)] | None = None
    attempt: NullIsAbsent[Annotated[int, Field(ge=1, le=GENERATION_MAX)]] = 1
    traceparent: str | None = None
    tracestate: str | None = None
    datacontenttype: DataContentType | None = None
    dataschema: str | None = None
    data: NullIsAbsent[JsonObject] = {}


def read_id(members: Any) -> str | None:
    """The lower-cased UUID that a parsed message has as its id, or None."""
    match members:
        case {"id": str() as text} if _UUID.fullmatch(text):
            return text.lower()
        case _:
            return None
