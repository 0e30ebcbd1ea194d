"""Several workers: the parent answers HTTP for all, starts the dead ones again, and stops them in good order."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest

from genlock.servers.ports import take_port
from genlock.service.settings import Settings
from tests.support.factories import envelope, new_id
from tests.support.harness import DEADLINE_S, Client, until
from tests.support.proxy import Proxy

MAIN = """
import sys
from genlock.consumers.process.serve import serve
from genlock.service.settings import Settings
if __name__ == "__main__":
    sys.exit(serve(Settings(), workers=2))
"""


@dataclass
class Parent:
    """Two workers and their parent, each a process of its own."""

    process: asyncio.subprocess.Process
    url: str
    http: aiohttp.ClientSession

    async def ready(self) -> bool:
        try:
            async with self.http.get(f"{self.url}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def unready(self) -> bool:
        return not await self.ready()

    def kill_worker(self) -> None:
        os.kill(_workers(self.process.pid)[-1], signal.SIGKILL)

    async def restarts(self, exit_code: int, times: int) -> None:
        """Return when it has told so often that a worker ended with this code, and that it starts another one."""
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE_S):
            while times:
                line = await self.process.stderr.readline()
                assert line, "the parent has given up"
                told = json.loads(line)
                times -= told["action"] == "restart" and told["exit_code"] == exit_code


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


@asynccontextmanager
async def workers(
    settings: Settings, http: aiohttp.ClientSession, folder: Path, exit_code: int = 0, **changes: str
) -> AsyncIterator[Parent]:
    """Run a parent with two workers; in the end it is told to stop, and has to exit with this code."""
    port = take_port()
    (folder / "serve.py").write_text(MAIN)
    variables = {
        "GENLOCK_DATABASE_URL": settings.database_url.get_secret_value(),
        "GENLOCK_AMQP_URL": settings.amqp_url.get_secret_value(),
        "GENLOCK_NAMESPACE": settings.namespace,
        "GENLOCK_HTTP_HOST": "127.0.0.1",
        "GENLOCK_HTTP_PORT": str(port),
    }
    variables |= {f"GENLOCK_{name.upper()}": value for name, value in changes.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(folder / "serve.py"), env=os.environ | variables, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Parent(process, f"http://127.0.0.1:{port}", http)
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(DEADLINE_S):
            await process.communicate()
    assert process.returncode == exit_code


async def test_dead_worker_is_started_again_and_all_stop_in_good_order(
    settings: Settings, client: Client, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with workers(settings, http, tmp_path) as parent:
        await until(parent.ready)
        parent.kill_worker()
        await until(parent.unready)
        await until(parent.ready)
        await client.ask(envelope("document.put", new_id(), {"expected_generation": None, "body": {}}))
        async with http.get(f"{parent.url}/metrics") as answer:
            metrics = await answer.text()
    assert 'genlock_commands_total{outcome="succeeded",type="document.put"} 1.0' in metrics


async def test_workers_that_cannot_start_in_an_outage_are_started_until_they_can(
    remote: Settings, broker: Proxy, client: Client, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    async with workers(remote, http, tmp_path, start_timeout_s="1") as parent:
        await until(parent.ready)
        await broker.refuse()
        parent.kill_worker()
        await parent.restarts(-signal.SIGKILL, 1)
        await parent.restarts(1, 2)
        await broker.accept()
        await until(parent.ready)
        await client.ask(envelope("document.put", new_id(), {"expected_generation": None, "body": {}}))


async def test_workers_of_which_none_was_ever_ready_give_up(
    remote: Settings, broker: Proxy, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    await broker.refuse()
    async with workers(remote, http, tmp_path, exit_code=1, start_timeout_s="1") as parent:
        async with asyncio.timeout(DEADLINE_S):
            await parent.process.wait()


def _workers(parent: int) -> list[int]:
    """The processes that a parent has spawned as workers; multiprocessing's resource tracker is none."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
