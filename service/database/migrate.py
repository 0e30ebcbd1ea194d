"""Versioned SQL migrations, applied while replicas run. If several processes migrate at once, one does the work.

A migration declares which programs are compatible: the line `-- compatible since 7` promises that every program which
knows migration 7 can run on the resulting schema. Without such a line no older program can (docs/upgrading.md).
"""

import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from importlib import resources
from typing import TypeVar

import asyncpg
import structlog

from genlock.service.database.connecting import LoneConnection, connect, short_connection
from genlock.service.database.lock_waits import START_PATIENCE_S, TELL_EVERY_S, patiently, unless_locked
from genlock.service.database.search_paths import (
    SchemaError,
    check_found_by,
    check_home,
    check_together,
    look_up_schema,
    not_found,
    quoted,
)
from genlock.service.database.soundness import check_encoding, check_tables

__all__ = ["Migration", "SchemaError", "check_schema", "migrate", "migrations"]

T = TypeVar("T")

LOCK_KEY = 0x67656E6C6F636B
"""The advisory lock that one migrating process holds ("genlock" in ASCII)."""

LOCK_TIMEOUT_S = 0.5
"""How long a migration waits for a table, while batches queue behind it. It is less than PostgreSQL's
deadlock_timeout: in a deadlock the migration gives way."""

LOCK_TIMEOUT_MAX_MS = 2**31 - 1
"""The maximum of PostgreSQL, 24 days. A longer wait is repeated."""

LOCK_PAUSE_S = 2.0
"""The pause between two attempts, in which waiting batches are decided."""

WAIT_S = 240.0
"""How long to wait for another process that migrates, and for the tables of each migration."""

SETTINGS = {
    "application_name": "genlock migrate",
    # The lock of a lost machine is released after a minute instead of hours.
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}

# A migration may take any time, whatever the role's settings are. Not every version of PostgreSQL has all of these.
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
    -- Older tables lack the column. Not unconditionally: ALTER TABLE needs a lock that a running backup blocks.
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
        """The oldest program that can run on the resulting schema, as the newest migration that the program knows."""
        told = COMPATIBLE_SINCE.search(self.sql)
        return int(told[1]) if told else self.version


@dataclass(frozen=True, slots=True)
class LockPatience:
    """How a migration waits for locks, in seconds: at a time, between two tries, and between two lines of the log."""

    timeout_s: float = LOCK_TIMEOUT_S
    pause_s: float = LOCK_PAUSE_S
    tell_every_s: float = TELL_EVERY_S


PATIENCE = LockPatience()


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


async def migrate(
    database_url: str, service_role: str = "", wait_s: float = WAIT_S, patience: LockPatience = PATIENCE
) -> list[Migration]:
    """Apply the missing migrations, each in a transaction of its own, and return them.

    `service_role` is the role that gets the privileges of the service, at each call anew. It is empty if the service
    connects as the owner. Raises SchemaError if the database is too new for this program, the service would not find
    the tables, or the promises would not hold on them; LockedError if a lock is held for longer than `wait_s` seconds;
    PoolerError, and asyncpg's errors.
    """
    async with _connected(database_url) as keeper, _connected(database_url) as connection:
        await check_encoding(connection)
        await _keep_lock(keeper, connection, wait_s, patience)
        work = _Work(connection, keeper, wait_s, patience)
        place = await look_up_schema(connection)
        await check_home(connection, place, service_role)
        if others := [schema for schema in place.sets_in if schema != place.home]:
            log.warning("another set of tables", action="migrate", schema=place.home, others=others)
        # All tables are created and found in one schema, whatever else the path names.
        await connection.execute(f"SET search_path = {quoted(place.home)}")
        await work.do("The migration", lambda: connection.execute(HISTORY))
        current = await work.do("The migration", lambda: _version(connection))
        await _refuse_incompatible(connection, current)
        applied = [migration for migration in migrations() if migration.version > current]
        for migration in applied:
            await work.apply(migration)
        # A newer program may have granted more than this one knows of.
        if service_role and current <= migrations()[-1].version:
            script = await _grants(connection, service_role)
            await work.do("Granting", lambda: connection.execute(script))
        if service_role:
            await check_found_by(connection, place, service_role)
        await work.do("Checking the tables", lambda: check_tables(connection))
        return applied


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[LoneConnection]:
    connection = await connect(url, server_settings=SETTINGS)
    try:
        await connection.execute(NO_TIMEOUTS)
        yield connection
    finally:
        await connection.close()


