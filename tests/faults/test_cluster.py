"""A RabbitMQ cluster that loses a node under load: the others go on, and so do the service and its clients."""

import asyncio
from collections.abc import Iterator

import aio_pika
import pytest

import genlock
from genlock._net import amqp
from genlock.consumers.amqp.declare import declare_topology
from genlock.consumers.amqp.topology import Topology
from genlock.servers.programs import Programs
from genlock.service.settings import Settings
from tests.faults.cluster import Cluster, cluster
from tests.faults.conftest import at, some_load
from tests.faults.environment import quorum_queues, until_kept
from tests.faults.load import SOME
from tests.support.chains import broken, chains, links_of, send_chains
from tests.support.database import Connection
from tests.support.factories import envelope, new_id
from tests.support.harness import connected, serving, until, until_ready
from tests.support.proxy import Proxy

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def the_cluster(programs: Programs) -> Iterator[Cluster]:
    """A cluster of three nodes that only this module's tests use."""
    with cluster(programs) as started:
        yield started


@pytest.fixture
async def nodes(the_cluster: Cluster) -> Cluster:
    """Return the cluster, all of whose nodes run."""
    await the_cluster.start_again()
    return the_cluster


async def test_a_cluster_that_loses_the_leader_of_a_queue_under_load_loses_and_repeats_nothing(
    nodes: Cluster, database_url: str, namespace: str, quick: Settings
) -> None:
    """The leader is also the node that declared the queue, to which the service is connected as often as not."""
    async with some_load(database_url, nodes.url, namespace, sure_replies=False) as load:
        await until_kept(nodes.nodes, load.topology)
        async with serving(at(quick, database_url, nodes.url)) as service:
            load.begin()
            await load.until_seen(SOME)
            leader = await nodes.leader_of(load.topology.inbox)
            await asyncio.to_thread(leader.kill)
            await load.probe()
            await load.until_seen(SOME)
            await nodes.start_again()
            await nodes.until_whole(quorum_queues(load.topology))
            await load.probe()
            await load.proved()
            await until_ready(service)
        await load.nothing_left()


@pytest.mark.parametrize("lanes", [3])
async def test_lanes_keep_their_order_when_the_node_that_leads_them_is_lost(
    nodes: Cluster, second: Connection, namespace: str, quick: Settings, lanes: int
) -> None:
    leader, other, _ = nodes.nodes
    # The node that a quorum queue is declared on becomes its leader.
    async with await aio_pika.connect(leader.url) as connection:
        await declare_topology(Topology(namespace, lanes), await connection.channel())
    sent = chains(20, links=30)
    settings = at(quick, quick.database_url.get_secret_value(), nodes.url)
    async with connected(other.url, namespace, lanes) as client:
        await send_chains(client, sent)
        assert await nodes.leader_of(client.topology.lane_queues[0]) is leader

        async def lose_in_the_middle() -> None:
            await client.decided(sent[0][0])
            await asyncio.to_thread(leader.kill)
            assert len(client.bodies) < len(links_of(sent))

        losing = asyncio.create_task(lose_in_the_middle())
        async with serving(settings), serving(settings):
            await losing
            assert await broken(client, sent) == 0
        # A queue is deleted in seconds while one of its members is away.
        await nodes.start_again()
    assert await second.fetchval("SELECT count(*) FROM ledger") == len(links_of(sent))


async def test_client_that_loses_its_node_goes_on_with_another_one(
    nodes: Cluster, database_url: str, quick: Settings
) -> None:
    subject = new_id()
    async with (
        serving(at(quick, database_url, nodes.url)),
        genlock.connect(nodes.url, namespace=quick.namespace, source="/test") as client,
    ):
        connection = client._link._session._connection
        assert isinstance(connection, amqp.Connection)
        used = next(node for node in nodes.nodes if node.port == connection.url.port)
        await asyncio.to_thread(used.kill)
        sent = genlock.command(genlock.DocumentPut(expected_generation=None, body={}), subject=subject)
        assert isinstance(await client.send(sent), genlock.Succeeded)
        assert await client.get("document", subject) is not None


async def test_what_a_replica_holds_in_an_outage_comes_back_though_its_node_is_lost(
    nodes: Cluster, database: Proxy, database_url: str, namespace: str, quick: Settings
) -> None:
    """Of a consumer that was cancelled it would not: see "What a broker forgets" in docs/production.md."""
    mine, other, _ = nodes.nodes
    commands = [envelope("document.put", new_id(), {"expected_generation": None, "body": {}}) for _ in range(5)]
    async with connected(other.url, namespace) as client:
        await nodes.until_whole([client.topology.inbox])
        async with serving(at(quick, database.url, mine.url)) as holding:
            await database.refuse()
            await client.send(*commands)

            async def held() -> bool:
                return (
                    holding._activity.held == len(commands) and "PostgreSQL does not answer" in holding.status.unready
                )

            await until(held)
            await asyncio.to_thread(mine.kill)
            async with serving(at(quick, database_url, other.url)):
                events = await client.decided(*commands)
    assert [event["type"] for event in events] == ["document.put.succeeded"] * len(commands)
