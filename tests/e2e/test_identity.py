"""One namespace works with one database: a replica with another one refuses to start, until that is adopted."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from pydantic import SecretStr

from genlock import servers as servers_module
from genlock.consumers.process.starting import StartError
from genlock.servers import Role, Servers
from genlock.service.database.identity import read_identity
from genlock.service.database.migrate import migrate
from genlock.service.settings import Settings
from tests.support.command_line import genlock
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.harness import Client, connected, serving, until

REFUSED = r"^The namespace \w+ on the broker is bound to another database .* stop all replicas and run genlock adopt\.$"


@pytest.fixture
async def copied(servers: Servers, service_role: Role, owner_url: str) -> AsyncIterator[str]:
    """A copy of the test's database in the same cluster, for the service: it has the same deployment."""
    name = urlsplit(owner_url).path.removeprefix("/")
    async with servers_module.database(servers.database_url, template=name) as url:
        yield service_role.at(url)


@pytest.fixture
async def other(servers: Servers, service_role: Role) -> AsyncIterator[str]:
    """A database with tables of its own."""
    async with servers_module.database(servers.database_url) as url:
        await migrate(url, service_role.name)
        yield service_role.at(url)


def on(settings: Settings, database_url: str) -> Settings:
    return settings.model_copy(update={"database_url": SecretStr(database_url)})


async def refused(settings: Settings) -> None:
    with pytest.raises(StartError, match=REFUSED):
        async with serving(settings):
            pass


async def test_namespace_is_bound_to_the_first_database_and_stays_so(client: Client, settings: Settings) -> None:
    for _ in range(2):
        async with serving(settings):
            await client.ask(creation())


async def test_replica_with_another_database_refuses_to_start(client: Client, settings: Settings, other: str) -> None:
    async with serving(settings):
        await client.ask(creation())
        await refused(on(settings, other))
        await client.ask(creation())


async def test_copy_in_the_same_cluster_is_another_database(client: Client, settings: Settings, copied: str) -> None:
    async with serving(settings):
        await client.ask(creation())
    await refused(on(settings, copied))


async def test_adopted_database_is_the_one_from_then_on(client: Client, settings: Settings, other: str) -> None:
    async with serving(settings):
        await client.ask(creation())
    restored = on(settings, other)
    ran = await genlock(restored, "adopt")
    assert (ran.code, ran.out) == (0, f"The namespace {settings.namespace} is bound to this database now.\n")
    async with serving(restored):
        await client.ask(creation())
    await refused(settings)


async def test_nothing_is_adopted_while_a_replica_works(client: Client, settings: Settings, other: str) -> None:
    async with serving(settings):
        ran = await genlock(on(settings, other), "adopt")
        assert ran.code == 1
        assert "is in use: stop all replicas first" in ran.err
        await client.ask(creation())
    async with serving(settings):
        await client.ask(creation())


@pytest.mark.usefixtures("client")
async def test_events_of_another_database_are_not_published(settings: Settings, other: str) -> None:
    async with serving(settings):
        pass
    ran = await genlock(on(settings, other), "republish", "--since", "1h")
    assert ran.code == 1
    assert "run genlock adopt" in ran.err


async def test_two_namespaces_share_a_database(client: Client, settings: Settings) -> None:
    async with (
        connected(settings.amqp_url.get_secret_value(), f"{settings.namespace}b") as another,
        serving(settings),
        serving(settings, namespace=another.topology.namespace),
    ):
        await client.ask(creation())
        await another.ask(creation())


async def test_identity_is_that_of_deployment_cluster_and_database(database_url: str, owner_url: str) -> None:
    connection = await asyncpg.connect(owner_url)
    parts: Any = await connection.fetchrow(
        "SELECT (SELECT id FROM deployment)::text, (SELECT system_identifier FROM pg_control_system())::text,"
        " (SELECT oid FROM pg_database WHERE datname = current_database())::text"
    )
    await connection.close()
    assert (await read_identity(database_url)).split(".") == list(parts)


async def test_replica_that_is_led_to_another_database_decides_nothing_there_and_says_so(
    client: Client, settings: Settings, servers: Servers, owner_url: str, copied: str
) -> None:
    """As after a change of DNS, or a failover to a copy: the URL stays as it is."""
    before, after = creation(), creation()
    async with serving(settings, retry_delay_max_s=0.2) as service:
        await client.ask(before)
        async with exchanged(servers.database_url, owner_url, copied):
            await client.send(after)

            async def unready() -> bool:
                await service._monitor.look()  # type: ignore[union-attr]
                return any("leads to another database" in why for why in service.status.unready)

            await until(unready)
            assert after["id"] not in client.bodies
        [event] = await client.decided(after)
    assert event["type"] == "document.put.succeeded"


@asynccontextmanager
async def exchanged(admin_url: str, url: str, other: str) -> AsyncIterator[None]:
    """Exchange the names of two databases while the context lasts, and end all sessions of both."""
    one, two = (urlsplit(each).path.removeprefix("/") for each in (url, other))
    admin = await asyncpg.connect(admin_url)
    await exchange(admin, one, two)
    try:
        yield
    finally:
        await exchange(admin, one, two)
        await admin.close()


async def exchange(admin: Connection, one: str, two: str) -> None:
    for name in (one, two):
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        await admin.execute("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = $1", name)
    for old, new in ((one, f"{one}_aside"), (two, one), (f"{one}_aside", two)):
        await admin.execute(f'ALTER DATABASE "{old}" RENAME TO "{new}"')
    for name in (one, two):
        await admin.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


@pytest.mark.usefixtures("client")
async def test_dead_letters_are_not_retried_against_another_database(settings: Settings, other: str) -> None:
    async with serving(settings):
        pass
    ran = await genlock(on(settings, other), "dead", "retry", "--all")
    assert ran.code == 1
    assert "run genlock adopt" in ran.err
