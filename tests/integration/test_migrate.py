"""Migrations: once each, however many replicas start at once, and a schema that is not this program's is refused."""

import asyncio
from collections.abc import AsyncIterator
from typing import TypeAlias

import asyncpg
import pytest

from genlock import servers as servers_module
from genlock.servers import Servers
from genlock.service.migrate import HISTORY, SchemaError, check_schema, migrate, migrations

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

SHAPE = """
SELECT table_name, column_name, data_type, is_nullable
FROM information_schema.columns
WHERE table_schema = 'public'
ORDER BY table_name, ordinal_position
"""


@pytest.fixture
async def empty_url(servers: Servers) -> AsyncIterator[str]:
    """The URL of a database without a schema."""
    async with servers_module.database(servers.database_url) as url:
        yield url


@pytest.fixture
async def look(empty_url: str) -> AsyncIterator[Connection]:
    """A connection to that database."""
    connection = await asyncpg.connect(empty_url)
    yield connection
    await connection.close()


def test_migrations_are_numbered_from_1_without_a_gap() -> None:
    assert [migration.version for migration in migrations()] == list(range(1, len(migrations()) + 1))


async def test_of_many_migrations_at_once_one_does_it(empty_url: str, look: Connection) -> None:
    applied = await asyncio.gather(*(migrate(empty_url) for _ in range(8)))
    assert sorted(map(len, applied)) == [0] * 7 + [len(migrations())]
    rows = await look.fetch("SELECT version, name FROM schema_versions ORDER BY version")
    assert [(row["version"], row["name"]) for row in rows] == [(step.version, step.name) for step in migrations()]


async def test_migrating_again_applies_nothing_and_changes_nothing(empty_url: str, look: Connection) -> None:
    assert await migrate(empty_url) == migrations()
    before = await look.fetch(SHAPE)
    assert await migrate(empty_url) == []
    assert await look.fetch(SHAPE) == before
    await check_schema(empty_url)


async def test_a_schema_of_an_older_program_is_brought_up_to_date(empty_url: str, look: Connection) -> None:
    """From each version that there ever was."""
    await migrate(empty_url)
    before = await look.fetch(SHAPE)
    for version in range(len(migrations())):
        await look.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        for migration in migrations()[:version]:
            await look.execute(migration.sql)
        await look.execute(HISTORY)
        await look.executemany(
            "INSERT INTO schema_versions (version, name) VALUES ($1, $2)",
            [(migration.version, migration.name) for migration in migrations()[:version]],
        )
        assert [applied.version for applied in await migrate(empty_url)] == list(
            range(version + 1, len(migrations()) + 1)
        )
        assert await look.fetch(SHAPE) == before


async def test_an_empty_database_is_told_to_be_migrated(empty_url: str) -> None:
    with pytest.raises(SchemaError, match=r"schema version 0, .* run genlock migrate"):
        await check_schema(empty_url)


async def test_a_newer_schema_is_refused_by_starts_and_by_migrations(empty_url: str, look: Connection) -> None:
    await migrate(empty_url)
    await look.execute("INSERT INTO schema_versions (version, name) VALUES (9999, 'of the future')")
    for refuse in (check_schema(empty_url), migrate(empty_url)):
        with pytest.raises(SchemaError, match="schema version 9999"):
            await refuse


async def test_a_migration_that_fails_leaves_nothing_and_the_next_try_can_work(
    empty_url: str, look: Connection
) -> None:
    await look.execute("CREATE TABLE changes (in_the_way integer)")
    with pytest.raises(asyncpg.DuplicateTableError):
        await migrate(empty_url)
    assert await look.fetchval("SELECT to_regclass('documents')") is None
    await look.execute("DROP TABLE changes")
    assert await migrate(empty_url) == migrations()
