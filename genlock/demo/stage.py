"""The stage of the demo: PostgreSQL, RabbitMQ and the service as a process of its own, all gone in the end."""

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
from genlock._broker_urls import brokers
from genlock._connection import connect as connect_to
from genlock._session import HEARTBEAT_S
from genlock.client import Client, connect
from genlock.consumers.topology import Topology
from genlock.schemas.base import JsonObject
from genlock.schemas.outcomes import Outcome
from genlock.service.database.migrate import migrate

READY_TIMEOUT_S = 60.0

BATCH_SIZE_MAX = 25
"""Small batches, so that a kill comes in the middle of the work."""


class Replica:
    """The service, as a process of its own."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._environment = environment
        self._process: asyncio.subprocess.Process
        self._reading: asyncio.Task[None]

    async def start(self) -> None:
        """Start it and wait until it says that it is ready."""
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
        """SIGKILL: no warning, no chance to settle anything."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """SIGTERM; return the exit code."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        if self._process.returncode is None:
            self._process.send_signal(number)
        await self._reading
        return await self._process.wait()

    async def _read(self, ready: asyncio.Event) -> None:
        """Read its log; pass on what is worse than informative."""
        assert self._process.stderr is not None  # noqa: S101 - it was asked to be a pipe
        async for line in self._process.stderr:
            record = json.loads(line) if line.startswith(b"{") else {"level": "error", "event": line.decode()}
            if record.get("action") == "ready":
                ready.set()
            if record.get("level") in ("error", "critical"):
                sys.stderr.write(f"{record}\n")


@dataclass(frozen=True, slots=True)
class Stage:
    """What a scene works with."""

    client: Client
    database: "asyncpg.Connection[asyncpg.Record]"
    replica: Replica

    async def send(self, lines: Iterable[JsonObject]) -> list[Outcome]:
        """Send commands all at once and return their outcomes in the same order."""
        return await asyncio.gather(*map(self.client.send_envelope, lines))


@asynccontextmanager
async def staged(running: servers.Servers) -> AsyncIterator[Stage]:
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
                yield Stage(client, database, replica)
        finally:
            await database.close()
            await replica.stop()


@asynccontextmanager
async def own_namespace(amqp_url: str, lanes: int = 1) -> AsyncIterator[str]:
    """A name that no other service has; in the end what has it is removed from the broker."""
    name = f"demo{secrets.token_hex(4)}"
    try:
        yield name
    finally:
        async with await connect_to(brokers(amqp_url, HEARTBEAT_S), READY_TIMEOUT_S) as connection:
            await Topology(name, lanes).delete(await connection.channel())
