"""Holding records, history and ledger against one another. Reads only, in one snapshot for each record kind.

What is proved is what the header of each check says: an update that was lost or doubled shows as a gap or as a change
too many. What a record holds is not in the history, so that a body changed under its own generation does not show.

Works beside a live service and on tables of any size: PostgreSQL does the work, and only what is wrong comes back.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import datetime
from time import monotonic

from genlock.service.database import statements
from genlock.service.database.connecting import LoneConnection, connect, looking
from genlock.service.kinds.registry import KINDS

CHECKS: tuple[tuple[str, ...], ...] = (
    *(kind.checks for kind in KINDS),
    ("applied_once", "names_held", "ledger_verdicts", "changes_made", "batches_confirmed"),
)
"""Statements in folders `checks`; those in one tuple share a snapshot, whose time is `now()` in all of them."""


SETTINGS = {
    "application_name": "genlock verify",
    # However long a check of a large table takes, and whatever the role is set to.
    "statement_timeout": "0",
}


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


@dataclass(frozen=True, slots=True)
class Begun:
    """A check that is being made, the `number`-th of `count`."""

    number: int
    count: int
    claim: str


def ignore(_begun: Begun) -> None:
    """Do nothing with the news that a check has begun."""


async def verify(database_url: str, begun: Callable[[Begun], None] = ignore) -> AsyncIterator[Checked]:
    """Make all checks, one after the other, and tell each as it begins and as it ends. Raises asyncpg's errors."""
    connection = await connect(database_url, server_settings=SETTINGS)
    number, count = 0, sum(map(len, CHECKS))
    try:
        for names in CHECKS:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                for name in names:
                    number += 1
                    check = statements.check(name)
                    begun(Begun(number, count, _claim(check)))
                    yield await _check(connection, check)
    finally:
        await connection.close()


async def remembered_since(database_url: str) -> datetime | None:
    """When the ledger's memory begins: every command that was decided later is in it. None where it has no batch.

    Of commands before that nothing is left but their changes, whose proof begins with the first of each record. Asked
    after `verify` it holds for what that has seen: what is forgotten meanwhile moves it on. Raises asyncpg's errors.
    """
    async with looking(database_url) as connection:
        since: datetime | None = await connection.fetchval(statements.statement("find_memory"))
        return since


async def _check(connection: LoneConnection, check: str) -> Checked:
    began = monotonic()
    rows = await connection.fetch(check)
    offences = tuple(Offence(row["record"], row["found"]) for row in rows)
    return Checked(_claim(check), monotonic() - began, offences)


def _claim(check: str) -> str:
    """What the statement's header says, as one line."""
    header = []
    for line in check.splitlines():
        if not line.startswith("--"):
            break
        header.append(line.removeprefix("--").strip())
    return " ".join(header)
