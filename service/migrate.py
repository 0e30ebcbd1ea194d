"""Versioned SQL migrations. When several replicas start at once, one migrates, and the others wait and find it done."""

from dataclasses import dataclass
from importlib import resources

from genlock.service.connecting import LoneConnection, connect, looking

LOCK_KEY = 0x67656E6C6F636B
"""The advisory lock that one migrating process holds ("genlock" in ASCII)."""

HISTORY = """
CREATE TABLE IF NOT EXISTS schema_versions (
    version     integer PRIMARY KEY,
    name        text NOT NULL,
    applied_at  timestamptz NOT NULL DEFAULT clock_timestamp()
)
"""


class SchemaError(Exception):
    """The database's schema is not the one of this program; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    version: int
    name: str
    sql: str


def migrations() -> list[Migration]:
    """All migrations, oldest first. A file is named `0001_what_it_does.sql`."""
    files = [file for file in resources.files("genlock.service.migrations").iterdir() if file.name.endswith(".sql")]
    found = []
    for file in sorted(files, key=lambda file: file.name):
        version, _, name = file.name.removesuffix(".sql").partition("_")
        found.append(Migration(int(version), name, file.read_text()))
    return found


async def migrate(database_url: str) -> list[Migration]:
    """Bring the schema up to date, each migration in a transaction of its own; return those that were applied.

    Raises SchemaError where the database is newer than this program, and asyncpg's errors.
    """
    connection = await connect(database_url)
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        await connection.execute(HISTORY)
        current = await _version(connection)
        _refuse_newer(current)
        applied = []
        for migration in migrations():
            if migration.version > current:
                async with connection.transaction():
                    await connection.execute(migration.sql)
                    await connection.execute(
                        "INSERT INTO schema_versions (version, name) VALUES ($1, $2)", migration.version, migration.name
                    )
                applied.append(migration)
        return applied
    finally:
        await connection.close()


async def check_schema(database_url: str) -> None:
    """Raise SchemaError unless the schema is the one of this program."""
    async with looking(database_url) as connection:
        current = await _version(connection)
    _refuse_newer(current)
    if current < migrations()[-1].version:
        raise SchemaError(
            f"The database has schema version {current}, this program needs {migrations()[-1].version}: "
            "run genlock migrate."
        )


async def _version(connection: LoneConnection) -> int:
    """The newest version that was applied, 0 in an empty database."""
    if await connection.fetchval("SELECT to_regclass('schema_versions')") is None:
        return 0
    version: int = await connection.fetchval("SELECT coalesce(max(version), 0) FROM schema_versions")
    return version


def _refuse_newer(current: int) -> None:
    newest = migrations()[-1].version
    if current > newest:
        raise SchemaError(
            f"The database has schema version {current}, this program knows {newest} at most: run a newer genlock."
        )
