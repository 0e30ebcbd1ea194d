"""The deployment of the demo: a database, a namespace and the service as a process, all removed in the end."""

import asyncio
import json
import os
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg

from genlock import servers
from genlock._client.session import HEARTBEAT_S
from genlock._net.amqp import connect as connect_to
from genlock._net.broker_urls import brokers
from genlock.client import Client, connect
from genlock.consumers.amqp.declare import delete_topology
from genlock.consumers.amqp.topology import Topology
from genlock.schemas.base import JsonObject
from genlock.schemas.outcomes import Outcome
from genlock.service.database.migrate import migrate

READY_TIMEOUT_S = 60.0

BATCH_SIZE_MAX = 25
"""Small batches, so that a kill interrupts the work."""


class Replica:
    """A process of the service."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]

    async def start(self) -> None:
        """Start the process and wait until it logs that it is ready."""
        self._process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "genlock.cli", "serve", env=self._environment, stderr=asyncio.subprocess.PIPE
        )
        ready = asyncio.Event()
        self._reading = asyncio.create_task(self._read(ready))
        async with asyncio.timeout(READY_TIMEOUT_S):
            await asyncio.wait(
                {self._reading, asyncio.ensure_future(ready.wait())}, return_when=asyncio.FIRST_COMPLETED
            )
        if not ready.is_set():
            raise RuntimeError("the service ended before it was ready")

    async def kill(self) -> None:
        """Send SIGKILL: the process cannot settle anything."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Send SIGTERM and return the exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        if self._process.returncode is None:
            self._process.send_signal(number)
        await self._reading
        return await self._process.wait()

    async def _read(self, ready: asyncio.Event) -> None:
        """Read its log, and write errors to stderr."""
        assert self._process.stderr is not None  # noqa: S101 - it was asked to be a pipe
        async for line in self._process.stderr:
            record = json.loads(line) if line.startswith(b"{") else {"level": "error", "event": line.decode()}
            if record.get("action") == "ready":
                ready.set()
            if record.get("level") in ("error", "critical"):
                sys.stderr.write(f"{record}\n")


@dataclass(frozen=True, slots=True)
class Deployment:
    """The service of the demo, with a client and a database connection."""

    client: Client
    database: "asyncpg.Connection[asyncpg.Record]"
    replica: Replica

    async def send(self, lines: Iterable[JsonObject]) -> list[Outcome]:
        """Send all commands concurrently and return their outcomes in the same order."""
        return await asyncio.gather(*map(self.client.send_envelope, lines))


@asynccontextmanager
async def deployed(running: servers.Servers) -> AsyncIterator[Deployment]:
    """Start the service on a database and in a namespace of its own, and remove both in the end."""
    async with (
        servers.service_role(running.database_url) as role,
        servers.database(running.database_url) as owner_url,
        own_namespace(running.amqp_url) as namespace,
    ):
        await migrate(owner_url, role.name)
        replica = Replica(
            os.environ
            | {
                "GENLOCK_DATABASE_URL": role.at(owner_url),
                "GENLOCK_AMQP_URL": running.amqp_url,
                "GENLOCK_NAMESPACE": namespace,
                "GENLOCK_LANES": "1",
                "GENLOCK_BATCH_SIZE_MAX": str(BATCH_SIZE_MAX),
                "GENLOCK_HTTP_PORT": "0",
                "GENLOCK_LOG_FORMAT": "json",
            }
        )
        database = await asyncpg.connect(owner_url)
        try:
            await replica.start()
            async with connect(
                running.amqp_url, namespace=namespace, source="/demo", absence_s=READY_TIMEOUT_S
            ) as client:
                yield Deployment(client, database, replica)
        finally:
            await database.close()
            await replica.stop()


@asynccontextmanager
async def own_namespace(amqp_url: str, lanes: int = 1) -> AsyncIterator[str]:
    """Yield a random namespace; in the end its exchanges and queues are deleted."""
    name = f"demo{secrets.token_hex(4)}"
    try:
        yield name
    finally:
        async with await connect_to(brokers(amqp_url, HEARTBEAT_S), READY_TIMEOUT_S) as connection:
            await delete_topology(Topology(name, lanes), await connection.channel())
