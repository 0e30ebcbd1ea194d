"""Versioned SQL migrations, made beside replicas at work; of several that migrate at once one does it.

A migration says with which programs it goes: the line `-- compatible since 7` promises that every program which knows
migration 7 can run on the schema that it leaves. Without such a line no older program can (docs/upgrading.md).
"""

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import TypeVar

import asyncpg
import structlog

from genlock.service.database.connecting import LoneConnection, connect, looking
from genlock.service.database.lock_waits import patiently, unless_locked
from genlock.service.database.search_paths import (
    SchemaError,
    check_found_by,
    check_home,
    check_together,
    look_around,
    not_found,
    quoted,
)

__all__ = ["Migration", "SchemaError", "check_schema", "migrate", "migrations"]

T = TypeVar("T")

LOCK_KEY = 0x67656E6C6F636B
"""The advisory lock that one migrating process holds ("genlock" in ASCII)."""

LOCK_TIMEOUT_S = 0.5
"""How long a migration waits for a table, and batches wait behind it. Less than PostgreSQL's deadlock_timeout, so that
in a deadlock it is the migration that gives way."""

LOCK_TIMEOUT_MAX_MS = 2**31 - 1
"""The longest that PostgreSQL takes, 24 days. Who waits for longer than that is tried again."""

LOCK_PAUSE_S = 2.0
"""Between two tries, in which the batches that had to wait are decided."""

WAIT_S = 240.0
"""How long is waited for another process that migrates, and for the tables of each migration."""

SETTINGS = {
    "application_name": "genlock migrate",
    # A process whose machine is lost keeps its lock for a minute, and not for hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

# However long a migration takes, and whatever the role is set to. Not every version of PostgreSQL has all of them.
NO_TIMEOUTS = """
SELECT set_config(name, '0', false) FROM pg_settings
WHERE name IN (
    'statement_timeout', 'lock_timeout', 'transaction_timeout', 'idle_in_transaction_session_timeout',
    'idle_session_timeout'
)
"""

HISTORY = """
CREATE TABLE IF NOT EXISTS schema_versions (
    version           integer PRIMARY KEY,
    name              text NOT NULL,
    applied_at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    compatible_since  integer                               -- null where no older program can run on it
);
DO $$ BEGIN
    -- Tables of before have no such column. Only then: it takes a lock for which a backup would have to end.
    IF NOT EXISTS (
        SELECT FROM pg_attribute
        WHERE attrelid = 'schema_versions'::regclass AND attname = 'compatible_since'
    ) THEN
        ALTER TABLE schema_versions ADD COLUMN compatible_since integer;
    END IF;
END $$
"""

RECORD = "INSERT INTO schema_versions (version, name, compatible_since) VALUES ($1, $2, $3)"

COMPATIBLE_SINCE = re.compile(r"^-- compatible since (\d+)$", re.MULTILINE)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str

    @property
    def compatible_since(self) -> int:
        """The oldest program that can run on the schema which this leaves, by the newest migration that it knows."""
        told = COMPATIBLE_SINCE.search(self.sql)
        return int(told[1]) if told else self.version


def migrations() -> list[Migration]:
    """All migrations, oldest first. A file is named `0001_what_it_does.sql`."""
    files = [
        file for file in resources.files("genlock.service.database.migrations").iterdir() if file.name.endswith(".sql")
    ]
    found = []
    for file in sorted(files, key=lambda file: file.name):
        version, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(version), name, file.read_text()))
    return found


async def migrate(database_url: str, service_role: str = "", wait_s: float = WAIT_S) -> list[Migration]:
    """Bring the schema up to date, each migration in a transaction of its own; return those that were applied.

    `service_role` is whom the rights of the service are granted to, each time anew; by default nobody, for a service
    that connects as the owner. Raises SchemaError where the database is too new for this program, or where the service
    would not find the tables; LockedError where a lock is held for longer than `wait_s` seconds; PoolerError; and
    asyncpg's errors.
    """
    async with _connected(database_url) as keeper, _connected(database_url) as connection:
        await _keep_lock(keeper, connection, wait_s)
        work = _Work(connection, keeper, wait_s)
        place = await look_around(connection)
        await check_home(connection, place, service_role)
        if others := [schema for schema in place.sets_in if schema != place.home]:
            log.warning("another set of tables", action="migrate", schema=place.home, others=others)
        # Whatever else is in the path, all is made and found in one schema.
        await connection.execute(f"SET search_path = {quoted(place.home)}")
        await work.do("The migration", lambda: connection.execute(HISTORY))
        current = await work.do("The migration", lambda: _version(connection))
        await _refuse_incompatible(connection, current)
        applied = [migration for migration in migrations() if migration.version > current]
        for migration in applied:
            await work.apply(migration)
        # What a newer program has granted is more than this one knows of.
        if service_role and current <= migrations()[-1].version:
            script = await _grants(connection, service_role)
            await work.do("Granting", lambda: connection.execute(script))
        if service_role:
            await check_found_by(connection, place, service_role)
        return applied


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[LoneConnection]:
    connection = await connect(url, server_settings=SETTINGS)
    try:
        await connection.execute(NO_TIMEOUTS)
        yield connection
    finally:
        await connection.close()


