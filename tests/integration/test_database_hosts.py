"""Connections to PostgreSQL: of several hosts the one that works is found, though another one is silent."""

import asyncio

import pytest

from genlock.service.database import DatabaseTroubleError, acquired, open_pool, transaction
from tests.proxy import joined, proxied


@pytest.mark.parametrize("silent_first", [True, False])
async def test_host_that_is_silent_does_not_keep_from_the_one_that_works(
    database_url: str, *, silent_first: bool
) -> None:
    async with proxied(database_url) as silent:
        silent.stall()
        hosts = (silent.url, database_url) if silent_first else (database_url, silent.url)
        async with await open_pool(joined(*hosts), size=2, timeout_s=1.0) as pool:
            assert await pool.fetchval("SELECT 1") == 1


async def test_host_whose_connections_are_closed_at_once_does_not_keep_from_the_one_that_works(
    database_url: str,
) -> None:
    """As by a load balancer that has lost what stands behind it."""
    async with proxied(database_url) as gone:
        nobody = gone.url
        await gone.refuse()
        async with (
            proxied(nobody) as balancer,
            await open_pool(joined(balancer.url, database_url), size=2, timeout_s=5.0) as pool,
        ):
            assert await pool.fetchval("SELECT 1") == 1


async def test_pool_that_meets_a_read_only_server_leaves_it_with_all_of_its_connections(database_url: str) -> None:
    """As the primary is after a switchover, for those who are connected to it."""
    size = 3
    barrier = asyncio.Barrier(size)
    async with await open_pool(database_url, size=size, timeout_s=5.0) as pool:

        async def demote() -> None:
            async with acquired(pool, 5.0) as connection:
                await barrier.wait()
                await connection.execute("SET default_transaction_read_only = on")

        async def write() -> None:
            async with transaction(pool, 5.0) as connection:
                await connection.execute("DELETE FROM suspects")
                await barrier.wait()

        await asyncio.gather(*(demote() for _ in range(size)))
        with pytest.raises(DatabaseTroubleError, match="read-only"):
            await write()
        await asyncio.gather(*(write() for _ in range(size)))
