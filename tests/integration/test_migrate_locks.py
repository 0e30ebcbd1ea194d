"""What a migration waits for: it says for whom, again and again, ends after a while, and leaves no lock behind."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import structlog
from pydantic import SecretStr

from genlock import servers as servers_module
from genlock.servers import Servers
from genlock.servers.local import LocalPostgres
from genlock.servers.programs import Programs
from genlock.service.database.lock_waits import LockedError
from genlock.service.database.migrate import LOCK_KEY, LockPatience, SchemaError, check_schema, migrate, migrations
from genlock.service.settings import Settings
from tests.support.command_line import genlock, start
from tests.support.database import Connection
from tests.support.harness import DEADLINE_S, until, until_waiting
from tests.support.pooler import Pooling
from tests.support.upgrades import next_migration, upgraded

HOLD = f"SELECT pg_advisory_xact_lock({LOCK_KEY})"

HOLDER = r'process {pid} \(application "a backup", role "\w+", .*, in a transaction since 20\d\d-[^ ]+Z\)'


@pytest.fixture
async def backup(empty_url: str) -> AsyncIterator[Connection]:
    """A connection that holds locks."""
    connection = await asyncpg.connect(empty_url, server_settings={"application_name": "a backup"})
    yield connection
    await connection.close()


HASTY = LockPatience(pause_s=0.05, tell_every_s=0.3)


def owned_by(settings: Settings, url: str) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(url)})


@pytest.mark.parametrize("wait_s", ["inf", "1e9"])
async def test_migration_may_wait_for_longer_than_postgresql_counts(
    settings: Settings, empty_url: str, wait_s: str
) -> None:
    ran = await genlock(owned_by(settings, empty_url), "migrate", GENLOCK_MIGRATE_WAIT_S=wait_s)
    assert ran.code == 0, ran.err


async def test_waiting_for_another_migration_names_its_holder_again_and_again_and_ends(
    empty_url: str, backup: Connection
) -> None:
    holder = HOLDER.format(pid=backup.get_server_pid())
    async with backup.transaction():
        await backup.execute(HOLD)
        with (
            structlog.testing.capture_logs() as logs,
            pytest.raises(LockedError, match=rf"waited 1 s \(GENLOCK_MIGRATE_WAIT_S\) for a lock held by {holder}"),
        ):
            await migrate(empty_url, wait_s=1, patience=HASTY)
    told = [line["held_by"] for line in logs if line["event"] == "waiting for a lock"]
    assert len(told) >= 2
    assert all("a backup" in line for line in told)
    assert await migrate(empty_url) == migrations()


async def test_command_line_names_the_holder_of_the_lock_and_how_to_end_it(
    settings: Settings, empty_url: str, backup: Connection
) -> None:
    async with backup.transaction():
        await backup.execute(HOLD)
        ran = await genlock(owned_by(settings, empty_url), "migrate", GENLOCK_MIGRATE_WAIT_S="1")
    assert ran.code == 1
    assert "waiting for a lock" in ran.err
    assert f"process {backup.get_server_pid()}" in ran.err.splitlines()[-1]
    assert "pg_terminate_backend" in ran.err.splitlines()[-1]


@pytest.mark.parametrize("lock", ["LOCK TABLE documents IN ACCESS SHARE MODE", "LOCK TABLE schema_versions"])
async def test_waiting_for_a_table_names_the_holder_and_ends(empty_url: str, backup: Connection, lock: str) -> None:
    await migrate(empty_url)
    with upgraded(next_migration()):
        async with backup.transaction():
            await backup.execute(lock)
            with pytest.raises(LockedError, match=HOLDER.format(pid=backup.get_server_pid())):
                await migrate(empty_url, wait_s=1, patience=HASTY)
        assert await backup.fetchval("SELECT to_regclass('colours')") is None
        assert await migrate(empty_url) == [next_migration()]


async def test_prepared_transaction_that_keeps_a_table_locked_is_named(programs: Programs) -> None:
    with LocalPostgres(programs, ["max_prepared_transactions=2"]) as postgres:
        await migrate(postgres.url)
        look = await asyncpg.connect(postgres.url)
        await look.execute("BEGIN; LOCK TABLE documents; PREPARE TRANSACTION 'left behind'")
        with (
            upgraded(next_migration()),
            pytest.raises(LockedError, match=r'the prepared transaction "left behind" .* ROLLBACK PREPARED ends it'),
        ):
            await migrate(postgres.url, wait_s=1, patience=HASTY)
        await look.close()


async def test_waiting_for_a_session_whose_details_are_hidden_says_what_is_shown(
    servers: Servers, empty_url: str, backup: Connection
) -> None:
    """PostgreSQL shows what the session of an administrator does to members of pg_read_all_stats alone."""
    async with servers_module.service_role(servers.database_url) as owner:
        name = await backup.fetchval("SELECT quote_ident(current_database())")
        await backup.execute(f"ALTER DATABASE {name} OWNER TO {owner.name}")
        async with backup.transaction():
            await backup.execute(HOLD)
            with pytest.raises(LockedError, match=rf'process {backup.get_server_pid()} \(application "a backup", '):
                await migrate(owner.at(empty_url), wait_s=0.5)
        await backup.execute(f"ALTER DATABASE {name} OWNER TO CURRENT_USER")


async def test_start_that_finds_the_tables_locked_names_the_holder(empty_url: str, backup: Connection) -> None:
    await migrate(empty_url)
    async with backup.transaction():
        await backup.execute("LOCK TABLE schema_versions")
        with pytest.raises(LockedError, match=HOLDER.format(pid=backup.get_server_pid())):
            await check_schema(empty_url, patience_s=0.2)
    await check_schema(empty_url)


async def test_timeouts_of_the_role_do_not_end_a_migration(servers: Servers) -> None:
    async with (
        servers_module.service_role(servers.database_url) as owner,
        servers_module.database(servers.database_url) as url,
    ):
        look = await asyncpg.connect(url)
        name = await look.fetchval("SELECT quote_ident(current_database())")
        await look.execute(f"ALTER DATABASE {name} OWNER TO {owner.name}")
        for timeout in ("statement_timeout", "idle_in_transaction_session_timeout", "lock_timeout"):
            await look.execute(f"ALTER ROLE {owner.name} SET {timeout} = '100ms'")
        slow = next_migration("SELECT pg_sleep(0.5)")
        with upgraded(slow):
            assert await migrate(owner.at(url)) == [*migrations(), slow]
        await look.close()


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pooled"])
async def test_migration_that_is_killed_leaves_no_lock_behind(
    settings: Settings, pooling: Pooling, empty_url: str, backup: Connection, pooled: bool
) -> None:
    """Also by way of a pooler that keeps the session as it was left, for the next client."""
    url = pooling("session", "server_reset_query =").at(empty_url) if pooled else empty_url
    await migrate(empty_url)
    async with backup.transaction():
        await backup.execute("LOCK TABLE schema_versions")
        started = await start(owned_by(settings, url), "migrate")
        await until_waiting(backup, 1)
        os.kill(started.pid, signal.SIGKILL)
        await started.communicate()
    assert await asyncio.wait_for(migrate(url), DEADLINE_S) == []


async def test_migration_whose_lock_is_lost_is_not_committed(empty_url: str, backup: Connection) -> None:
    await migrate(empty_url)
    marker = secrets.token_hex(4)
    waiting = next_migration(f"CREATE TABLE colours (); SELECT pg_advisory_xact_lock_shared(1), '{marker}'")

    async def ended() -> bool:
        return bool(
            await backup.fetchval(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
                "WHERE datname = current_database() AND locktype = 'advisory' AND granted "
                "AND (classid::bigint << 32 | objid::bigint) = $1",
                LOCK_KEY,
            )
        )

    with upgraded(waiting):
        await backup.execute("SELECT pg_advisory_lock(1)")
        migrating = asyncio.create_task(migrate(empty_url))
        await until_waiting(backup, 1)
        await until(ended)
        await backup.execute("SELECT pg_advisory_unlock(1)")
        lost: Any = (SchemaError, asyncpg.PostgresError, asyncpg.InterfaceError, OSError)
        with pytest.raises(lost):
            await migrating
    assert await backup.fetchval("SELECT to_regclass('colours')") is None