async def _keep_lock(keeper: LoneConnection, observer: LoneConnection, wait_s: float) -> None:
    """Take the lock of those who migrate, in a transaction that stays open until the keeper is closed.

    So it ends with the connection whatever happens: a pooler may keep a session for others, with the locks that it
    holds by itself, but never an open transaction.
    """

    async def attempt(left_s: float) -> None:
        transaction = keeper.transaction()
        await transaction.start()
        try:
            await _set_lock_timeout(keeper, left_s)
            await keeper.execute("SELECT pg_advisory_xact_lock($1)", LOCK_KEY)
        except BaseException:
            await transaction.rollback()
            raise

    what = "This genlock migrate"
    await patiently(attempt, what=what, waiting=keeper, observer=observer, wait_s=wait_s, pause_s=0)


async def _set_lock_timeout(connection: LoneConnection, seconds: float) -> None:
    milliseconds = min(seconds * 1000, LOCK_TIMEOUT_MAX_MS)
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", f"{milliseconds:.0f}")


@dataclass(frozen=True, slots=True)
class _Work:
    """Transactions that give way to the batches of replicas, and are tried again."""

    connection: LoneConnection
    keeper: LoneConnection
    wait_s: float

    async def do(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Do something in a transaction. Raises LockedError."""

        async def attempt(left_s: float) -> T:
            async with self.connection.transaction():
                await _set_lock_timeout(self.connection, min(LOCK_TIMEOUT_S, left_s))
                done = await work()
                if self.keeper.is_closed():
                    raise SchemaError("The lock of genlock migrate was lost with its connection: run it again.")
                return done

        return await patiently(
            attempt,
            what=what,
            waiting=self.connection,
            observer=self.keeper,
            wait_s=self.wait_s,
            pause_s=LOCK_PAUSE_S,
        )

    async def apply(self, migration: Migration) -> None:
        """Apply a migration."""

        async def apply() -> None:
            await self.connection.execute(migration.sql)
            await self.connection.execute(RECORD, migration.version, migration.name, migration.compatible_since)

        await self.do(f"Migration {migration.version:04}", apply)


async def _grants(connection: LoneConnection, service_role: str) -> str:
    """The script that grants a role what the service needs, and takes from it whatever else it had."""
    names = await connection.fetchrow("SELECT current_database(), current_schema()")
    assert names is not None  # noqa: S101 - a SELECT without a table has one row
    variables = {"DBNAME": names[0], "schema": names[1], "service": service_role}
    script = resources.files("genlock.service.database").joinpath("grants.sql").read_text()
    for name, value in variables.items():
        # As psql does it.
        script = script.replace(f':"{name}"', quoted(value))
    return script


async def check_schema(database_url: str) -> None:
    """Raise SchemaError unless this program can run on the schema, and finds it.

    Raises LockedError where that cannot be seen now, because the tables are locked.
    """
    async with looking(database_url) as connection:
        place = await look_around(connection)
        newest = migrations()[-1].version
        if place.found_in is None:
            raise SchemaError(not_found(place, newest))
        try:
            current = await unless_locked(database_url, connection, _version(connection), "Reading schema_versions")
            await _refuse_incompatible(connection, current)
        except asyncpg.InsufficientPrivilegeError as error:
            raise SchemaError(
                f"Role {quoted(place.role)} may not read Genlock's tables in schema {quoted(place.home)} of database "
                f"{quoted(place.database)}: run genlock migrate with GENLOCK_SERVICE_ROLE={place.role}."
            ) from error
        if current < newest:
            raise SchemaError(
                f"The database has schema version {current}, this program needs {newest}: run genlock migrate."
            )
        await check_together(connection, place)
    if current > newest:
        log.info("newer schema, and compatible", action="start", schema=current, known=newest)


async def _version(connection: LoneConnection) -> int:
    """The newest version that was applied, 0 in an empty database."""
    if await connection.fetchval("SELECT to_regclass('schema_versions')") is None:
        return 0
    version: int = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_versions")
    return version


async def _refuse_incompatible(connection: LoneConnection, current: int) -> None:
    """Raise SchemaError where the schema is newer than this program, and asks for a newer one."""
    newest = migrations()[-1].version
    if current <= newest:
        return
    needed = await connection.fetchval("SELECT max(coalesce(compatible_since, version)) FROM schema_versions")
    if newest < needed:
        raise SchemaError(
            f"The database has schema version {current}, which needs a program that knows {needed}; this one knows "
            f"{newest} at most: run a newer genlock."
        )
