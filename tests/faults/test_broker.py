"""A RabbitMQ that is killed, or short of memory, under load: it comes back, and all goes on by itself."""

import asyncio
from typing import Any

import pytest

from genlock.consumers.process.serve import Service
from genlock.servers import LocalRabbit
from genlock.service.settings import Settings
from tests.faults.conftest import at, some_load
from tests.faults.environment import until_kept
from tests.faults.injection import DOWN_S, alarmed, on_rabbit
from tests.faults.load import SOME, Load
from tests.faults.schedule import BROKER, Fault, Planned
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.harness import connected, serving, until, until_ready

STILL_S = 0.5
FULL: dict[str, Any] = {"x-max-length": 0, "x-overflow": "reject-publish"}
BLOCKED_S = 3.0
"""How long the broker takes nothing: longer than the replica waits for a confirm, and than it may hold a delivery."""


pytestmark = pytest.mark.timeout(240)


@pytest.mark.parametrize("lanes", [1, 3])
async def test_a_broker_that_is_killed_and_started_again_under_load_loses_and_repeats_nothing(
    rabbit: LocalRabbit, database_url: str, namespace: str, quick: Settings, lanes: int
) -> None:
    async with some_load(database_url, rabbit.url, namespace, lanes) as load:
        await until_kept([rabbit], load.topology)
        async with serving(at(quick, database_url, rabbit.url)) as service:
            load.begin()
            await load.until_seen(SOME)
            await on_rabbit(rabbit, Planned(0, Fault.KILL, BROKER, DOWN_S))
            await load.probe()
            await load.until_seen(SOME)
            await load.proved()
            await until_ready(service)
        await load.nothing_left()


async def test_while_the_broker_is_short_of_memory_commands_are_held_by_a_service_that_lives(
    rabbit: LocalRabbit, database_url: str, namespace: str, quick: Settings
) -> None:
    impatient = quick.model_copy(update={"progress_timeout_s": 1.0})
    async with some_load(database_url, rabbit.url, namespace) as load:
        async with serving(at(impatient, database_url, rabbit.url)) as service:
            load.begin()
            await load.until_seen(SOME)
            await alarmed(rabbit, lambda: _lives_and_holds(load, service))
            await load.probe()
            await load.until_seen(SOME)
            await load.proved()
            await until_ready(service)
        await load.nothing_left()


async def test_messages_that_wait_cost_no_session_while_the_broker_is_short_of_memory(
    rabbit: LocalRabbit, database_url: str, namespace: str, quick: Settings, second: Connection
) -> None:
    async with connected(rabbit.url, namespace) as client:
        full = await client.channel.declare_queue(exclusive=True, arguments=FULL)
        await full.bind(client.topology.events, routing_key="#")
        settings = at(quick, database_url, rabbit.url)
        async with serving(settings, session_s=3600.0) as service:
            session = service.session
            await client.ask(*(creation() for _ in range(3)))

            async def tried_in_vain() -> None:
                tries = await second.fetchval("UPDATE destinations SET next_at = now() RETURNING tries")
                await until_tried(second, tries + 1)

            await alarmed(rabbit, tried_in_vain)
            await until_ready(service)
            await client.ask(creation())
            assert service.session is session
            await full.delete(if_empty=False)
            await second.execute("UPDATE destinations SET next_at = now()")
            await until_tried(second, None)
    assert await second.fetchval("SELECT count(*) FROM waiting_messages") == 0


async def until_tried(second: Connection, tries: int | None) -> None:
    """Return when the one destination was tried in vain so often; with None, when nothing waits for it."""

    async def tried() -> bool:
        found = await second.fetchval("SELECT tries FROM destinations")
        return found is None if tries is None else found is not None and found >= tries

    await until(tried)


async def _lives_and_holds(load: Load, service: Service) -> None:
    """See that nothing is published while the broker blocks its publishers, and that this is not taken for a death."""
    loop = asyncio.get_running_loop()
    seen, since = -1, loop.time()
    until = since + BLOCKED_S
    while loop.time() < until:
        if len(load.journal.events) != seen:
            seen, since = len(load.journal.events), loop.time()
        assert service.status.dead == []
        await asyncio.sleep(0.05)
    assert loop.time() - since > STILL_S