async def _keep_lock(keeper: LoneConnection, observer: LoneConnection, wait_s: float, patience: LockPatience) -> None:
    """Take the migration lock, in a transaction that stays open until the keeper is closed.

    The lock ends with the connection in any case: a pooler may keep a session and its session-level locks for other
    clients, but never an open transaction.
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
    await patiently(
        attempt,
        what=what,
        waiting=keeper,
        observer=observer,
        wait_s=wait_s,
        pause_s=0,
        tell_every_s=patience.tell_every_s,
    )


async def _set_lock_timeout(connection: LoneConnection, seconds: float) -> None:
    milliseconds = min(seconds * 1000, LOCK_TIMEOUT_MAX_MS)
    await connection.execute("SELECT set_config('lock_timeout', $1, true)", f"{milliseconds:.0f}")


@dataclass(frozen=True, slots=True)
class _Work:
    """Transactions that give way to the batches of replicas and are repeated."""

    connection: LoneConnection
    keeper: LoneConnection
    wait_s: float
    patience: LockPatience

    async def do(self, what: str, work: Callable[[], Awaitable[T]]) -> T:
        """Run work in a transaction, repeatedly until it gets its locks. Raises LockedError."""

        async def attempt(left_s: float) -> T:
            async with self.connection.transaction():
                await _set_lock_timeout(self.connection, min(self.patience.timeout_s, left_s))
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
            pause_s=self.patience.pause_s,
            tell_every_s=self.patience.tell_every_s,
        )

    async def apply(self, migration: Migration) -> None:
        """Apply a migration."""

        async def apply() -> None:
            await self.connection.execute(migration.sql)
            await self.connection.execute(RECORD, migration.version, migration.name, migration.compatible_since)

        await self.do(f"Migration {migration.version:04}", apply)


async def _grants(connection: LoneConnection, service_role: str) -> str:
    """The script that grants a role the privileges of the service and revokes all others."""
    names = await connection.fetchrow("SELECT current_database(), current_schema()")
    assert names is not None  # noqa: S101 - a SELECT without a table has one row
    variables = {"DBNAME": names[0], "schema": names[1], "service": service_role}
    script = resources.files("genlock.service.database").joinpath("grants.sql").read_text()
    for name, value in variables.items():
        # psql substitutes variables in the same way.
        script = script.replace(f':"{name}"', quoted(value))
    return script


async def check_schema(database_url: str, patience_s: float = START_PATIENCE_S) -> None:
    """Raise SchemaError unless this program finds the schema and can run on it.

    Raises LockedError if the tables are locked for longer than `patience_s`.
    """
    async with short_connection(database_url) as connection:
        place = await look_up_schema(connection)
        newest = migrations()[-1].version
        if place.found_in is None:
            raise SchemaError(not_found(place, newest))
        try:
            current = await unless_locked(
                database_url, connection, _version(connection), "Reading schema_versions", patience_s
            )
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
    """Raise SchemaError if the schema needs a newer program."""
    newest = migrations()[-1].version
    if current <= newest:
        return
    needed = await connection.fetchval("SELECT max(coalesce(compatible_since, version)) FROM schema_versions")
    if newest < needed:
        raise SchemaError(
            f"The database has schema version {current}, which needs a program that knows {needed}; this one knows "
            f"{newest} at most: run a newer genlock."
        )
