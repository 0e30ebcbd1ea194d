"""Databases on which the promises would not hold: `serve` and `migrate` refuse them, and say what to run."""

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from genlock import servers as servers_module
from genlock.consumers.process.starting import StartError, Starting
from genlock.consumers.process.stopping import Stop
from genlock.servers import Role, Servers
from genlock.service.database.lock_waits import LockedError
from genlock.service.database.migrate import SchemaError, migrate
from genlock.service.database.search_paths import TABLES
from genlock.service.database.soundness import check_soundness
from genlock.service.database.statements import statement
from genlock.service.deciding.decide import Decider
from genlock.service.settings import Settings
from tests.support.database import Connection
from tests.support.factories import new_id, put
from tests.support.harness import outcomes

SEQUENCES = """
SELECT sequence.relname::text AS name, pg_class.relname::text AS table
FROM pg_depend
JOIN pg_class AS sequence ON sequence.oid = pg_depend.objid AND sequence.relkind = 'S'
JOIN pg_class ON pg_class.oid = pg_depend.refobjid AND pg_class.relname = ANY ($1)
WHERE deptype IN ('a', 'i')
"""


@pytest.fixture
async def admin(owner_url: str) -> AsyncIterator[Connection]:
    """A connection of an administrator to the test's database."""
    connection = await asyncpg.connect(owner_url)
    yield connection
    await connection.close()


@dataclass(frozen=True)
class Commands:
    """The two commands that check a database."""

    settings: Settings
    owner_url: str
    service_role: Role

    async def succeed(self) -> None:
        await migrate(self.owner_url, self.service_role.name)
        await Starting(self.settings, Stop()).check_database()

    async def refuse(self) -> str:
        """The sentence with which both refuse the database."""
        with pytest.raises(SchemaError) as of_migrate:
            await migrate(self.owner_url, self.service_role.name)
        with pytest.raises(StartError) as of_serve:
            await Starting(self.settings, Stop()).check_database()
        assert str(of_serve.value) == str(of_migrate.value)
        return str(of_serve.value)


@pytest.fixture
def commands(settings: Settings, owner_url: str, service_role: Role) -> Commands:
    return Commands(settings, owner_url, service_role)


def mending(refusal: str) -> str:
    """The statement that a refusal says to run."""
    found = re.search(r"let the owner run (.+)\.$", refusal)
    assert found, refusal
    return found[1]


async def test_every_sequence_of_the_tables_is_compared(admin: Connection) -> None:
    rows = await admin.fetch(SEQUENCES, list(TABLES))
    assert {row["name"] for row in rows} == set(re.findall(r"FROM (\w+_seq)", statement("find_lagging_sequences")))
    assert {row["table"] for row in rows} == {"batches", "waiting_messages", "held_messages"}


async def test_sequence_that_is_behind_its_table_is_refused_and_what_the_refusal_says_mends_it(
    commands: Commands, admin: Connection, decider: Decider
) -> None:
    for _ in range(3):
        await decider.decide([put(new_id(), None)])
    highest = await admin.fetchval("SELECT max(id) FROM batches")
    # A cutover by logical replication copies rows, and leaves each sequence where it began.
    await admin.execute("ALTER SEQUENCE batches_id_seq RESTART WITH 1")
    refusal = await commands.refuse()
    assert f'In schema "public" batches_id_seq would give 1, and {highest} is taken, as after a cutover' in refusal
    await admin.execute(mending(refusal))
    await commands.succeed()
    answers = await decider.decide([put(new_id(), None)])
    assert [event.type for event in outcomes(answers)] == ["document.put.succeeded"]
    assert await admin.fetchval("SELECT max(id) FROM batches") == highest + 1


