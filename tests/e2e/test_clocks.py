"""Replicas as processes of their own whose clock is wrong, from the start or all of a sudden."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from genlock.consumers.commands.registration import FIRST_MESSAGES
from genlock.servers.ports import give_port_back, take_port
from genlock.service.settings import Settings
from tests.support.command_line import ended, lines_until, start_anew
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.faked_clocks import FakedClock
from tests.support.harness import Client, until

DAYS_20_S = 20 * 86_400


@pytest.fixture
def faked(tmp_path: Path) -> FakedClock:
    """The clock of a replica."""
    return FakedClock(tmp_path / "clock")


@asynccontextmanager
async def replica(settings: Settings, faked: FakedClock) -> AsyncIterator[str]:
    """Run a replica with a clock of its own; yields where it answers HTTP."""
    port = take_port()
    variables = {"GENLOCK_HTTP_PORT": str(port), "GENLOCK_RETRY_DELAY_MAX_S": "0.2", **faked.variables}
    process = await start_anew(settings, "serve", **variables)
    try:
        await lines_until(process, "ready")
        yield f"http://127.0.0.1:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
        give_port_back(port)


@pytest.mark.parametrize(("ahead_s", "way"), [(DAYS_20_S, "ahead of"), (-DAYS_20_S, "behind")])
async def test_replica_with_a_wrong_clock_refuses_to_start(
    settings: Settings, faked: FakedClock, ahead_s: int, way: str
) -> None:
    faked.set(ahead_s)
    process = await start_anew(settings, "serve", GENLOCK_HTTP_PORT="0", **faked.variables)
    code, lines = await ended(process)
    assert code == 1
    far = r"(20 days, 0:00|19 days, 23:59):\d\d \(17\d{5} s\)"
    assert re.match(rf"The clock of this machine is {far} {way} that of the database", lines[-1]["why"])


async def test_replica_whose_clock_jumps_is_not_ready_and_rejects_nothing_as_expired(
    client: Client, settings: Settings, second: Connection, faked: FakedClock
) -> None:
    async with replica(settings, faked) as url, aiohttp.ClientSession() as http:

        async def told(page: str) -> tuple[int, str]:
            async with http.get(f"{url}/{page}") as answer:
                return answer.status, await answer.text()

        async def unready() -> bool:
            code, text = await told("readyz")
            return code == 503 and "(1728000 s) ahead of that of the database" in text

        async def ready() -> bool:
            return (await told("readyz"))[0] == 200

        await client.ask(creation(time=datetime.now(UTC).isoformat()))
        faked.set(DAYS_20_S)
        await until(unready)
        dated = [creation(time=datetime.now(UTC).isoformat()) for _ in range(3)]
        undated = [creation() for _ in range(3)]
        await client.send(*(command for pair in zip(dated, undated, strict=True) for command in pair))
        events = await client.decided(*undated)
        assert {event["type"] for event in events} == {"document.put.succeeded"}
        assert await second.fetchval("SELECT count(*) FROM ledger") == 1 + len(undated)
        assert (await told("livez"))[0] == 200
        metrics = text_string_to_metric_families((await told("metrics"))[1])
        [skew] = [metric.samples[0].value for metric in metrics if metric.name == "genlock_clock_skew_seconds"]
        assert skew == pytest.approx(DAYS_20_S, abs=10)
        faked.set(0)
        events = await client.decided(*dated)
        assert {event["type"] for event in events} == {"document.put.succeeded"}
        await until(ready)
        await client.until_empty(client.topology.inbox)
        await client.ask(creation())


async def test_command_held_for_the_clocks_keeps_no_other_command_waiting(
    client: Client, settings: Settings, faked: FakedClock
) -> None:
    """From the first batch on, after which a replica registers anew with a larger prefetch."""
    async with replica(settings, faked):
        faked.set(DAYS_20_S)
        dated = [creation(time=datetime.now(UTC).isoformat()) for _ in range(3)]
        first, later = creation(), [creation() for _ in range(FIRST_MESSAGES * 2)]
        await client.send(*dated, first)
        await client.decided(first)
        await client.send(*later)
        await client.decided(*later)
        assert not any(client.bodies.get(command["id"]) for command in dated)
        faked.set(0)
        await client.decided(*dated)
        await client.until_empty(client.topology.inbox)
