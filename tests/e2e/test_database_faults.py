"""Each trouble that a database can have: what came is held and not given back, and goes on by itself."""

import secrets
from collections.abc import AsyncIterator
from urllib.parse import quote, urlsplit

import pytest
from pydantic import SecretStr

from genlock.consumers.process.serve import Service
from genlock.service.settings import Settings
from tests.support.database import END_SESSIONS, Connection
from tests.support.documents import creation, merge
from tests.support.factories import Json, new_id
from tests.support.failing_writes import fail, fail_where, failed, mend
from tests.support.harness import Client, serving, until, until_waiting
from tests.support.proxy import Cut, Proxy

END_WAITING = f"{END_SESSIONS} AND wait_event_type = 'Lock'"


@pytest.fixture
def quick(settings: Settings) -> Settings:
    """Return settings with short pauses."""
    return settings.model_copy(update={"retry_delay_max_s": 0.1, "batch_size_max": 8})


async def until_holding(service: Service) -> None:
    """Return when the replica has met the trouble, and holds what it had got."""

    async def holding() -> bool:
        troubles = service.registry.get_sample_value("genlock_database_trouble_total") or 0
        return troubles > 0 and service._activity.held > 0

    await until(holding)


async def check_held_and_decided_once(client: Client, service: Service, *commands: Json) -> None:
    """See that all is decided, that nothing had to come again for it, and that the replica is as it was."""
    await client.decided(*commands)
    assert [len(client.bodies[command["id"]]) for command in commands] == [1] * len(commands)
    assert service.registry.get_sample_value("genlock_redeliveries_total") == 0
    assert service.ready.is_set()
    await client.until_empty(client.topology.inbox)


@pytest.mark.parametrize("state", ["53100", "53200", "58030", "57014", "55P03", "XX000"])
async def test_what_comes_while_nothing_can_be_written_is_held_and_the_rest_waits_in_the_queue(
    client: Client, quick: Settings, second: Connection, state: str
) -> None:
    """53100 is a full disk, which ends by itself as soon as there is room."""
    await fail_where(second, "true", state)
    async with serving(quick, prefetch=1) as service:
        held, waiting = creation(new_id()), creation(new_id())
        await client.send(held)
        await until_holding(service)
        await client.send(waiting)
        await client.until_depth(client.topology.inbox, 1)
        await mend(second)
        await check_held_and_decided_once(client, service, held, waiting)


@pytest.mark.parametrize("state", ["40001", "40P01"])
async def test_what_the_database_rolls_back_is_decided_again_without_a_pause(
    client: Client, quick: Settings, second: Connection, state: str
) -> None:
    document = new_id()
    await fail(second, document, state, times=3)
    command = creation(document)
    async with serving(quick) as service:
        await client.send(command)
        await check_held_and_decided_once(client, service, command)
        assert service.registry.get_sample_value("genlock_database_trouble_total") == 0
    assert await failed(second) == 4


async def test_table_that_is_altered_meanwhile_is_written_with_a_new_plan(
    client: Client, quick: Settings, second: Connection
) -> None:
    document = new_id()
    created, merged = creation(document), merge(document)
    async with serving(quick) as service:
        await client.ask(created)
        await second.execute("ALTER TABLE documents ADD COLUMN fresh integer, ALTER COLUMN maker_source TYPE varchar")
        await client.send(merged)
        await check_held_and_decided_once(client, service, created, merged)


async def test_statement_that_is_late_is_given_up_and_its_command_held(
    client: Client, quick: Settings, second: Connection
) -> None:
    document = new_id()
    created, merged = creation(document), merge(document)
    async with serving(quick, decide_timeout_s=0.3) as service:
        await client.ask(created)
        async with second.transaction():
            await second.execute("LOCK TABLE documents")
            await client.send(merged)
            await until_holding(service)
        await check_held_and_decided_once(client, service, created, merged)


async def test_backend_that_an_administrator_ends_is_replaced(
    client: Client, quick: Settings, second: Connection
) -> None:
    document = new_id()
    created, merged = creation(document), merge(document)
    async with serving(quick) as service:
        await client.ask(created)
        async with second.transaction():
            await second.execute("LOCK TABLE documents")
            await client.send(merged)
            for _ in range(2):
                await until_waiting(second, 1)
                assert await second.fetch(END_WAITING)
                await until_holding(service)
        await check_held_and_decided_once(client, service, created, merged)


async def test_connection_that_drops_in_the_middle_of_a_transaction_is_replaced(
    client: Client, remote: Settings, database: Proxy
) -> None:
    commands = [creation(new_id()) for _ in range(3)]
    async with serving(remote) as service:
        database.next_cut = Cut(b"INSERT INTO ledger")
        await client.send(*commands)
        await check_held_and_decided_once(client, service, *commands)
    assert database.next_cut is None


async def test_database_that_becomes_read_only_is_left_for_one_that_is_not(
    client: Client, quick: Settings, second: Connection
) -> None:
    """As after a switchover: a replica that kept its connection to the old primary would never recover."""
    before, held = creation(new_id()), creation(new_id())
    name = await second.fetchval("SELECT quote_ident(current_database())")
    async with serving(quick) as service:
        await client.ask(before)
        await second.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await second.execute(END_SESSIONS)
        await client.send(held)
        await until_holding(service)
        await second.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await check_held_and_decided_once(client, service, before, held)


@pytest.fixture
async def role(second: Connection, database_url: str) -> AsyncIterator[str]:
    """A role without superuser rights, so that a limit of connections applies to it; yields its URL."""
    name, password = f"t{secrets.token_hex(6)}", secrets.token_hex(8)
    await second.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'")
    await second.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
    await second.execute(f"GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO {name}")
    parts = urlsplit(database_url)
    yield parts._replace(netloc=f"{name}:{quote(password)}@{parts.netloc.rpartition('@')[2]}").geturl()
    await second.execute(f"DROP OWNED BY {name}")
    await second.execute(f"DROP ROLE {name}")


async def test_server_that_takes_no_more_connections_is_asked_until_it_does(
    client: Client, quick: Settings, second: Connection, role: str
) -> None:
    before, held = creation(new_id()), creation(new_id())
    name = urlsplit(role).username
    async with serving(quick, database_url=SecretStr(role)) as service:
        await client.ask(before)
        await second.execute(f"ALTER ROLE {name} CONNECTION LIMIT 0")
        await second.execute(END_SESSIONS)
        await client.send(held)
        await until_holding(service)
        await second.execute(f"ALTER ROLE {name} CONNECTION LIMIT -1")
        await check_held_and_decided_once(client, service, before, held)
