"""What the tests of the image share: one system for all of them, and a client outside of it."""

from collections.abc import AsyncIterator, Iterator

import aio_pika
import pytest

from genlock.consumers.amqp.topology import Topology
from tests.containers.system import System, brought_up
from tests.support.harness import Client


@pytest.fixture(scope="session")
def system() -> Iterator[System]:
    """PostgreSQL, RabbitMQ and at least one replica, from compose.yaml."""
    with brought_up() as system:
        yield system


@pytest.fixture
def replica(system: System) -> str:
    """The one replica of the system."""
    if len(system.replicas()) != 1:
        system.up()
    (replica,) = system.replicas()
    return replica


@pytest.fixture
async def outside(system: System) -> AsyncIterator[Client]:
    """A publisher and subscriber outside of the system, which knows nothing but AMQP."""
    topology = Topology("genlock")
    async with await aio_pika.connect(system.amqp_url) as connection:
        channel = await connection.channel()
        client = Client(channel, topology, await channel.get_exchange(topology.commands))
        await client.subscribe()
        yield client
