"""Several workers: the parent answers HTTP for all of them, starts a dead one again, and stops them in good order."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from tests.factories import envelope, new_id
from tests.harness import DEADLINE_S, Client, until

MAIN = """
import sys
from genlock.consumers.process import main
from genlock.service.settings import Settings
if __name__ == "__main__":
    sys.exit(main(Settings(), workers=2))
"""


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
        return port


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as http:
        yield http


async def test_dead_worker_is_started_again_and_all_stop_in_good_order(
    database_url: str, amqp_url: str, client: Client, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    port = free_port()
    (tmp_path / "serve.py").write_text(MAIN)
    variables = {
        "GENLOCK_DATABASE_URL": database_url,
        "GENLOCK_AMQP_URL": amqp_url,
        "GENLOCK_NAMESPACE": client.topology.namespace,
        "GENLOCK_HTTP_HOST": "127.0.0.1",
        "GENLOCK_HTTP_PORT": str(port),
    }
    parent = await asyncio.create_subprocess_exec(
        sys.executable, str(tmp_path / "serve.py"), env=os.environ | variables, stderr=asyncio.subprocess.DEVNULL
    )

    async def ready() -> bool:
        try:
            async with http.get(f"http://127.0.0.1:{port}/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientError:
            return False

    async def unready() -> bool:
        return not await ready()

    try:
        await until(ready)
        os.kill(_workers(parent.pid)[-1], signal.SIGKILL)
        await until(unready)
        await until(ready)
        await client.ask(envelope("document.put", new_id(), {"expected_generation": None, "body": {}}))
        async with http.get(f"http://127.0.0.1:{port}/metrics") as answer:
            metrics = await answer.text()
        assert 'genlock_commands_total{outcome="succeeded",type="document.put"} 1.0' in metrics
    finally:
        parent.terminate()
        async with asyncio.timeout(DEADLINE_S):
            exit_code = await parent.wait()
    assert exit_code == 0


def _workers(parent: int) -> list[int]:
    """The processes that a parent has spawned as workers; multiprocessing's resource tracker is none."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for pid in map(int, children) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
