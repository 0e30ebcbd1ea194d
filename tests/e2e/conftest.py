"""Fixtures of several files: servers with passwords, a replica behind proxies, and a queue for notes."""

from collections.abc import AsyncIterator, Iterator

import pytest
from aio_pika.abc import AbstractQueue
from pydantic import SecretStr

from genlock.consumers.commands.registration import FIRST_MESSAGES
from genlock.servers.programs import Programs
from genlock.service.settings import Settings
from tests.support.harness import Client
from tests.support.notes import EXCHANGE, notes_queue
from tests.support.proxy import Proxy
from tests.support.secured_servers import Secured, secured_servers


@pytest.fixture(scope="session")
def secured(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    """Servers that ask for passwords and certificates."""
    with secured_servers(programs, tmp_path_factory.mktemp("certificates")) as servers:
        yield servers


@pytest.fixture
def remote(settings: Settings, broker: Proxy, database: Proxy) -> Settings:
    """Return the settings of a replica that reaches its servers through the proxies.

    It never takes more than at first, and so asks the broker for nothing when a test makes that one silent.
    """
    urls = {"amqp_url": SecretStr(broker.url), "database_url": SecretStr(database.url)}
    return settings.model_copy(
        update={"retry_delay_max_s": 0.2, "batch_size_max": 8, "prefetch": FIRST_MESSAGES, **urls}
    )


@pytest.fixture
async def notes_exchange(client: Client) -> AsyncIterator[None]:
    """Delete the exchange of notes in the end."""
    yield
    await client.channel.exchange_delete(client.topology.exchange(EXCHANGE))


@pytest.fixture
async def notes(client: Client) -> AbstractQueue:
    """A queue that gets all notes."""
    return await notes_queue(client)
