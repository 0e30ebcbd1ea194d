"""What tests of outages share: proxies in front of both servers, and a replica's settings that lead through them."""

from collections.abc import AsyncIterator, Iterator

import pytest
from pydantic import SecretStr

from genlock.consumers.registration import FIRST_MESSAGES
from genlock.servers_programs import Programs
from genlock.service.settings import Settings
from tests.proxy import Proxy, proxied
from tests.secured import Secured, secured_servers


@pytest.fixture(scope="session")
def secured(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Servers that ask for passwords and certificates."""
    with secured_servers(programs, tmp_path_factory.mktemp("certificates")) as servers:
        yield servers


@pytest.fixture
async def broker(amqp_url: str) -> AsyncIterator[Proxy]:
    """What the service takes for the broker."""
    async with proxied(amqp_url) as proxy:
        yield proxy


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Proxy]:
    """What the service takes for PostgreSQL."""
    async with proxied(database_url) as proxy:
        yield proxy


@pytest.fixture
def remote(settings: Settings, broker: Proxy, database: Proxy) -> Settings:
    """Return the settings of a replica that reaches its servers through the proxies.

    It never takes more than at first, and so asks the broker for nothing when a test makes that one silent.
    """
    urls = {"amqp_url": SecretStr(broker.url), "database_url": SecretStr(database.url)}
    return settings.model_copy(
        update={"retry_delay_max_s": 0.2, "batch_size_max": 8, "prefetch": FIRST_MESSAGES, **urls}
    )
