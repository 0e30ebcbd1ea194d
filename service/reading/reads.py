"""Reads, answered from the primary. Each answer is that of one statement, so that it is one snapshot."""

import json
from collections.abc import Mapping

from genlock.schemas.base import GENERATION_MAX
from genlock.schemas.catalogue import SUBJECTS
from genlock.schemas.codes import Code
from genlock.schemas.queries import Filters, NoFilters, RecordHistory
from genlock.service.database.statements import statement
from genlock.service.database.transactions import NEVER_S, Pool, await_standby
from genlock.service.kinds.registry import KINDS
from genlock.service.reading.answers import Answer, QueryError, Read, page

__all__ = ["Answer", "QueryError", "read"]


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
    **{name: read for kind in KINDS for name, read in kind.reads.items()},
    "command.get": get_outcome,
    "record.history": list_changes,
}


async def read(pool: Pool, query: str, subject: str, filters: Filters) -> Answer:
    """Answer the query `query` of the catalogue.

    Raises ValueError for a subject or cursor that cannot be one, and asyncpg's errors.
    """
    return await READS[query](pool, subject, filters)
