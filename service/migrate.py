"""Versioned SQL migrations, made beside replicas at work; of several that migrate at once one does it.

A migration says with which programs it goes: the line `-- compatible since 7` promises that every program which knows
migration 7 can run on the schema that it leaves. Without such a line no older program can (docs/upgrading.md).
"""

import asyncio
import re
from dataclasses import dataclass
from importlib import resources

import asyncpg
import structlog

from genlock.service.connecting import LoneConnection, connect, looking

LOCK_KEY = 0x67656E6C6F636B
"""The advisory lock that one migrating process holds ("genlock" in ASCII)."""

LOCK_TIMEOUT_S = 0.5
"""How long a migration waits for a table, and batches wait behind it. Less than PostgreSQL's deadlock_timeout, so that
in a deadlock it is the migration that gives way."""

LOCK_TRIES_MAX = 100
LOCK_PAUSE_S = 2.0
"""Between two tries, in which the batches that had to wait are decided. All tries together take some four minutes."""

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


class SchemaError(Exception):
    """The database's schema is not the one of this program; the message says what to do."""


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
    files = [file for file in resources.files("genlock.service.migrations").iterdir() if file.name.endswith(".sql")]
    found = []
    for file in sorted(files, key=lambda file: file.name):
        version, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(version), name, file.read_text()))
    return found


async def migrate(database_url: str, service_role: str = "") -> list[Migration]:
    """Bring the schema up to date, each migration in a transaction of its own; return those that were applied.

    `service_role` is whom the rights of the service are granted to, each time anew; by default nobody, for a service
    that connects as the owner. Raises SchemaError where the database is too new for this program, or where somebody
    keeps a table locked; and asyncpg's errors.
    """
    connection = await connect(database_url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        await connection.execute(HISTORY)
        current = await _version(connection)
        await _refuse_incompatible(connection, current)
        applied = [migration for migration in migrations() if migration.version > current]
        for migration in applied:
            await _apply(connection, migration)
        # What a newer program has granted is more than this one knows of.
        if service_role and current <= migrations()[-1].version:
            await _grant(connection, service_role)
        return applied
    finally:
        await connection.close()


async def _apply(connection: LoneConnection, migration: Migration) -> None:
    """Apply a migration, which gives way to the batches of replicas, and tries again."""
    for tried in range(LOCK_TRIES_MAX):
        try:
            async with connection.transaction():
                await connection.execute("SELECT set_config('lock_timeout', $1, true)", f"{LOCK_TIMEOUT_S * 1000:.0f}")
                await connection.execute(migration.sql)
                await connection.execute(RECORD, migration.version, migration.name, migration.compatible_since)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if not tried:
                log.warning("waiting for a table", action="migrate", migration=migration.version, why=str(error))
            await asyncio.sleep(LOCK_PAUSE_S)
        else:
            return
    raise SchemaError(
        f"Migration {migration.version:04} could not be made, because somebody keeps a table locked. Look for "
        "long transactions in pg_stat_activity, such as those of a backup or of genlock verify, and try again."
    )


async def _grant(connection: LoneConnection, service_role: str) -> None:
    """Grant a role what the service needs, and take from it whatever else it had."""
    names = await connection.fetchrow("SELECT current_database(), current_schema()")
    assert names is not None  # noqa: S101 - a SELECT without a table has one row
    variables = {"DBNAME": names[0], "schema": names[1], "service": service_role}
    script = resources.files("genlock.service").joinpath("grants.sql").read_text()
    for name, value in variables.items():
        # As psql does it.
        script = script.replace(f':"{name}"', '"{}"'.format(value.replace('"', '""')))
    async with connection.transaction():
        await connection.execute(script)


async def check_schema(database_url: str) -> None:
    """Raise SchemaError unless this program can run on the schema."""
    async with looking(database_url) as connection:
        current = await _version(connection)
        await _refuse_incompatible(connection, current)
    newest = migrations()[-1].version
    if current < newest:
        raise SchemaError(
            f"The database has schema version {current}, this program needs {newest}: run genlock migrate."
        )
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
