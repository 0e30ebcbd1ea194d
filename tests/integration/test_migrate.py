"""Migrations: once each, however many replicas start at once, and a schema that is not this program's is refused."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from genlock.schemas.catalogue import COMMANDS
from genlock.service.database.lock_waits import LockedError
from genlock.service.database.migrate import (
    HISTORY,
    RECORD,
    LockPatience,
    SchemaError,
    check_schema,
    migrate,
    migrations,
)
from genlock.service.deciding.decide import Decider
from tests.support.database import Connection
from tests.support.factories import new_id, put
from tests.support.harness import outcomes, until_waiting
from tests.support.upgrades import NEWEST, next_migration, upgraded

SHAPE = """
SELECT table_name, column_name, data_type, is_nullable
FROM information_schema.columns
WHERE table_schema = 'public'
ORDER BY table_name, ordinal_position
"""


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


async def test_older_program_goes_with_a_newer_schema_that_says_so(empty_url: str) -> None:
    with upgraded(next_migration()):
        assert await migrate(empty_url) == [*migrations(), next_migration()]
    await check_schema(empty_url)
    assert await migrate(empty_url) == []


async def test_older_program_is_refused_by_a_newer_schema_that_says_nothing_or_asks_for_more(
    empty_url: str, look: Connection
) -> None:
    for asks in (None, NEWEST + 1):
        with upgraded(next_migration(compatible_since=asks)):
            await migrate(empty_url)
        with pytest.raises(SchemaError, match=f"needs a program that knows {NEWEST + 1}; .* run a newer genlock"):
            await check_schema(empty_url)
        await look.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")


async def test_what_one_migration_asks_for_stays_asked_for(empty_url: str, look: Connection) -> None:
    with upgraded(next_migration(compatible_since=None)):
        await migrate(empty_url)
    await look.execute(RECORD, NEWEST + 2, "a later one that asks for less", NEWEST)
    with pytest.raises(SchemaError, match=f"needs a program that knows {NEWEST + 1}"):
        await check_schema(empty_url)


async def test_command_types_of_the_schema_are_those_of_the_catalogue(empty_url: str, look: Connection) -> None:
    """So that an older replica can tell a newer type from a misspelt one."""
    await migrate(empty_url)
    rows = await look.fetch("SELECT name FROM command_types")
    assert {row["name"] for row in rows} == COMMANDS.keys()


async def test_batches_go_on_while_a_migration_waits_for_a_table(
    owner_url: str, decider: Decider, second: Connection
) -> None:
    with upgraded(next_migration()):
        async with second.transaction():
            # As a backup does for as long as it takes.
            await second.execute("LOCK TABLE documents IN ACCESS SHARE MODE")
            migrating = asyncio.create_task(migrate(owner_url, patience=LockPatience(pause_s=0.1)))
            for _ in range(3):
                await until_waiting(second, 1)
                answers = await decider.decide([put(new_id(), None)])
                assert outcomes(answers)[0].type == "document.put.succeeded"
            assert not migrating.done()
        assert await migrating == [next_migration()]
    assert outcomes(await decider.decide([put(new_id(), None)]))[0].type == "document.put.succeeded"


async def test_migration_that_waits_in_vain_says_so_and_leaves_nothing(owner_url: str, second: Connection) -> None:
    patience = LockPatience(timeout_s=0.01, pause_s=0.01)
    with upgraded(next_migration()):
        async with second.transaction():
            await second.execute("LOCK TABLE documents IN ACCESS SHARE MODE")
            with pytest.raises(LockedError, match=f"Migration {NEWEST + 1:04} waited 0.3 s"):
                await migrate(owner_url, wait_s=0.3, patience=patience)
        assert await second.fetchval("SELECT to_regclass('colours')") is None
        assert await migrate(owner_url) == [next_migration()]


async def test_schema_of_before_there_was_compatibility_is_migrated(empty_url: str, look: Connection) -> None:
    await migrate(empty_url)
    await look.execute("ALTER TABLE schema_versions DROP COLUMN compatible_since")
    with upgraded(next_migration()):
        assert await migrate(empty_url) == [next_migration()]
    await check_schema(empty_url)
