"""A large database, filled once for all tests of plans."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from genlock import servers as servers_module
from genlock.servers import Role, Servers
from genlock.service.database.transactions import DECIDING_PLANS, READING_PLANS
from tests.support.database import Connection
from tests.support.large_database import fill


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def large_url(servers: Servers, database_template: str) -> AsyncIterator[str]:
    """The URL of a database as tests/support/large_database.py tells; no test changes anything in it."""
    async with servers_module.database(servers.database_url, template=database_template) as url:
        await fill(url)
        yield url


@pytest.fixture
async def reading(large_url: str, service_role: Role) -> AsyncIterator[Connection]:
    """A connection to it as reads use it."""
    connection = await asyncpg.connect(service_role.at(large_url), server_settings=READING_PLANS)
    yield connection
    await connection.close()


@pytest.fixture
async def deciding(large_url: str, service_role: Role) -> AsyncIterator[Connection]:
    """A connection to it as deciding uses it."""
    connection = await asyncpg.connect(service_role.at(large_url), server_settings=DECIDING_PLANS)
    yield connection
    await connection.close()


@pytest.fixture
async def empty_url(servers: Servers) -> AsyncIterator[str]:
    """The URL of a database without a schema."""
    async with servers_module.database(servers.database_url) as url:
        yield url
