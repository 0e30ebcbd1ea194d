"""Reads, answered from the primary. One statement makes each answer, so an answer is one snapshot."""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from genlock.schemas.base import GENERATION_MAX, JsonObject, Kind
from genlock.schemas.catalogue import STATES, SUBJECTS
from genlock.schemas.codes import Code
from genlock.schemas.queries import Filters, RecordHistory
from genlock.service.database.statements import statement
from genlock.service.database.transactions import NEVER_S, Pool, await_standby
from genlock.service.deciding.kind import Kinds
from genlock.service.reading.answers import (
    ANSWER_BYTES_MAX,
    Answer,
    InvalidCursorError,
    LargeAnswerError,
    QueryError,
    Read,
    check_size,
    page,
)

__all__ = ["Answer", "QueryError", "Read", "Reads", "reads_of"]

Reads = Mapping[str, Read]
"""By the type of the query."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """The read of outcomes, of the commands on one kind of record or, without a kind, of all."""

    kind: Kind | None = None

    async def __call__(
        self, pool: Pool, subject: str, _filters: Filters, *, bytes_max: int = ANSWER_BYTES_MAX
    ) -> Answer:
        command_id = SUBJECTS["stack"].validate_python(subject)
        async with pool.acquire() as connection:
            event = await connection.fetchval(statement("get_outcome"), command_id, self.kind)
            if event is None:
                # The same for a command of another kind: whether there is one is not told either.
                of = f"on a {self.kind} " if self.kind else ""
                return QueryError.of(Code.NOT_FOUND, f"No command {subject} {of}is decided.", ("subject",))
            if len(event) > bytes_max:
                raise LargeAnswerError
            await await_standby(connection, NEVER_S)
        return {"record": json.loads(event)}


async def list_changes(
    pool: Pool, subject: str, filters: RecordHistory, *, bytes_max: int = ANSWER_BYTES_MAX
) -> Answer:
    record_id = SUBJECTS[filters.kind].validate_python(subject)
    after = _sequence(filters.after)
    rows = await pool.fetch(statement("list_changes"), filters.kind, record_id, after, filters.limit + 1)
    if not rows and not after:
        message = f"There never was a {filters.kind} {subject}."
        return QueryError.of(Code.NOT_FOUND, message, ("subject",), kind=filters.kind, id=subject)
    check_size(rows, bytes_max)
    changes = [
        {
            "sequence": row["sequence"],
            "token": _token(filters.kind, row["token"]),
            "command_id": str(row["command_id"]),
            "type": row["command_type"],
            "source": row["command_source"],
            "time": row["decided_at"],
            **({} if row["command_user"] is None else {"user": row["command_user"]}),
        }
        for row in rows
    ]
    return page(changes, filters.limit, by="sequence")


def _token(kind: Kind, text: str) -> JsonObject:
    """A token as the history stores it, in the form of its kind."""
    guarded_by_traversal = "traversal" in STATES[kind].model_fields
    return {"traversal": text} if guarded_by_traversal else {"generation": int(text)}


def _sequence(cursor: str | None) -> int:
    """Parse the sequence after which a page of a history starts. Raises InvalidCursorError."""
    if cursor is None:
        return 0
    if not (cursor.isascii() and cursor.isdecimal()) or int(cursor) > GENERATION_MAX:
        raise InvalidCursorError
    return int(cursor)


def reads_of(kinds: Kinds) -> Reads:
    """All reads: those of the kinds, and those that belong to no single kind."""
    outcomes = {f"{kind.kind}.outcome": Outcomes(kind.kind) for kind in kinds.all}
    return {**kinds.reads, **outcomes, "command.get": Outcomes(), "record.history": list_changes}
