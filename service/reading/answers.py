"""What reads answer: a record, a page of records, or why there is neither."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.codes import Code
from genlock.service.database.transactions import Pool


@dataclass(frozen=True, slots=True)
class QueryError:
    """Why a query has no answer."""

    code: Code
    message: str


Answer = JsonObject | QueryError
Read = Callable[[Pool, str, Any], Awaitable[Answer]]


def not_found(kind: Kind, subject: str) -> QueryError:
    return QueryError(Code.NOT_FOUND, f"There is no {kind} {subject}.")


def page(records: Sequence[JsonObject], limit: int, by: str = "id") -> JsonObject:
    """At most `limit` records; if there was one more, `next` is the field `by` of the last, after which it comes."""
    shown = records[:limit]
    return {"records": shown, "next": str(shown[-1][by]) if len(records) > limit else None}


def start(adapter: TypeAdapter[str], cursor: str | None) -> str | None:
    """What a page starts after; None for the first. Raises ValueError."""
    try:
        return None if cursor is None else adapter.validate_python(cursor)
    except ValidationError as error:
        raise ValueError("after: is not the next of any page") from error
