"""PgBouncer in front of PostgreSQL: one that keeps sessions works, and one that does not is refused in a sentence."""

import asyncio
import contextlib

import asyncpg
import pytest

from genlock.servers import Role
from genlock.service.database.connecting import connect
from genlock.service.database.migrate import LOCK_KEY, check_schema, migrate, migrations
from genlock.service.database.poolers import PoolerError
from genlock.service.database.transactions import DECIDING_PLANS, DatabaseTroubleError, acquired, open_pool
from genlock.service.database.verify import verify
from genlock.service.kinds.registry import KINDS
from tests.support.database import Connection
from tests.support.deciders import decider_on, deciding_pool
from tests.support.factories import new_id, put
from tests.support.harness import outcomes
from tests.support.pooler import Mode, Pooling
from tests.support.proxy import proxied

REFUSAL = r"does not keep sessions.* name PostgreSQL itself there, or a pooler in session mode\.$"

NO_SESSIONS: list[tuple[Mode, str]] = [
    ("transaction", ""),
    ("statement", ""),
    # The idle session that was used longest ago is lent first, not the last one.
    ("transaction", "server_round_robin = 1"),
    # Nothing that a session was set to outlives a transaction.
    ("transaction", "server_reset_query_always = 1"),
    # What PostgreSQL is asked for at the start of a connection is passed over in silence.
    ("transaction", "ignore_startup_parameters = statement_timeout,enable_seqscan,synchronous_commit"),
    # There is one session for all.
    ("transaction", "default_pool_size = 1"),
]

WITHOUT_RESET = "server_reset_query ="


async def locks(look: Connection) -> int:
    """How many sessions hold the lock of migrations, or wait for it."""
    count: int = await look.fetchval(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = database "
        "WHERE datname = current_database() AND locktype = 'advisory' AND (classid::bigint << 32 | objid::bigint) = $1",
        LOCK_KEY,
    )
    return count


@pytest.mark.parametrize("options", NO_SESSIONS, ids=" ".join)
async def test_migrating_through_a_pooler_that_keeps_no_sessions_is_refused_and_leaves_no_lock(
    pooling: Pooling, owner_url: str, second: Connection, options: tuple[Mode, str]
) -> None:
    pooler = pooling(*options)
    with pytest.raises(PoolerError, match=REFUSAL):
        await migrate(pooler.at(owner_url))
    assert await locks(second) == 0
    assert await migrate(owner_url) == []


async def test_every_other_part_refuses_such_a_pooler_too(pooling: Pooling, database_url: str) -> None:
    pooler = pooling("transaction")
    with pytest.raises(PoolerError, match=REFUSAL):
        await check_schema(pooler.at(database_url))
    with pytest.raises(PoolerError, match=REFUSAL):
        await open_pool(pooler.at(database_url), size=2, timeout_s=10, plans=DECIDING_PLANS)
    with pytest.raises(PoolerError, match=REFUSAL):
        _ = [checked async for checked in verify(pooler.at(database_url), KINDS)]


@pytest.mark.parametrize("option", ["server_round_robin = 0", "server_round_robin = 1"])
async def test_pooler_that_keeps_no_sessions_is_refused_while_others_keep_it_busy(
    pooling: Pooling, database_url: str, option: str
) -> None:
    pooler = pooling("transaction", option)
    others = [await asyncpg.connect(pooler.at(database_url), statement_cache_size=0) for _ in range(6)]

    async def work(other: Connection) -> None:
        while True:
            # The session that had an end set for it may be the one that is lent.
            with contextlib.suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                await other.execute("SELECT pg_sleep(0.002)")
            await asyncio.sleep(0.001)

    working = [asyncio.create_task(work(other)) for other in others]
    try:
        for _ in range(3):
            with pytest.raises(PoolerError, match=REFUSAL):
                await connect(pooler.at(database_url))
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        for other in others:
            other.terminate()


async def test_pooler_that_keeps_no_sessions_is_refused_with_many_idle_sessions_behind_it(
    pooling: Pooling, database_url: str
) -> None:
    pooler = pooling("transaction")
    others = [await asyncpg.connect(pooler.at(database_url), statement_cache_size=0) for _ in range(5)]
    await asyncio.gather(*(other.execute("SELECT pg_sleep(0.2)") for other in others))
    with pytest.raises(PoolerError, match=REFUSAL):
        await connect(pooler.at(database_url))
    for other in others:
        await other.close()


@pytest.mark.parametrize("option", ["server_reset_query = DISCARD ALL", WITHOUT_RESET])
async def test_pooler_in_session_mode_works(pooling: Pooling, empty_url: str, service_role: Role, option: str) -> None:
    pooler = pooling("session", option)
    service_url = pooler.at(service_role.at(empty_url))
    assert await migrate(pooler.at(empty_url), service_role.name) == migrations()
    assert await migrate(pooler.at(empty_url), service_role.name) == []
    await check_schema(service_url)
    async with deciding_pool(service_url, 3) as pool:
        decider = decider_on(pool)
        assert outcomes(await decider.decide([put(new_id(), None)]))[0].type == "document.put.succeeded"
        async with acquired(pool, 20) as connection:
            for name, value in DECIDING_PLANS.items():
                assert await connection.fetchval("SELECT current_setting($1)", name) == value
            # What the experiment has set belongs to a session that has ended.
            assert await connection.fetchval("SELECT current_setting('idle_session_timeout')") == "0"
    assert all([not checked.violations async for checked in verify(service_url, KINDS)])


async def test_direct_connection_is_not_taken_for_pooled_and_is_given_its_settings(database_url: str) -> None:
    async with proxied(database_url) as proxy:
        connection = await connect(proxy.url, server_settings={"application_name": "o'clock", "enable_seqscan": "off"})
        told = connection.get_server_pid()
        assert await connection.fetchval("SELECT pg_backend_pid()") == told
        for name, value in {"application_name": "o'clock", "enable_seqscan": "off"}.items():
            assert await connection.fetchval("SELECT current_setting($1)", name) == value
        await connection.close()


async def test_connection_of_later_that_leads_to_such_a_pooler_is_told_of_and_is_no_outage_alone(
    pooling: Pooling, database_url: str
) -> None:
    pooler = pooling("transaction")
    refusals: list[PoolerError] = []
    async with (
        proxied(database_url) as proxy,
        await open_pool(proxy.url, size=1, timeout_s=10, refused=refusals.append) as pool,
    ):
        proxy.lead_to(pooler.at(database_url))
        await pool.expire_connections()
        with pytest.raises(DatabaseTroubleError, match=REFUSAL):
            async with acquired(pool, 10):
                pass
    assert len(refusals) == 1
