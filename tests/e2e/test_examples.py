"""Each example runs as a user would run it, against real servers, and passes the strict type checker."""

import asyncio
import os
import sys

import pytest

from genlock.service.settings import Settings
from tests.support.harness import DEADLINE_S, Client, serving
from tests.support.paths import REPOSITORY

EXAMPLES = REPOSITORY / "examples"
LINES_MAX = 40

SAYS: dict[str, list[str]] = {
    "send_and_match.py": ["stored as generation=0", "exists: /examples/send made it"],
    "publish_and_subscribe.py": ["document.put.succeeded host-9"],
    "retry_loop.py": ["5 visitors took", "visits: 5"],
    "durable_subscription.py": ["read document.put.succeeded rack-1", "after a pause", "succeeded rack-3"],
    "queries.py": ["CREATE FAILED", "['stack.create', 'stack.cancel']", "stack.create.succeeded", "invalid_data"],
    "plain_aio_pika.py": ["document.put.succeeded {'generation': 0}"],
    "claim_capacity.py": ["12 VCPUs for", "capacity_exceeded: ", "others use 12 of its capacity of 16"],
    "move_provider.py": ["provider.update.succeeded", "other rack: True", "parent_loop"],
}


def test_every_example_is_tried() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == SAYS.keys()


@pytest.mark.parametrize("name", SAYS)
def test_an_example_is_short(name: str) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) <= LINES_MAX


@pytest.mark.parametrize("name", SAYS)
async def test_an_example_runs(name: str, client: Client, settings: Settings) -> None:
    environment = os.environ | {
        "GENLOCK_AMQP_URL": settings.amqp_url.get_secret_value(),
        "GENLOCK_NAMESPACE": settings.namespace,
    }
    async with serving(settings):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-W",
            "error",
            str(EXAMPLES / name),
            env=environment,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE_S):
            output, errors = await process.communicate()
    # Only one of them makes it; a queue that is not there may be deleted too.
    await client.channel.queue_delete(f"audit-{settings.namespace}")
    assert (process.returncode, errors.decode()) == (0, "")
    text = output.decode()
    assert [words for words in SAYS[name] if words not in text] == [], text


async def test_examples_have_types() -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "mypy", "--strict", "--config-file", os.devnull),
        *map(str, sorted(EXAMPLES.glob("*.py"))),
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
