"""What tests share: real servers for the whole run, and a database and a namespace for each test."""

import secrets
from collections.abc import AsyncIterator, Iterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio

from genlock import servers as servers_module
from genlock.servers import Servers
from genlock.service.migrate import migrate


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and RabbitMQ, found or started once."""
    with servers_module.running() as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_template(servers: Servers) -> AsyncIterator[str]:
    """The name of a migrated database, which each test gets a copy of: that takes a tenth of what migrating does."""
    async with servers_module.database(servers.database_url) as url:
        await migrate(url)
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
async def database_url(servers: Servers, database_template: str) -> AsyncIterator[str]:
    """The URL of a database that only this test uses."""
    async with servers_module.database(servers.database_url, template=database_template) as url:
        yield url


@pytest.fixture
def amqp_url(servers: Servers) -> str:
    """The URL of the broker, which all tests share."""
    return servers.amqp_url


@pytest.fixture
def namespace() -> str:
    """Return a name for this test's exchanges and queues, which nobody else uses."""
    return f"t{secrets.token_hex(6)}"
