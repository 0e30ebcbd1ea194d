"""A peer: OpenStack Placement from its package, under gunicorn, on a database of its own.

Each client replaces the inventories of its provider repeatedly, with the generation of the previous answer. There are
as many clients as Placement has threads.
"""

import asyncio
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg

from bench import processor
from bench.processes import Program, program
from bench.workloads import CLASSES
from genlock import servers
from genlock.servers.ports import take_port

PROCESSES = 2
THREADS = 4
"""The threads of each process; README.md says how their number was chosen."""

START_TIMEOUT_S = 60.0
START_POLL_S = 0.1
WARM_UP_S = 1.0

_HEADERS = {"x-auth-token": "admin", "OpenStack-API-Version": "placement 1.39"}
_CONFIG = """
[DEFAULT]
default_log_levels = placement=ERROR
[api]
auth_strategy = noauth2
[placement_database]
connection = {connection}
max_pool_size = {threads}
"""


@dataclass(frozen=True, slots=True)
class Replaced:
    """The result of the clients. `processor_s` is the processor time of Placement and of each private server."""

    count: int
    seconds: float
    processor_s: dict[str, float]


async def replace_inventories(running: servers.Servers, seconds: float) -> Replaced:
    """Start Placement and run its clients for a while.

    Raises RuntimeError if a replacement was refused or lost.
    """
    async with servers.database(running.database_url) as database_url, _serving(database_url) as (started, url):
        async with aiohttp.ClientSession(url, headers=_HEADERS) as session:
            await _until_ready(started, session)
            clients = [Client(session) for _ in range(PROCESSES * THREADS)]
            for client in clients:
                await client.create()
            await _replace(clients, WARM_UP_S)
            groups = {"Placement": [started.process.pid], **processor.server_groups(running)}
            before, used = sum(client.generation for client in clients), processor.seconds(groups)
            began = time.perf_counter()
            await _replace(clients, seconds)
            took, now = time.perf_counter() - began, processor.seconds(groups)
        done = sum(client.generation for client in clients)
        stored = await _stored(database_url)
        if stored != done:
            raise RuntimeError(f"Placement has answered {done} replacements and kept {stored}")
    return Replaced(done - before, took, {name: now[name] - used[name] for name in groups})


class Client:
    """Replaces the inventories of its provider."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self.generation = 0
        self._session = session
        self._provider = str(uuid.uuid4())

    async def create(self) -> None:
        """Create the provider, without inventories."""
        await self._request("POST", "/resource_providers", {"uuid": self._provider, "name": self._provider})

    async def replace(self) -> None:
        """Replace the inventories, alternating between two sets."""
        total = 1_024 * (1 + self.generation % 2)
        inventory = {
            "total": total,
            "reserved": 0,
            "min_unit": 1,
            "max_unit": 2_147_483_647,
            "step_size": 1,
            "allocation_ratio": 1.0,
        }
        answer = await self._request(
            "PUT",
            f"/resource_providers/{self._provider}/inventories",
            {"resource_provider_generation": self.generation, "inventories": dict.fromkeys(CLASSES, inventory)},
        )
        self.generation = answer["resource_provider_generation"]

    async def _request(self, method: str, path: str, body: object) -> dict[str, int]:
        async with self._session.request(method, path, json=body) as answer:
            if not answer.ok:
                raise RuntimeError(f"Placement says {answer.status}: {await answer.text()}")
            made: dict[str, int] = await answer.json()
            return made


async def _replace(clients: Sequence[Client], seconds: float) -> None:
    ends = time.perf_counter() + seconds

    async def work(client: Client) -> None:
        while time.perf_counter() < ends:
            await client.replace()

    async with asyncio.TaskGroup() as group:
        for client in clients:
            group.create_task(work(client))


@asynccontextmanager
async def _serving(database_url: str) -> AsyncIterator[tuple[Program, str]]:
    """Create the tables and run Placement; yield its process and its URL."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "placement.conf"
        connection = urlsplit(database_url)._replace(scheme="postgresql+psycopg2").geturl()
        config.write_text(_CONFIG.format(connection=connection, threads=THREADS))
        environment = {"OS_PLACEMENT_CONFIG_DIR": folder}
        async with program("bench.peers.placement_schema", ("--config-file", str(config)), environment) as making:
            await making.process.wait()
        address = f"127.0.0.1:{take_port()}"
        options = ("--bind", address, "--workers", str(PROCESSES), "--threads", str(THREADS), "--log-level", "error")
        async with program("gunicorn", (*options, "placement.wsgi.api:application"), environment) as started:
            yield started, f"http://{address}"


async def _until_ready(started: Program, session: aiohttp.ClientSession) -> None:
    async with asyncio.timeout(START_TIMEOUT_S):
        while True:
            started.must_run()
            try:
                async with session.get("/") as answer:
                    if answer.ok:
                        return
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(START_POLL_S)


async def _stored(database_url: str) -> int:
    connection = await asyncpg.connect(database_url)
    try:
        stored: int = await connection.fetchval("SELECT sum(generation)::bigint FROM resource_providers")
    finally:
        await connection.close()
    return stored
