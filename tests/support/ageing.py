"""Lets everything that was decided have been decided earlier."""

# ruff: noqa: S608 - no statement has any input

from datetime import timedelta

from tests.support.database import Connection

RECORDS = ("documents", "stacks", "providers", "consumers")


def statements(span: str) -> list[str]:
    """Statements that move all times back by an interval, written as SQL: of batches, of the history, of makers.

    The history is without hashes then, as an older version writes it.
    """
    shifted = f"to_char(({{}}::timestamptz - {span}) AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
    return [
        f"UPDATE batches SET decided_at = decided_at - {span}",
        f"UPDATE changes SET row_hash = NULL, decided_at = {shifted.format('decided_at')}",
        *(f"UPDATE {table} SET maker_time = {shifted.format('maker_time')}" for table in RECORDS),
    ]


async def age(owner: Connection, days: float) -> None:
    """Move all times back by some days."""
    for statement in statements("$1::interval"):
        await owner.execute(statement, timedelta(days=days))
