"""Reads, answered from the primary. Each answer is that of one statement, so that it is one snapshot."""

import json
from collections.abc import Callable, Mapping
from typing import Any

from genlock.schemas.base import GENERATION_MAX, Kind
from genlock.schemas.catalogue import SUBJECTS
from genlock.schemas.codes import Code
from genlock.schemas.queries import Filters, NoFilters, RecordHistory, StackList
from genlock.service.answers import Answer, QueryError, Read, not_found, page, start
from genlock.service.consumer_reads import get_consumer, list_project_usages
from genlock.service.database import NEVER_S, Pool, await_standby
from genlock.service.provider_reads import (
    get_provider,
    list_provider_allocations,
    list_provider_usages,
    list_providers,
)
from genlock.service.records import Record
from genlock.service.sql import statement
from genlock.service.tables import TABLES

__all__ = ["Answer", "QueryError", "read"]


async def get_document(pool: Pool, subject: str, _filters: NoFilters) -> Answer:
    return await _get(pool, "document", "get_document", subject)


async def get_stack(pool: Pool, subject: str, _filters: NoFilters) -> Answer:
    return await _get(pool, "stack", "get_stack", subject)


async def list_stacks(pool: Pool, _subject: str, filters: StackList) -> Answer:
    after = start(SUBJECTS["stack"], filters.after)
    rows = await pool.fetch(
        statement("list_stacks"), filters.name, filters.action, filters.status, after, filters.limit + 1
    )
    return page([_RECORDS["stack"](row).summary() for row in rows], filters.limit)


async def get_outcome(pool: Pool, subject: str, _filters: NoFilters) -> Answer:
    command_id = SUBJECTS["stack"].validate_python(subject)
    async with pool.acquire() as connection:
        event = await connection.fetchval(statement("get_outcome"), command_id)
        if event is None:
            return QueryError(Code.NOT_FOUND, f"No command {subject} is decided.")
        await await_standby(connection, NEVER_S)
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
        for row in rows
    ]
    return page(changes, filters.limit, by="sequence")


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
    "provider.allocations": list_provider_allocations,
    "provider.usages": list_provider_usages,
    "consumer.get": get_consumer,
    "project.usages": list_project_usages,
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
        return not_found(kind, subject)
    record: Record = _RECORDS[kind](row)
    return {"record": record.state(), "sequence": record.sequence}