@pytest.mark.parametrize("table", ["ledger", "outbox"])
async def test_number_of_a_batch_that_only_another_table_has_is_taken_too(
    commands: Commands, admin: Connection, decider: Decider, table: str
) -> None:
    await decider.decide([put(new_id(), None)])
    if table == "outbox":
        await admin.execute(
            "INSERT INTO outbox "
            "SELECT max(id), 0, gen_random_uuid(), '', '', '', '', '', true, '', '', null, null, '',"
            " '' FROM batches; DELETE FROM ledger"
        )
    await admin.execute("DELETE FROM batches; ALTER SEQUENCE batches_id_seq RESTART WITH 1")
    assert "batches_id_seq would give 1" in await commands.refuse()


async def test_all_sequences_are_told_at_once(commands: Commands, admin: Connection, decider: Decider) -> None:
    await decider.decide([put(new_id(), None)])
    await admin.execute(
        "INSERT INTO waiting_messages (exchange, routing_key, mandatory, properties, body) "
        "VALUES ('', '', false, '', '')"
    )
    await admin.execute("ALTER SEQUENCE batches_id_seq RESTART; ALTER SEQUENCE waiting_messages_id_seq RESTART")
    refusal = await commands.refuse()
    await admin.execute(mending(refusal))
    await commands.succeed()


async def test_sequence_that_begins_behind_the_taken_values_is_sound(
    admin: Connection, owner_url: str, decider: Decider
) -> None:
    await decider.decide([put(new_id(), None)])
    highest = await admin.fetchval("SELECT max(id) FROM batches")
    await admin.execute(f"ALTER SEQUENCE batches_id_seq RESTART WITH {highest + 1}")
    await check_soundness(owner_url)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
async def test_database_of_another_encoding_than_utf_8_is_refused_before_anything_is_made(
    servers: Servers, encoding: str
) -> None:
    async with servers_module.database(servers.database_url) as url:
        here = await asyncpg.connect(url)
        name = await here.fetchval("SELECT current_database()")
        await here.close()
        elsewhere = await asyncpg.connect(servers.database_url)
        await elsewhere.execute(f'DROP DATABASE "{name}"')
        await elsewhere.execute(f"CREATE DATABASE \"{name}\" ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0")
        for refuse in (migrate(url), check_soundness(url)):
            with pytest.raises(SchemaError, match=f'^Database "{name}" has the encoding {encoding}, in which'):
                await refuse
        here = await asyncpg.connect(url)
        assert await here.fetchval("SELECT to_regclass('schema_versions')") is None
        await here.close()
        await elsewhere.close()


@pytest.mark.parametrize("table", ["ledger", "documents"])
async def test_table_that_a_crash_would_empty_is_refused(commands: Commands, admin: Connection, table: str) -> None:
    await admin.execute(f"ALTER TABLE {table} SET UNLOGGED")
    refusal = await commands.refuse()
    assert f'Table "public".{table} is unlogged and loses its rows in a crash' in refusal
    await admin.execute(mending(refusal))
    await commands.succeed()


async def test_table_that_hides_rows_from_the_service_is_refused(settings: Settings, admin: Connection) -> None:
    await admin.execute("ALTER TABLE documents ENABLE ROW LEVEL SECURITY")
    with pytest.raises(StartError, match=r'^Table "public"\.documents hides rows from this role') as refusal:
        await Starting(settings, Stop()).check_database()
    await admin.execute(mending(str(refusal.value)))
    await Starting(settings, Stop()).check_database()


@pytest.mark.parametrize("table", ["ledger", "changes", "names", "batches"])
async def test_table_without_its_primary_key_is_refused(commands: Commands, admin: Connection, table: str) -> None:
    await admin.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
    refusal = await commands.refuse()
    assert refusal.startswith(f'Table "public".{table} has no valid primary key')


async def test_locked_table_is_said_with_its_holder(database_url: str, admin: Connection) -> None:
    async with admin.transaction():
        await admin.execute("LOCK TABLE ledger")
        with pytest.raises(LockedError, match=r"^Checking the tables waits for a lock held by process"):
            await asyncio.wait_for(check_soundness(database_url, patience_s=0.2), 30)
