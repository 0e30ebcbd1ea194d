"""Proving from the tables that no update was lost or doubled. Reads only, in one snapshot for each record kind.

Works beside a live service and on tables of any size: PostgreSQL does the work, and only what is wrong comes back.
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from importlib import resources
from time import monotonic

import asyncpg

CHECKS: tuple[tuple[str, ...], ...] = (
    ("document_sequences",),
    ("provider_sequences", "provider_trees"),
    ("consumer_sequences", "consumers_allocated", "inventories_used", "capacity_kept"),
    ("stack_sequences", "stack_chains"),
    ("applied_once", "names_held", "ledger_verdicts", "changes_made", "batches_confirmed"),
)
"""Statements in genlock.service.checks; those in one tuple share a snapshot."""


@dataclass(frozen=True, slots=True)
class Offence:
    """A record that is not as it must be."""

    record: str
    found: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A check that has ended. `offences` holds at most the first ten; empty is well."""

    claim: str
    seconds: float
    offences: tuple[Offence, ...]


async def verify(database_url: str) -> AsyncIterator[Checked]:
    """Make all checks, one after the other, and tell each as it ends. Raises asyncpg's errors."""
    connection = await asyncpg.connect(database_url, server_settings={"application_name": "genlock verify"})
    try:
        for names in CHECKS:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                for name in names:
                    yield await _check(connection, name)
    finally:
        await connection.close()


async def _check(connection: "asyncpg.Connection[asyncpg.Record]", name: str) -> Checked:
    statement = resources.files("genlock.service.checks").joinpath(f"{name}.sql").read_text()
    began = monotonic()
    rows = await connection.fetch(statement)
    offences = tuple(Offence(row["record"], row["found"]) for row in rows)
    return Checked(_claim(statement), monotonic() - began, offences)


def _claim(statement: str) -> str:
    """What the statement's header says, as one line."""
    header = []
    for line in statement.splitlines():
        if not line.startswith("--"):
            break
        header.append(line.removeprefix("--").strip())
    return " ".join(header)
