"""A replica that kills itself at a step, as a power cut would."""

import asyncio
import os
import signal

from genlock.service.deciding.failpoints import Step
from genlock.service.settings import Settings
from tests.support.factories import Json
from tests.support.forked import start_module
from tests.support.harness import DEADLINE_S, Client
from tests.support.paths import REPOSITORY

BATCH_SIZE = 8


async def killed_at(step: Step, count: int, settings: Settings, *more: str) -> None:
    """Run a replica until it has killed itself. With "notes" its rule of `document.put` sends further messages."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GENLOCK_")}
    environment |= {
        "GENLOCK_DATABASE_URL": settings.database_url.get_secret_value(),
        "GENLOCK_AMQP_URL": settings.amqp_url.get_secret_value(),
        "GENLOCK_NAMESPACE": settings.namespace,
        "GENLOCK_BATCH_SIZE_MAX": str(BATCH_SIZE),
    }
    process = await start_module(
        "tests.e2e.programs.crash_at_step",
        step,
        str(count),
        *more,
        cwd=REPOSITORY,
        env=environment,
    )
    async with asyncio.timeout(DEADLINE_S):
        assert await process.wait() == -signal.SIGKILL


async def killed_before_publishing(client: Client, settings: Settings, commands: list[Json]) -> None:
    """Have commands with notes decided by a replica that dies before it publishes anything."""
    await client.send(*commands)
    await killed_at(Step.COMMITTED, 1, settings, "notes")
    await client.until_depth(client.topology.inbox, len(commands))
