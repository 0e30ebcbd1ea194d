"""A database whose clock is set while a replica works: what is held, what goes on, and what is remembered."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta

import aiohttp
import asyncpg
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from genlock.consumers.process.replica import Service
from genlock.servers import make_role
from genlock.servers.programs import Programs
from genlock.service.database.migrate import migrate
from genlock.service.database.verify import verify
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.retention import Retention
from genlock.service.settings import Settings
from tests.e2e.test_clocks import replica
from tests.support.database import Connection
from tests.support.deciders import deciding_pool
from tests.support.documents import creation
from tests.support.factories import RETENTION, Json, envelope, new_id
from tests.support.faked_clocks import FakedPostgres
from tests.support.harness import Client, serving, until

DAYS_20_S = 20 * 86_400
YEAR_9998_S = 7_970 * 31_556_952
"""From now to about the year 9996."""


@pytest.fixture
async def postgres(programs: Programs) -> AsyncIterator[FakedPostgres]:
    """A PostgreSQL whose clock the test sets."""
    with FakedPostgres(programs) as postgres:
        yield postgres


@pytest.fixture
async def settings(postgres: FakedPostgres, amqp_url: str, namespace: str) -> Settings:
    """Return the settings of a replica on that database, which is migrated."""
    role = await make_role(postgres.url)
    await migrate(postgres.url, role.name)
    return Settings(database_url=SecretStr(role.at(postgres.url)), amqp_url=SecretStr(amqp_url), namespace=namespace)


@pytest.fixture
async def looking(postgres: FakedPostgres) -> AsyncIterator[Connection]:
    """A connection of the owner."""
    connection = await asyncpg.connect(postgres.url)
    yield connection
    await connection.close()


def dated(ago_s: float = 0.0) -> Json:
    """A creation that was made so long ago, by a clock that is right."""
    return creation(time=(datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat())


def stepped(by_s: float, service: Service) -> Callable[[], bool]:
    """Whether a replica tells that the database's clock is so far away from where it was."""
    return lambda: abs(service.status.clock_step_s - by_s) < 5


def skewed(by_s: float, service: Service) -> Callable[[], bool]:
    """Whether a replica tells that its own clock is so far ahead of the database's."""
    return lambda: abs(service.status.clock_skew_s - by_s) < 5


async def until_told(told: Callable[[], bool]) -> None:
    async def asked() -> bool:
        return told()

    await until(asked)


def counted(service: Service, name: str) -> float:
    """The value of a metric without labels."""
    value = service.registry.get_sample_value(name)
    assert value is not None
    return value


@pytest.mark.parametrize("by_s", [DAYS_20_S, -DAYS_20_S, YEAR_9998_S])
async def test_commands_are_held_that_only_one_clock_calls_expired_while_others_go_on(
    client: Client, settings: Settings, postgres: FakedPostgres, looking: Connection, by_s: int
) -> None:
    """Put forward, it calls new commands expired; put back, it calls new what the replica knows to be too old."""
    ago_s = 0.0 if by_s > 0 else 13.5 * 86_400
    verdict = "succeeded" if by_s > 0 else "rejected"
    async with serving(settings, retry_delay_max_s=0.2) as service:
        await client.ask(creation())
        await until_told(stepped(0, service))
        postgres.clock.set(by_s)
        await until_told(stepped(by_s, service))
        doubtful, others = [dated(ago_s) for _ in range(3)], [creation() for _ in range(5)]
        await client.send(*doubtful, *others)
        events = await client.decided(*others)
        assert {event["type"] for event in events} == {"document.put.succeeded"}
        assert await looking.fetchval("SELECT count(*) FROM ledger") == 1 + len(others)
        assert counted(service, "genlock_clock_steps_total") == 1
        assert any("of that of the database" in why or "behind" in why for why in service.status.unready)
        postgres.clock.set(0)
        events = await client.decided(*doubtful)
        assert {event["type"] for event in events} == {f"document.put.{verdict}"}
        await until_told(stepped(0, service))
        await client.ask(creation())
        await until_told(lambda: not service.status.unready)
    assert [checked.claim async for checked in verify(postgres.url, KINDS) if checked.violations] == []


async def test_step_of_a_time_server_holds_nothing(client: Client, settings: Settings, postgres: FakedPostgres) -> None:
    async with serving(settings) as service:
        await client.ask(creation())
        for by_s in (59, 0, -59):
            postgres.clock.set(by_s)
            await until_told(skewed(-by_s, service))
            events = await client.ask(dated(), creation(), dated(13.1 * 86_400))
            assert [event["type"].rpartition(".")[2] for event in events] == ["succeeded", "succeeded", "rejected"]
            assert not service.status.unready
        assert counted(service, "genlock_clock_steps_total") == 0


async def test_history_that_was_written_through_a_jump_keeps_its_order_and_the_ledger_its_memory(
    client: Client, settings: Settings, postgres: FakedPostgres, looking: Connection
) -> None:
    """What was applied is not applied again, whatever retention finds meanwhile, and wherever it runs."""
    document = new_id()
    created = envelope("document.put", document, {"expected_generation": None, "body": {}})
    merges = [envelope("document.merge", document, {"patch": {f"n{n}": n}}) for n in range(6)]
    async with deciding_pool(settings.database, 2) as pool:
        retention = Retention(pool, RETENTION, 20)
        of_ahead = Retention(pool, RETENTION, 20, clock=lambda: datetime.now(UTC) + timedelta(seconds=DAYS_20_S))
        async with serving(settings):
            await client.ask(created, *merges[:3])
            await retention.purge()
            await of_ahead.purge()
            postgres.clock.set(DAYS_20_S)
            await client.ask(*merges[3:])
        # A replica that starts meanwhile refuses, unless its own clock is wrong too.
        assert [await one.purge() for one in (retention, of_ahead) for _ in range(3)] == [0] * 6
        postgres.clock.set(0)
        async with serving(settings):
            assert [await one.purge() for one in (retention, of_ahead)] == [0, 0]
            await client.send(created, *merges)
            await client.decided(created, created, *merges, *merges)
    assert all(len(set(client.bodies[command["id"]])) == 1 for command in (created, *merges))
    assert await looking.fetchval("SELECT sequence FROM documents") == 1 + len(merges)
    assert [checked.claim async for checked in verify(postgres.url, KINDS) if checked.violations] == []


async def test_clock_of_a_whole_machine_that_is_set_expires_nothing(
    client: Client, settings: Settings, postgres: FakedPostgres, looking: Connection
) -> None:
    """PostgreSQL and the replica are on it: only the monotonic clock tells."""
    async with replica(settings, postgres.clock) as url, aiohttp.ClientSession() as http:

        async def steps() -> float:
            async with http.get(f"{url}/metrics") as answer:
                families = text_string_to_metric_families(await answer.text())
            [sample] = [one for family in families for one in family.samples if one.name == "genlock_clock_steps_total"]
            return sample.value

        async def noticed() -> bool:
            return await steps() == 1

        await client.ask(dated())
        postgres.clock.set(DAYS_20_S)
        await until(noticed)
        doubtful, others = [dated() for _ in range(3)], [creation() for _ in range(5)]
        await client.send(*doubtful, *others)
        events = await client.decided(*others)
        assert {event["type"] for event in events} == {"document.put.succeeded"}
        assert await looking.fetchval("SELECT count(*) FROM ledger") == 1 + len(others)
        postgres.clock.set(0)
        events = await client.decided(*doubtful)
        assert {event["type"] for event in events} == {"document.put.succeeded"}
