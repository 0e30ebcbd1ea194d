"""A command that crashes PostgreSQL each time that it is decided: it ends by itself, and harms no other for long."""

from collections.abc import AsyncIterator

import asyncpg
import pytest
from pydantic import SecretStr

from genlock.servers import LocalPostgres, make_role
from genlock.servers.programs import Programs
from genlock.service.database.migrate import migrate
from genlock.service.settings import Settings
from tests.support.documents import creation
from tests.support.factories import new_id
from tests.support.harness import Client, serving

NEIGHBOURS = 40

CRASHES = """
CREATE SEQUENCE crashes;
CREATE FUNCTION crash() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$
BEGIN
    EXECUTE format('COPY (SELECT 1) TO PROGRAM %L', 'kill -9 ' || pg_backend_pid());
    RETURN NEW;
END $$;
CREATE TRIGGER crash BEFORE INSERT OR UPDATE ON documents FOR EACH ROW WHEN ({}) EXECUTE FUNCTION crash();
"""


@pytest.fixture
async def postgres(programs: Programs) -> AsyncIterator[LocalPostgres]:
    """A PostgreSQL that no other test uses."""
    with LocalPostgres(programs) as postgres:
        yield postgres


@pytest.fixture
async def settings(postgres: LocalPostgres, amqp_url: str, namespace: str) -> Settings:
    """Return the settings of a replica on that database, which is migrated."""
    role = await make_role(postgres.url)
    await migrate(postgres.url, role.name)
    return Settings(
        database_url=SecretStr(role.at(postgres.url)),
        amqp_url=SecretStr(amqp_url),
        namespace=namespace,
        retry_delay_max_s=0.5,
    )


async def prepare(postgres: LocalPostgres, condition: str) -> None:
    connection = await asyncpg.connect(postgres.url)
    await connection.execute(CRASHES.format(condition))
    await connection.close()


async def test_command_that_crashes_postgresql_at_each_try_ends_as_internal_error_and_others_succeed(
    client: Client, settings: Settings, postgres: LocalPostgres
) -> None:
    await prepare(postgres, "NEW.body ->> 'bad' = 'yes'")
    bad, neighbours = creation(body={"bad": "yes"}), [creation(new_id()) for _ in range(NEIGHBOURS)]
    async with serving(settings), serving(settings):
        await client.send(*neighbours[:20], bad, *neighbours[20:])
        events = await client.decided(*neighbours)
        [event] = await client.decided(bad)
        later = await client.ask(creation())
    assert event["data"]["code"] == "internal_error"
    assert {event["type"] for event in (*events, *later)} == {"document.put.succeeded"}
