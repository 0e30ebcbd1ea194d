"""The CloudEvents 1.0 envelope of commands and queries."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.types import AwareDatetime

from genlock.schemas.base import GENERATION_MAX, UUID_PATTERN, JsonObject, NullIsAbsent, UnfitError, Uuid
from genlock.schemas.media_types import MEDIA_TYPE_CHARACTERS_MAX, media_type

DATA_CONTENT_TYPE = "application/json"

SOURCE_BYTES_MAX = 255
CORRELATION_BYTES_MAX = 255

_UUID = re.compile(UUID_PATTERN)
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:)(\d\d)((?:\.\d+)?(?:Z|[+-]\d\d:\d\d))", re.IGNORECASE)
# The characters of RFC 3986, section 4.1: no spaces, quotes or control characters, and complete percent escapes.
_URI_REFERENCE = re.compile(r"(?:[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=]|%[0-9A-Fa-f]{2}|[^\x00-\x7f])+")


def _rfc3339(value: Any) -> datetime:
    written = _RFC3339.fullmatch(value) if isinstance(value, str) else None
    if written is None:
        raise UnfitError("must be a time as in RFC 3339, such as 2026-01-31T12:00:00Z", format="date-time")
    minute, second, rest = written.groups()
    if second != "60":
        return datetime.fromisoformat(value.upper())
    before = datetime.fromisoformat(f"{minute}59{rest}".upper())
    if not _ends_month(before):
        raise UnfitError("has a leap second, and is not the end of a month in UTC", format="date-time")
    return before


def _ends_month(moment: datetime) -> bool:
    """Tell whether this is the last second of a month in UTC, behind which a leap second may come."""
    try:
        in_utc = moment.astimezone(UTC)
        return in_utc.month != (in_utc + timedelta(seconds=1)).month
    except OverflowError:
        return False


def _uri_reference(value: str) -> str:
    if not _URI_REFERENCE.fullmatch(value):
        raise UnfitError("must be a URI reference", format="uri-reference")
    return value


def _json_in_utf_8(value: str) -> str:
    declared = media_type(value)
    if len(value) > MEDIA_TYPE_CHARACTERS_MAX or declared.name != DATA_CONTENT_TYPE or not declared.is_utf_8:
        raise ValueError(f"must be {DATA_CONTENT_TYPE}, in UTF-8 if it names a charset")
    return value


def _at_most(limit: int) -> AfterValidator:
    def check(value: str) -> str:
        if len(value.encode()) > limit:
            raise UnfitError(f"must be at most {limit} bytes of UTF-8", max_bytes=limit)
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
    """What a publisher sends around its `data`. Null counts as absent; other attributes are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    specversion: Literal["1.0"]
    id: Annotated[Uuid, Field(description="The idempotency key. Version 7 is kindest to the database.")]
    source: Annotated[Source, Field(description="The publisher, as a URI reference.")]
    type: Annotated[str, Field(min_length=1, description="`<kind>.<verb>`, which is the routing key too.")]
    subject: Annotated[str, Field(description="The id of the record.")] | None = None
    time: Annotated[Time, Field(description="When the command was made, RFC 3339.")] | None = None
    correlationid: Annotated[CorrelationId, Field(description="Comes back in the outcome.")] | None = None
    causationid: (
        Annotated[
            str,
            Field(min_length=1, description="The id of what caused the command."),
            _at_most(CORRELATION_BYTES_MAX),
        ]
        | None
    ) = None
    attempt: NullIsAbsent[Annotated[int, Field(ge=1, le=GENERATION_MAX, description="Which try this one is.")]] = 1
    traceparent: Annotated[str, Field(description="W3C trace context.")] | None = None
    tracestate: Annotated[str, Field(description="W3C trace context.")] | None = None
    datacontenttype: DataContentType | None = None
    dataschema: str | None = None
    data: NullIsAbsent[Annotated[JsonObject, Field(description="By the type.")]] = {}


def read_id(members: Any) -> str | None:
    """The lower-cased UUID that a parsed message has as its id, or None."""
    match members:
        case {"id": str() as text} if _UUID.fullmatch(text):
            return text.lower()
        case _:
            return None
