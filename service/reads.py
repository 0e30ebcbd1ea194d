"""Reads, answered from the primary. Each is one statement, so that it is one snapshot."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from genlock.schemas.base import GENERATION_MAX, JsonObject, Kind
from genlock.schemas.catalogue import SUBJECTS
from genlock.schemas.codes import Code
from genlock.schemas.queries import Filters, NoFilters, ProviderList, RecordHistory, StackList
from genlock.service.database import Pool
from genlock.service.inventories import parse as parse_inventories
from genlock.service.records import Provider, Record
from genlock.service.sql import statement
from genlock.service.tables import TABLES


@dataclass(frozen=True, slots=True)
class QueryError:
    """Why a query has no answer."""

    code: Code
    message: str


Answer = JsonObject | QueryError
Read = Callable[[Pool, str, Any], Awaitable[Answer]]


async def get_document(pool: Pool, subject: str, _filters: NoFilters) -> Answer:
    return await _get(pool, "document", "get_document", subject)


async def get_provider(pool: Pool, subject: str, _filters: NoFilters) -> Answer:
    row = await pool.fetchrow(statement("get_provider"), SUBJECTS["provider"].validate_python(subject))
    if row is None:
        return QueryError(Code.NOT_FOUND, f"There is no provider {subject}.")
    provider = _provider(row)
    return {"record": provider.state(), "sequence": provider.sequence}


async def list_providers(pool: Pool, _subject: str, filters: ProviderList) -> Answer:
    rows = await pool.fetch(
        statement("list_providers"),
        filters.name,
        filters.in_tree,
        [filters.member_of] if filters.member_of else None,
        filters.required or None,
        SUBJECTS["provider"].validate_python(filters.after) if filters.after else None,
        filters.limit + 1,
    )
    return _page([_provider(row) for row in rows], filters.limit)


def _provider(row: Any) -> Provider:
    """A provider with what only reads ask the database for."""
    inventories = parse_inventories(row["inventories"])
    provider: Provider = replace(_RECORDS["provider"](row), root_id=str(row["root_id"]), inventories=inventories)
    return provider


async def get_stack(pool: Pool, subject: str, _filters: NoFilters) -> Answer:
    return await _get(pool, "stack", "get_stack", subject)


async def list_stacks(pool: Pool, _subject: str, filters: StackList) -> Answer:
    after = SUBJECTS["stack"].validate_python(filters.after) if filters.after else None
    rows = await pool.fetch(
        statement("list_stacks"), filters.name, filters.action, filters.status, after, filters.limit + 1
    )
    return _page([_RECORDS["stack"](row) for row in rows], filters.limit)


def _page(records: Sequence[Record], limit: int) -> JsonObject:
    """At most `limit` records, and where the next page starts if there was one more."""
    page = records[:limit]
    following = page[-1].id if len(records) > limit else None
    return {"records": [record.summary() for record in page], "next": following}


async def get_outcome(pool: Pool, subject: str, _filters: NoFilters) -> Answer:
    command_id = SUBJECTS["stack"].validate_python(subject)
    event = await pool.fetchval(statement("get_outcome"), command_id)
    if event is None:
        return QueryError(Code.NOT_FOUND, f"No command {subject} is decided.")
    return {"record": json.loads(event)}


async def list_changes(pool: Pool, subject: str, filters: RecordHistory) -> Answer:
    record_id = SUBJECTS[filters.kind].validate_python(subject)
    after = _sequence(filters.after)
    rows = await pool.fetch(statement("list_changes"), filters.kind, record_id, after, filters.limit + 1)
    if not rows and not after:
        return QueryError(Code.NOT_FOUND, f"There never was a {filters.kind} {subject}.")
    changes = [
        {
            "sequence": row["sequence"],
            "token": {"traversal": row["token"]} if filters.kind == "stack" else {"generation": int(row["token"])},
            "command_id": str(row["command_id"]),
            "type": row["command_type"],
            "source": row["command_source"],
            "time": row["decided_at"],
        }
        for row in rows[: filters.limit]
    ]
    following = str(changes[-1]["sequence"]) if len(rows) > filters.limit else None
    return {"records": changes, "next": following}


def _sequence(cursor: str | None) -> int:
    """The sequence after which a page of a history starts. Raises ValueError."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal()) or int(cursor) > GENERATION_MAX:
        raise ValueError("after: is not the next of any page")
    return int(cursor)


READS: Mapping[str, Read] = {
    "provider.get": get_provider,
    "provider.list": list_providers,
    "document.get": get_document,
    "stack.get": get_stack,
    "stack.list": list_stacks,
    "command.get": get_outcome,
    "record.history": list_changes,
}

_RECORDS: Mapping[str, Callable[[Any], Any]] = {table.kind: table.record for table in TABLES}


async def read(pool: Pool, query: str, subject: str, filters: Filters) -> Answer:
    """Answer the query `query` of the catalogue.

    Raises ValueError for a subject or cursor that cannot be one, and asyncpg's errors.
    """
    return await READS[query](pool, subject, filters)


async def _get(pool: Pool, kind: Kind, name: str, subject: str) -> Answer:
    record_id = SUBJECTS[kind].validate_python(subject)
    row = await pool.fetchrow(statement(name), record_id)
    if row is None:
        return QueryError(Code.NOT_FOUND, f"There is no {kind} {subject}.")
    record: Record = _RECORDS[kind](row)
    return {"record": record.state(), "sequence": record.sequence}
