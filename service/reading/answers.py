"""Answers of reads: a record, a page of records, or an error."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import asyncpg
from pydantic import TypeAdapter, ValidationError

from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.codes import Code
from genlock.schemas.faults import Fault, Faults, Place
from genlock.service.database.transactions import Pool

ANSWER_BYTES_MAX = 12 * 2**20
"""RabbitMQ 4 takes 16 MiB unless told otherwise, and closes the channel over more."""


class LargeAnswerError(Exception):
    """The rows of an answer have more bytes than a read may take."""


@dataclass(frozen=True, slots=True)
class QueryError:
    """Why a query has no answer."""

    faults: Faults

    @classmethod
    def of(cls, code: Code, message: str, at: Place | None = None, **fields: Any) -> Self:
        """The error for one fault; `fields` are the others of a Fault."""
        return cls(Faults.of([Fault(code, message, at, **fields)]))

    @property
    def code(self) -> Code:
        return self.faults.code

    @property
    def message(self) -> str:
        return self.faults.message


class InvalidCursorError(ValueError):
    """The `after` of a query is not the `next` of any page."""

    def __init__(self) -> None:
        super().__init__("after: is not the next of any page")


Answer = JsonObject | QueryError


class Read(Protocol):
    """A read. It takes the pool, the subject, the filters, and how many bytes its rows may have.

    Raises ValueError for a subject or a cursor that cannot be one, LargeAnswerError, and asyncpg's errors.
    """

    async def __call__(self, pool: Pool, subject: str, filters: Any, /, *, bytes_max: int = ...) -> Answer: ...


def check_size(rows: Iterable[asyncpg.Record], bytes_max: int) -> None:
    """Raise LargeAnswerError if the values of rows have more bytes than that: what is made of them is larger by far.

    A statement of a list ends with the row that is too much, so that no more are read (list_providers.sql).
    """
    if sum(_size(value) for row in rows for value in row.values()) > bytes_max:
        raise LargeAnswerError


def _size(value: Any) -> int:
    """The characters of a text, or of the members of an array; other values are small."""
    if isinstance(value, str):
        return len(value)
    return sum(len(str(member)) for member in value) if isinstance(value, list) else 0


def not_found(kind: Kind, subject: str) -> QueryError:
    return QueryError.of(Code.NOT_FOUND, f"There is no {kind} {subject}.", ("subject",), kind=kind, id=subject)


def page(records: Sequence[JsonObject], limit: int, by: str = "id") -> JsonObject:
    """A page of at most `limit` records. If there are more, `next` is the field `by` of the page's last record."""
    shown = records[:limit]
    return {"records": shown, "next": str(shown[-1][by]) if len(records) > limit else None}


def start(adapter: TypeAdapter[str], cursor: str | None) -> str | None:
    """Parse the cursor after which a page starts; None for the first page. Raises InvalidCursorError."""
    try:
        return None if cursor is None else adapter.validate_python(cursor)
    except ValidationError as error:
        raise InvalidCursorError from error
