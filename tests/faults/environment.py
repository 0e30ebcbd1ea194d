"""The stage of the random part: private servers, proxies in front of them, and replicas as processes."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from genlock.consumers.amqp.topology import Topology
from genlock.servers import LocalPostgres, LocalRabbit, make_role
from genlock.servers.ports import take_port
from genlock.servers.programs import Programs
from genlock.service.database.migrate import migrate
from tests.faults.clients import events_of, replies_of
from tests.faults.cluster import Cluster, cluster
from tests.faults.load import Load, loaded
from tests.faults.oracle import NotProvedError
from tests.faults.replica import Replica, running
from tests.faults.schedule import BROKER, OF_CLUSTERS, OF_SERVERS, POSTGRES, Fault
from tests.faults.standby import Pair
from tests.support.harness import DEADLINE_S, until
from tests.support.proxy import Proxy, joined, proxied

QUICK = {
    "BATCH_SIZE_MAX": "32",
    "PREFETCH": "256",
    "DECIDE_TIMEOUT_S": "2",
    "PUBLISH_TIMEOUT_S": "3",
    "SHUTDOWN_TIMEOUT_S": "3",
    "HEARTBEAT_S": "2",
    "RETRY_DELAY_MAX_S": "0.5",
    "SWEEP_AFTER_S": "2",
    "SESSION_S": "15",
    "PROGRESS_TIMEOUT_S": "10",
}
"""Settings by which a replica notices within seconds what takes it half a minute otherwise."""

REPLICAS = ("replica 1", "replica 2")


@dataclass(frozen=True)
class Servers:
    """A PostgreSQL and a RabbitMQ that no other test uses: one of each, or one with a standby and three nodes."""

    postgres: LocalPostgres | Pair
    rabbit: LocalRabbit | Cluster

    @property
    def databases(self) -> Sequence[LocalPostgres]:
        return self.postgres.members if isinstance(self.postgres, Pair) else [self.postgres]

    @property
    def brokers(self) -> Sequence[LocalRabbit]:
        return self.rabbit.nodes if isinstance(self.rabbit, Cluster) else [self.rabbit]

    @property
    def database_url(self) -> str:
        """Where the primary is found."""
        return self.postgres.primary_url if isinstance(self.postgres, Pair) else self.postgres.url

    @property
    def faults(self) -> Mapping[str, tuple[Fault, ...]]:
        """What can be done to them."""
        return OF_CLUSTERS if isinstance(self.postgres, Pair) else OF_SERVERS


@contextmanager
def private_servers() -> Iterator[Servers]:
    """Start one server of each for the time of the context. Only in the main thread. Raises ServersUnavailable."""
    programs = Programs.have()
    with LocalRabbit(programs) as rabbit, LocalPostgres(programs) as postgres:
        yield Servers(postgres, rabbit)


@contextmanager
def private_cluster() -> Iterator[Servers]:
    """Start a cluster, and a PostgreSQL with a standby, as `private_servers` does."""
    programs = Programs.have()
    with cluster(programs) as nodes, closing(Pair(programs)) as pair:
        pair.primary.start()
        asyncio.run(pair.follow())
        yield Servers(pair, nodes)


def quorum_queues(topology: Topology) -> list[str]:
    """The queues of a namespace, and those of its clients."""
    commands = [queue.name for queue in topology.command_queues]
    return [*commands, topology.queries, topology.dead_letters, events_of(topology), replies_of(topology)]


async def until_kept(nodes: Iterable[LocalRabbit], topology: Topology) -> None:
    """Return when each node of a broker would know all quorum queues of a namespace again after a SIGKILL.

    RabbitMQ 3.10 writes the register of its quorum queues to disk every few seconds only, and one that is not in it
    never gets a leader again.
    """
    queues = quorum_queues(topology)

    def knows_all(register: Path) -> bool:
        known = register.read_bytes()
        return all(queue.encode() in known for queue in queues)

    async def kept() -> bool:
        return all(any(map(knows_all, node.folder.glob("mnesia/*/quorum/*/names.dets"))) for node in nodes)

    await until(kept)


@dataclass(frozen=True)
class Stage:
    """All that faults can be done to, by name."""

    servers: Servers
    replicas: dict[str, Replica]
    links: dict[str, Proxy]
    load: Load
    http: aiohttp.ClientSession


async def all_ready(replicas: Iterable[Replica], http: aiohttp.ClientSession, timeout_s: float = DEADLINE_S) -> None:
    """Return when every replica says that it is ready. Raises NotProvedError, with what they complain of."""
    complaints: list[list[str]] = []

    async def ready() -> bool:
        complaints[:] = [await replica.complaints(http, "readyz") for replica in replicas]
        return not any(complaints)

    try:
        await until(ready, timeout_s)
    except TimeoutError:
        raise NotProvedError(f"the replicas are not ready after {timeout_s:g} s: {complaints}") from None


@asynccontextmanager
async def staged(servers: Servers, seed: str, lanes: int, logs: Path) -> AsyncIterator[Stage]:
    """Set everything up and wait until it is ready; in the end all processes are gone.

    Each replica has proxies of its own to both servers, and the publishers share one.
    """
    namespace = f"faults{secrets.token_hex(4)}"
    role = await make_role(servers.database_url)
    await migrate(servers.database_url, role.name)
    databases, brokers = [role.at(node.url) for node in servers.databases], [node.url for node in servers.brokers]
    async with AsyncExitStack() as stack:
        links: dict[str, Proxy] = {}

        async def linked(side: str, to: str, urls: Iterable[str]) -> str:
            """Put a proxy in front of each server; return the URL that names them all."""
            proxies = [await stack.enter_async_context(proxied(url)) for url in urls]
            links.update({f"{side} to {to} {number}": proxy for number, proxy in enumerate(proxies, 1)})
            return joined(*(proxy.url for proxy in proxies))

        load = await stack.enter_async_context(
            loaded(
                seed=seed,
                database_url=role.at(servers.database_url),
                amqp_url=servers.rabbit.url,
                publisher_url=await linked("publishers", BROKER, brokers),
                namespace=namespace,
                lanes=lanes,
                sure_replies=isinstance(servers.rabbit, LocalRabbit),
            )
        )
        await until_kept(servers.brokers, load.topology)
        replicas = {}
        for name in REPLICAS:
            settings = QUICK | {
                "DATABASE_URL": await linked(name, POSTGRES, databases),
                "AMQP_URL": await linked(name, BROKER, brokers),
                "NAMESPACE": namespace,
                "LANES": str(lanes),
                "HTTP_HOST": "127.0.0.1",
                "HTTP_PORT": str(take_port()),
            }
            replicas[name] = await stack.enter_async_context(running(name, settings, logs))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        await all_ready(replicas.values(), http)
        yield Stage(servers, replicas, links, load, http)
