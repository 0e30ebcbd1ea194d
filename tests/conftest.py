"""What tests share: real servers for the whole run, and a database and a namespace for each test."""

import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio
import structlog
from pydantic import SecretStr

from genlock import servers as servers_module
from genlock.servers import Role, Servers
from genlock.servers.programs import Programs, ServersUnavailable
from genlock.service.database.migrate import migrate
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.settings import Settings
from tests.support import memory_disk
from tests.support.database import Connection
from tests.support.deciders import decider_on, deciding_pool
from tests.support.harness import Client, connected
from tests.support.pooler import Mode, PgBouncer, Pooling
from tests.support.proxy import Proxy, proxied


def pytest_configure() -> None:
    """Have the servers' files in memory, before anything is started."""
    memory_disk.use()


@pytest.fixture(scope="session", autouse=True)
def plain_logs() -> None:
    """Print tracebacks as Python does: structlog's own form with all locals takes seconds."""
    renderer = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[structlog.processors.add_log_level, renderer])


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """PostgreSQL and RabbitMQ, found or started once."""
    with servers_module.running() as running:
        yield running


@pytest.fixture(scope="session")
def programs() -> Programs:
    """The programs of servers of a test's own. Tests that need them are skipped where there is only Docker."""
    try:
        return Programs.have()
    except ServersUnavailable as error:
        pytest.skip(str(error))


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def service_role(servers: Servers) -> AsyncIterator[Role]:
    """The role that every service and every pool of the tests connects as."""
    async with servers_module.service_role(servers.database_url) as role:
        yield role


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def database_template(servers: Servers, service_role: Role) -> AsyncIterator[str]:
    """The name of a migrated database, which each test gets a copy of: that takes a tenth of what migrating does."""
    async with servers_module.database(servers.database_url) as url:
        await migrate(url, service_role.name)
        yield urlsplit(url).path.removeprefix("/")


@pytest.fixture
async def owner_url(servers: Servers, database_template: str) -> AsyncIterator[str]:
    """The URL of a database that only this test uses, for its owner."""
    async with servers_module.database(servers.database_url, template=database_template) as url:
        yield url


@pytest.fixture
def database_url(owner_url: str, service_role: Role) -> str:
    """The URL of the test's database for the service, whose role may do what the service needs."""
    return service_role.at(owner_url)


@pytest.fixture
def pooling(servers: Servers, service_role: Role) -> Iterator[Pooling]:
    """Start poolers for the databases of the tests, in a mode and with lines of the configuration."""
    with ExitStack() as stack:

        def start(mode: Mode, *lines: str) -> PgBouncer:
            urls = (servers.database_url, service_role.at(servers.database_url))
            return stack.enter_context(PgBouncer(mode, urls, *lines))

        yield start


@pytest.fixture
def amqp_url(servers: Servers) -> str:
    """The URL of the broker, which all tests share."""
    return servers.amqp_url


@pytest.fixture
def namespace() -> str:
    """Return a name for this test's exchanges and queues, which no other test uses."""
    return f"t{secrets.token_hex(6)}"


@pytest.fixture
async def pool(database_url: str) -> AsyncIterator[Pool]:
    """Connections as deciding uses them, enough for many batches at once."""
    async with deciding_pool(database_url, 36) as pool:
        yield pool


@pytest.fixture
def decider(pool: Pool) -> Decider:
    """Return a decider; as many batches at once as there are connections in the pool."""
    return decider_on(pool)


@pytest.fixture
async def second(owner_url: str) -> AsyncIterator[Connection]:
    """A second connection to the test's database, as its owner: to hold locks with, to look, and to do damage."""
    connection = await asyncpg.connect(owner_url)
    yield connection
    await connection.close()


@pytest.fixture
def lanes() -> int:
    """How many lanes the test's namespace has: a test that is about lanes has a fixture of this name."""
    return 1


@pytest.fixture
async def client(amqp_url: str, namespace: str, lanes: int) -> AsyncIterator[Client]:
    """A publisher and subscriber in the test's namespace, which is removed in the end."""
    async with connected(amqp_url, namespace, lanes) as client:
        yield client


@pytest.fixture
def settings(database_url: str, amqp_url: str, namespace: str, lanes: int) -> Settings:
    """Return the settings of a replica in the test's database and namespace."""
    return Settings(
        database_url=SecretStr(database_url), amqp_url=SecretStr(amqp_url), namespace=namespace, lanes=lanes
    )


@pytest.fixture
async def broker(amqp_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the broker."""
    async with proxied(amqp_url) as proxy:
        yield proxy


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of PostgreSQL."""
    async with proxied(database_url) as proxy:
        yield proxy
