"""Two `genlock serve` at once, one of which is killed, told to end, or stands still for a while, under load."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp
import pytest

from genlock.servers.ports import take_port
from genlock.service.database.migrate import migrate
from tests.faults.environment import QUICK, REPLICAS, all_ready
from tests.faults.injection import DOWN_S, on_replica
from tests.faults.load import SOME, Load
from tests.faults.replica import Replica, running
from tests.faults.schedule import Fault, Planned
from tests.support.upgrades import next_migration, upgraded

FROZEN_S = 4.5
"""Longer than the broker waits for a heartbeat: it gives what the replica holds to the other one."""


@pytest.fixture
async def replicas(
    database_url: str, amqp_url: str, namespace: str, lanes: int, tmp_path: Path
) -> AsyncIterator[list[Replica]]:
    """Two replicas that share an inbox, or of which one has the lanes."""
    async with AsyncExitStack() as stack:
        started = []
        for name in REPLICAS:
            settings = QUICK | {
                "DATABASE_URL": database_url,
                "AMQP_URL": amqp_url,
                "NAMESPACE": namespace,
                "LANES": str(lanes),
                "HTTP_HOST": "127.0.0.1",
                "HTTP_PORT": str(take_port()),
            }
            started.append(await stack.enter_async_context(running(name, settings, tmp_path)))
        yield started


@pytest.mark.parametrize("lanes", [1, 3])
@pytest.mark.parametrize("fault", [Fault.KILL, Fault.TERMINATE, Fault.FREEZE])
async def test_what_one_of_two_processes_leaves_undone_the_other_one_does(
    load: Load, replicas: list[Replica], fault: Fault
) -> None:
    async with aiohttp.ClientSession() as http:
        await all_ready(replicas, http)
        load.begin()
        await load.until_seen(SOME)
        lasts_s = FROZEN_S if fault is Fault.FREEZE else DOWN_S
        await on_replica(replicas[0], Planned(0, fault, REPLICAS[0], lasts_s))
        await load.probe()
        await all_ready(replicas, http)
        await load.until_seen(SOME)
        await load.proved()
    assert [await replica.terminate(timeout_s=10) for replica in replicas] == [0, 0]
    assert [replica.ended_by_itself for replica in replicas] == [[], []]
    await load.nothing_left()


async def test_replica_that_is_killed_after_the_next_version_has_migrated_comes_back_beside_the_others(
    load: Load, replicas: list[Replica], owner_url: str
) -> None:
    async with aiohttp.ClientSession() as http:
        await all_ready(replicas, http)
        load.begin()
        await load.until_seen(SOME)
        with upgraded(next_migration()):
            applied = await asyncio.gather(migrate(owner_url), migrate(owner_url))
        assert sorted(map(len, applied)) == [0, 1]
        await on_replica(replicas[0], Planned(0, Fault.KILL, REPLICAS[0], DOWN_S))
        await load.probe()
        await all_ready(replicas, http)
        await load.until_seen(SOME)
        await load.proved()
    assert [await replica.terminate(timeout_s=10) for replica in replicas] == [0, 0]
    assert [replica.ended_by_itself for replica in replicas] == [[], []]
    assert "newer schema, and compatible" in replicas[0].log.read_text()
