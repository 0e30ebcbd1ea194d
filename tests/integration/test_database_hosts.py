"""Connections to PostgreSQL: of several hosts the one that works is found, though another one is silent."""

import asyncio
import socket

import pytest

from genlock.service.database.connecting import connect
from genlock.service.database.postgres_urls import read
from genlock.service.database.transactions import DatabaseTroubleError, acquired, open_pool, transaction
from tests.support.proxy import joined, proxied

KEPT_ALIVE = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
    *((socket.IPPROTO_TCP, getattr(socket, name)) for name in read("postgresql:///").socket_options),
)


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
        unreachable = gone.url
        await gone.refuse()
        async with (
            proxied(unreachable) as balancer,
            await open_pool(joined(balancer.url, database_url), size=2, timeout_s=5.0) as pool,
        ):
            assert await pool.fetchval("SELECT 1") == 1


async def test_pool_that_meets_a_read_only_server_leaves_it_with_all_of_its_connections(database_url: str) -> None:
    """As the old primary is after a switchover, for its open connections."""
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


async def test_system_looks_whether_a_server_is_there_that_says_nothing_for_long(database_url: str) -> None:
    """As it is to find out for `genlock verify`, whose statements may take as long as they need."""
    connection = await connect(database_url)
    opened = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]  # the stubs leave it out
    kept = [opened.getsockopt(*option) for option in KEPT_ALIVE]
    await connection.close()
    assert kept == [1, *read(database_url).socket_options.values()]
