"""A PostgreSQL whose standby takes over under load, and one whose standby is away: nothing that was told is lost."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing

import pytest

from genlock.consumers.commands.overlap import AT_ONCE
from genlock.consumers.process.serve import Service
from genlock.servers.programs import Programs
from genlock.service.settings import Settings
from tests.faults.conftest import at, some_load
from tests.faults.load import SOME, Load
from tests.faults.standby import Pair, wanting_primary
from tests.support.harness import serving, until, until_ready

LEFT_MAX = AT_ONCE + 3
"""How many connections of a replica may wait for the standby: those of the batches that are decided at once, and those
that confirm batches, sweep, and probe whether PostgreSQL commits. A repeated attempt adds none."""

WAITS_S = 2.5
"""How long no standby answers at least: longer than a replica waits for a COMMIT, and than it may hold a delivery."""

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def pair(programs: Programs) -> Iterator[Pair]:
    """A primary and its standby, which only this module's tests use; each of them leaves both in sync."""
    with closing(Pair(programs)) as pair:
        asyncio.run(pair.start())
        yield pair


@asynccontextmanager
async def at_work(pair: Pair, amqp_url: str, settings: Settings) -> AsyncIterator[tuple[Load, Service]]:
    """Publishers and a replica at work; in the end nothing may be missing, and all goes on by itself."""
    async with some_load(wanting_primary(pair.service_url), amqp_url, settings.namespace) as load:
        async with serving(at(settings, pair.service_url, amqp_url)) as service:
            load.begin()
            await load.until_seen(SOME)
            yield load, service
            await load.until_seen(SOME)
            await load.proved()
            await until_ready(service)
        await load.nothing_left()


@pytest.mark.parametrize("end", ["lost", "stopped"])
async def test_a_standby_that_takes_over_under_load_keeps_every_verdict(
    pair: Pair, amqp_url: str, quick: Settings, end: str
) -> None:
    """The old primary comes back as the standby of the new one, and is not taken for the primary."""
    async with at_work(pair, amqp_url, quick) as (load, _):
        await asyncio.to_thread(pair.primary.kill if end == "lost" else pair.primary.stop)
        await pair.promote()
        await load.probe()
        await load.until_seen(SOME)
        await pair.follow()
        await load.probe()


async def test_while_the_standby_is_away_nothing_is_told_by_a_service_that_lives(
    pair: Pair, amqp_url: str, quick: Settings
) -> None:
    impatient = quick.model_copy(update={"progress_timeout_s": 1.0})
    async with at_work(pair, amqp_url, impatient) as (load, service):
        await asyncio.to_thread(pair.standby.kill)
        probing = asyncio.create_task(load.probe())
        loop = asyncio.get_running_loop()
        enough = loop.time() + WAITS_S

        async def holds_out() -> bool:
            assert service.status.dead == []
            assert not probing.done()
            return loop.time() > enough and "PostgreSQL does not commit" in service.status.unready

        await until(holds_out)
        assert await pair.waiting_commits() <= LEFT_MAX
        await pair.start_standby()
        await probing
