"""What the deterministic faults share: load on the test's namespace, and servers of their own to be killed."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager

import pytest
from pydantic import SecretStr

from genlock.servers import LocalPostgres, LocalRabbit, Role, make_role
from genlock.servers.programs import Programs
from genlock.service.database.migrate import migrate
from genlock.service.settings import Settings
from tests.faults.load import Load, loaded
from tests.support.proxy import Proxy

PAUSE_S = 0.25
"""What a replica in the process of the test has time for, and what waits for it is not too much."""

SESSIONS = 3
CALL_PAUSE_S = 0.1
"""Fewer calls than at random, likewise."""

QUICK = {
    "batch_size_max": 16,
    "prefetch": 64,
    "decide_timeout_s": 1.0,
    "publish_timeout_s": 1.5,
    "retry_delay_max_s": 0.3,
    "sweep_after_s": 2.0,
    "progress_timeout_s": 15.0,
    "session_s": 10.0,
}
"""Settings by which a replica notices within seconds what takes it half a minute otherwise."""


def at(settings: Settings, database_url: str, amqp_url: str) -> Settings:
    """The same settings with other servers, of which the broker is to be heard of each second."""
    alert = f"{amqp_url}{'&' if '?' in amqp_url else '?'}heartbeat=1"
    urls = {"database_url": SecretStr(database_url), "amqp_url": SecretStr(alert)}
    return settings.model_copy(update=urls)


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Return the settings of a replica that does not wait for long."""
    return settings.model_copy(update=QUICK)


@pytest.fixture
def remote(quick: Settings, broker: Proxy, database: Proxy) -> Settings:
    """Return the settings of such a replica that reaches its servers through the proxies."""
    return at(quick, database.url, broker.url)


@pytest.fixture
async def load(database_url: str, amqp_url: str, namespace: str, lanes: int) -> AsyncIterator[Load]:
    """Publishers and a subscriber in the test's namespace, which is removed in the end."""
    async with some_load(database_url, amqp_url, namespace, lanes) as load:
        yield load


def some_load(
    database_url: str, amqp_url: str, namespace: str, lanes: int = 1, *, sure_replies: bool = True
) -> AbstractAsyncContextManager[Load]:
    """Publishers and a subscriber on these servers."""
    return loaded(
        seed="a fault",
        database_url=database_url,
        amqp_url=amqp_url,
        publisher_url=amqp_url,
        namespace=namespace,
        lanes=lanes,
        pause_s=PAUSE_S,
        sure_replies=sure_replies,
        sessions=SESSIONS,
        call_pause_s=CALL_PAUSE_S,
    )


@pytest.fixture(scope="module")
def rabbit(programs: Programs) -> Iterator[LocalRabbit]:
    """A RabbitMQ that only this module's tests use."""
    with LocalRabbit(programs) as rabbit:
        yield rabbit


@pytest.fixture(scope="module")
def postgres(programs: Programs) -> Iterator[LocalPostgres]:
    """A PostgreSQL that only this module's tests use."""
    with LocalPostgres(programs) as postgres:
        yield postgres


@pytest.fixture(scope="module")
def migrated_url(postgres: LocalPostgres) -> str:
    """Where the service connects to it; it is migrated by then."""

    async def migrated() -> Role:
        role = await make_role(postgres.url)
        await migrate(postgres.url, role.name)
        return role

    return asyncio.run(migrated()).at(postgres.url)
