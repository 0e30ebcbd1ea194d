"""What clients see of a real service is linearizable while connections are cut; of a service that errs it is not."""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from genlock.service.database.transactions import Pool
from genlock.service.reading.answers import Answer, QueryError
from genlock.service.reading.get import get
from genlock.service.settings import Settings
from tests.faults.conftest import PAUSE_S
from tests.faults.load import MANY, SOME, Load, loaded
from tests.guards.removal import without
from tests.support.harness import serving, until
from tests.support.proxy import Proxy

SESSIONS = 6
CUTS = 2


@pytest.fixture
async def calling(database_url: str, amqp_url: str, namespace: str) -> AsyncIterator[Load]:
    """Sessions that call as fast as they are answered; publishers have nothing to do."""
    async with loaded(
        seed="calls",
        database_url=database_url,
        amqp_url=amqp_url,
        publisher_url=amqp_url,
        namespace=namespace,
        sessions=SESSIONS,
        call_pause_s=0.0,
    ) as load:
        yield load


async def until_called(load: Load, more: int) -> None:
    """Return when sessions have made so many more calls, and were answered."""
    enough = len(load.sessions.history.operations) + more

    async def called() -> bool:
        return len(load.sessions.history.operations) >= enough

    await until(called)


async def violations(load: Load, amqp_url: str) -> Sequence[str]:
    """What the checker finds in some calls."""
    load.sessions.begin()
    await until_called(load, MANY)
    await load.sessions.end()
    return (await load.sessions.proved(amqp_url)).violations


async def test_what_clients_see_while_connections_are_cut_is_linearizable(
    remote: Settings, database_url: str, amqp_url: str, broker: Proxy, database: Proxy
) -> None:
    """Two replicas lose their connections, and so do the clients."""
    async with loaded(
        seed="cuts",
        database_url=database_url,
        amqp_url=amqp_url,
        publisher_url=broker.url,
        namespace=remote.namespace,
        pause_s=PAUSE_S,
        sessions=SESSIONS,
    ) as load:
        async with serving(remote), serving(remote):
            load.begin()
            for _ in range(CUTS):
                await until_called(load, SOME)
                database.cut()
                await until_called(load, SOME)
                broker.cut()
            await until_called(load, SOME)
            await load.proved()
        await load.nothing_left()
    [report] = load.reports
    assert report.commands > CUTS * SOME / 2
    assert report.guessed == 0


async def test_service_that_overwrites_unseen_is_found_out(calling: Load, quick: Settings, amqp_url: str) -> None:
    async with serving(quick):
        with without("the expected token"):
            found = await violations(calling, amqp_url)
    assert any("two values of 'token'" in one for one in found), found


async def test_service_that_reads_stale_state_is_found_out(
    calling: Load, quick: Settings, amqp_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each document is shown for ever as it was found first."""
    first: dict[str, Answer] = {}

    async def remembered(pool: Pool, table: Any, subject: str, *, bytes_max: int) -> Answer:
        if subject not in first:
            answer = await get(pool, table, subject, bytes_max=bytes_max)
            if isinstance(answer, QueryError):
                return answer
            first[subject] = answer
        return first[subject]

    monkeypatch.setattr("genlock.service.kinds.documents.reads.get", remembered)
    async with serving(quick):
        found = await violations(calling, amqp_url)
    assert any("was seen after version" in one for one in found), found
