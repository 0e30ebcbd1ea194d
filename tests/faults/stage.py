"""The stage of the random part: private servers, proxies in front of them, and replicas as processes."""

import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from genlock.consumers.topology import Topology
from genlock.servers import LocalPostgres, LocalRabbit, make_role
from genlock.servers_local import free_port
from genlock.servers_programs import Programs
from genlock.service.migrate import migrate
from tests.faults.clients import events_of, replies_of
from tests.faults.load import Load, loaded
from tests.faults.oracle import NotProvedError
from tests.faults.replica import Replica, running
from tests.faults.schedule import BROKER, POSTGRES
from tests.harness import DEADLINE_S, until
from tests.proxy import Proxy, proxied

QUICK = {
    "BATCH_SIZE_MAX": "32",
    "PREFETCH": "256",
    "DECIDE_TIMEOUT_S": "2",
    "PUBLISH_TIMEOUT_S": "3",
    "SHUTDOWN_TIMEOUT_S": "3",
    "HEARTBEAT_S": "2",
    "RETRY_DELAY_MAX_S": "0.5",
    "SWEEP_AFTER_S": "2",
    "PROGRESS_TIMEOUT_S": "10",
}
"""Settings by which a replica notices within seconds what takes it half a minute otherwise."""

REPLICAS = ("replica 1", "replica 2")


@dataclass(frozen=True)
class Servers:
    """A PostgreSQL and a RabbitMQ that nobody else uses."""

    postgres: LocalPostgres
    rabbit: LocalRabbit


@contextmanager
def private_servers() -> Iterator[Servers]:
    """Start servers for the time of the context. Only in the main thread. Raises ServersUnavailable."""
    programs = Programs.have()
    with LocalRabbit(programs) as rabbit, LocalPostgres(programs) as postgres:
        yield Servers(postgres, rabbit)


async def until_kept(rabbit: LocalRabbit, topology: Topology) -> None:
    """Return when the broker would know all quorum queues of a namespace again after a SIGKILL.

    RabbitMQ 3.10 writes the register of its quorum queues to disk every few seconds only, and one that is not in it
    never gets a leader again.
    """
    queues = [queue.name for queue in topology.command_queues]
    queues += [topology.dead_letters, events_of(topology), replies_of(topology)]

    async def kept() -> bool:
        registers = [file.read_bytes() for file in rabbit.folder.glob("mnesia/*/quorum/*/names.dets")]
        return any(all(queue.encode() in register for queue in queues) for register in registers)

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
    role = await make_role(servers.postgres.url)
    await migrate(servers.postgres.url, role.name)
    service_url = role.at(servers.postgres.url)
    async with AsyncExitStack() as stack:
        to_publish = await stack.enter_async_context(proxied(servers.rabbit.url))
        load = await stack.enter_async_context(
            loaded(
                seed=seed,
                database_url=service_url,
                amqp_url=servers.rabbit.url,
                publisher_url=to_publish.url,
                namespace=namespace,
                lanes=lanes,
            )
        )
        await until_kept(servers.rabbit, load.topology)
        replicas, links = {}, {f"publishers to {BROKER}": to_publish}
        for name in REPLICAS:
            to_database = await stack.enter_async_context(proxied(service_url))
            to_broker = await stack.enter_async_context(proxied(servers.rabbit.url))
            links |= {f"{name} to {POSTGRES}": to_database, f"{name} to {BROKER}": to_broker}
            settings = QUICK | {
                "DATABASE_URL": to_database.url,
                "AMQP_URL": to_broker.url,
                "NAMESPACE": namespace,
                "LANES": str(lanes),
                "HTTP_HOST": "127.0.0.1",
                "HTTP_PORT": str(free_port()),
            }
            replicas[name] = await stack.enter_async_context(running(name, settings, logs))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        await all_ready(replicas.values(), http)
        yield Stage(servers, replicas, links, load, http)
