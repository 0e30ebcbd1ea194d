"""`genlock verify`: compares records, history and ledger. It only reads, in one snapshot for each record kind.

The header of each check states what it proves: a lost or doubled update shows as a missing or surplus change, and what
was changed by hand does not fit its hash, which stands on the row itself. Hashes do not withstand an author who writes
them anew, and rows of versions before these hashes have none.

It runs beside a live service and on tables of any size: PostgreSQL does the work and returns only violations.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

import asyncpg

from genlock.service.database import statements
from genlock.service.database.connecting import LoneConnection, connect, short_connection
from genlock.service.deciding.kind import Kinds

SHARED_CHECKS = (
    "applied_once",
    "names_held",
    "ledger_verdicts",
    "changes_kept",
    "changes_made",
    "changes_recorded",
    "events_told",
    "ledger_rows",
    "batch_rows",
    "batches_confirmed",
    "suspects_left",
    "outbox_batches",
    "waiting_kept",
)
"""The checks that belong to no single kind."""

SETTINGS = {
    "application_name": "genlock verify",
    # A check of a large table may take any time, whatever the role's settings are.
    "statement_timeout": "0",
}


@dataclass(frozen=True, slots=True)
class Violation:
    """A record that breaks a claim."""

    record: str
    found: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A finished check. `violations` holds at most the first ten; empty means that the claim holds."""

    claim: str
    seconds: float
    violations: tuple[Violation, ...]


@dataclass(frozen=True, slots=True)
class Begun:
    """A running check, the `number`-th of `count`."""

    number: int
    count: int
    claim: str


def ignore(_begun: Begun) -> None:
    """Ignore the start of a check."""


def checks_of(kinds: Kinds) -> tuple[tuple[str, ...], ...]:
    """Statements in the folders `checks`. Those in one tuple share a snapshot, and `now()` is its time."""
    return (*(kind.checks for kind in kinds.all), SHARED_CHECKS)


async def verify(database_url: str, kinds: Kinds, begun: Callable[[Begun], None] = ignore) -> AsyncIterator[Checked]:
    """Run all checks in turn. `begun` is called at each start; each result is yielded. Raises asyncpg's errors."""
    connection = await connect(database_url, server_settings=SETTINGS)
    checks = checks_of(kinds)
    number, count = 0, sum(map(len, checks))
    try:
        for names in checks:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                for name in names:
                    number += 1
                    check = statements.check(name)
                    begun(Begun(number, count, _claim(check)))
                    yield await run_check(connection, check)
    finally:
        await connection.close()


async def remembered_since(database_url: str) -> datetime | None:
    """The time since when the ledger is complete: it holds every command decided later. None if it has no batch.

    Of older commands only the changes are left, and their proof begins with the first change of each record. Call it
    after `verify`: a purge during the checks moves the time forward. Raises asyncpg's errors.
    """
    async with short_connection(database_url) as connection:
        since: datetime | None = await connection.fetchval(statements.statement("find_oldest_batch"))
        return since


async def run_check(connection: LoneConnection, check: str) -> Checked:
    """Run one check in the connection's transaction. A value that the check cannot read is a violation."""
    began = monotonic()
    try:
        async with connection.transaction():
            rows = await connection.fetch(check)
    except asyncpg.DataError as error:
        violations: tuple[Violation, ...] = (Violation("a value that cannot be read", str(error)),)
    else:
        violations = tuple(Violation(row["record"], row["found"]) for row in rows)
    return Checked(_claim(check), monotonic() - began, violations)


def _claim(check: str) -> str:
    """The header of the statement as one line."""
    header = []
    for line in check.splitlines():
        if not line.startswith("--"):
            break
        header.append(line.removeprefix("--").strip())
    return " ".join(header)
