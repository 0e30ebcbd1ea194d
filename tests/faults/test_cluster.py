"""A RabbitMQ cluster that loses a node under load: the others go on, and so do the service and its clients."""

import asyncio
from collections.abc import Iterator

import pytest

import genlock
from genlock._connection import Connection
from genlock.servers_programs import Programs
from genlock.service.settings import Settings
from tests.factories import new_id
from tests.faults.cluster import Cluster, cluster
from tests.faults.conftest import at, some_load
from tests.faults.stage import quorum_queues, until_kept
from tests.harness import serving

SOME = 40

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


@pytest.mark.parametrize("lanes", [1, 3])
async def test_a_cluster_that_loses_the_leader_of_a_queue_under_load_loses_and_repeats_nothing(
    nodes: Cluster, database_url: str, namespace: str, quick: Settings, lanes: int
) -> None:
    """The leader is also the node that declared the queue, to which the service is connected as often as not."""
    async with some_load(database_url, nodes.url, namespace, lanes, sure_replies=False) as load:
        await until_kept(nodes.nodes, load.topology)
        async with serving(at(quick, database_url, nodes.url)) as service:
            load.begin()
            await load.until_seen(SOME)
            leader = await nodes.leader_of(load.topology.command_queues[0].name)
            await asyncio.to_thread(leader.kill)
            await load.probe()
            await load.until_seen(SOME)
            await nodes.start_again()
            await nodes.until_whole(quorum_queues(load.topology))
            await load.probe()
            await load.proved()
            assert service.ready.is_set()
        await load.nothing_left()


async def test_client_that_loses_its_node_goes_on_with_another_one(
    nodes: Cluster, database_url: str, quick: Settings
) -> None:
    subject = new_id()
    async with (
        serving(at(quick, database_url, nodes.url)),
        genlock.connect(nodes.url, namespace=quick.namespace, source="/test") as client,
    ):
        connection = client._link._session._connection
        assert isinstance(connection, Connection)
        used = next(node for node in nodes.nodes if node.port == connection.url.port)
        await asyncio.to_thread(used.kill)
        sent = genlock.command(genlock.DocumentPut(expected_generation=None, body={}), subject=subject)
        assert isinstance(await client.send(sent), genlock.Succeeded)
        assert await client.get("document", subject) is not None
