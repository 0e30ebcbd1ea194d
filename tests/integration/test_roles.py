"""The rights of the service's role in PostgreSQL: those that docs/roles.md lists, each needed, and no others."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
import pytest_asyncio

from genlock import servers as servers_module
from genlock.servers import Role, Servers
from genlock.service.database.migrate import SchemaError, check_schema, migrate
from genlock.service.database.statements import check_files, statement, statement_files
from tests.support.database import Connection

PAGE = Path(__file__).parents[2] / "docs" / "roles.md"

GRANTED = """
SELECT relname AS what, privilege_type AS privilege
FROM pg_class CROSS JOIN LATERAL aclexplode(relacl) JOIN pg_roles ON pg_roles.oid = grantee
WHERE rolname = $1
UNION ALL
SELECT relname, format('%s (%s)', privilege_type, attname)
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
CROSS JOIN LATERAL aclexplode(attacl) JOIN pg_roles ON pg_roles.oid = grantee
WHERE rolname = $1
UNION ALL
SELECT 'the schema', privilege_type
FROM pg_namespace CROSS JOIN LATERAL aclexplode(nspacl) JOIN pg_roles ON pg_roles.oid = grantee
WHERE rolname = $1
UNION ALL
SELECT 'the database', privilege_type
FROM pg_database CROSS JOIN LATERAL aclexplode(datacl) JOIN pg_roles ON pg_roles.oid = grantee
WHERE rolname = $1 AND datname = current_database()
"""

FOR_EVERYBODY = """
SELECT relname, privilege_type
FROM pg_class CROSS JOIN LATERAL aclexplode(relacl)
WHERE grantee = 0 AND relnamespace = 'public'::regnamespace
UNION ALL
SELECT 'the schema', privilege_type
FROM pg_namespace CROSS JOIN LATERAL aclexplode(nspacl)
WHERE grantee = 0 AND nspname = 'public' AND privilege_type <> 'USAGE'
UNION ALL
SELECT 'the database', privilege_type
FROM pg_database CROSS JOIN LATERAL aclexplode(datacl)
WHERE grantee = 0 AND datname = current_database() AND privilege_type <> 'CONNECT'
"""


@dataclass(frozen=True)
class Owned:
    """A database that belongs to a role which is no superuser, and was migrated by it."""

    owner_url: str
    service_url: str
    service: Role


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def owned(servers: Servers) -> AsyncIterator[Owned]:
    async with (
        servers_module.service_role(servers.database_url) as owner,
        servers_module.service_role(servers.database_url) as service,
        servers_module.database(servers.database_url) as url,
    ):
        administrator = await asyncpg.connect(url)
        database = await administrator.fetchval("SELECT quote_ident(current_database())")
        await administrator.execute(f"ALTER DATABASE {database} OWNER TO {owner.name}")
        await administrator.close()
        await migrate(owner.at(url), service.name)
        yield Owned(owner.at(url), service.at(url), service)


@pytest.fixture
async def owner(owned: Owned) -> AsyncIterator[Connection]:
    """A connection of the owner's."""
    connection = await asyncpg.connect(owned.owner_url)
    yield connection
    await connection.close()


@pytest.fixture
async def service(owned: Owned) -> AsyncIterator[Connection]:
    """A connection of the service's."""
    connection = await asyncpg.connect(owned.service_url)
    yield connection
    await connection.close()


async def granted_to(role: Role, look: Connection) -> set[tuple[str, str]]:
    return {(row["what"], row["privilege"]) for row in await look.fetch(GRANTED, role.name)}


def listed() -> set[tuple[str, str]]:
    """What the page says may be done, to what."""
    rights = set()
    rows = re.findall(r"^\| ([`\w, ]+) \| ([A-Z][A-Za-z_(), ]+) \| .+ \|$", PAGE.read_text(), re.MULTILINE)
    for what, privileges in rows:
        for name in what.replace("`", "").split(", "):
            rights |= {(name, privilege) for privilege in privileges.split(", ")}
    return rights


def statements() -> dict[str, str]:
    """Every statement that the service makes, and those of `genlock verify`, prepared under their names."""
    found = {name: file.read_text() for name, file in {**statement_files(), **check_files()}.items()}
    return found | {"schema_version": "SELECT max(version) FROM schema_versions"}


async def refused(connection: Connection) -> set[str]:
    """The statements that the connection's role has no right to."""
    names = set()
    for name, text in statements().items():
        count = len(set(re.findall(r"\$\d+", text)))
        arguments = f"({', '.join(['NULL'] * count)})" if count else ""
        try:
            async with connection.transaction():
                # PostgreSQL looks at the rights when a plan is about to be executed, also to be explained.
                await connection.execute(f"EXPLAIN EXECUTE {name} {arguments}")
        except asyncpg.InsufficientPrivilegeError:
            names.add(name)
    return names


async def test_the_rights_are_those_that_the_page_lists_with_their_reasons(owned: Owned, owner: Connection) -> None:
    assert await granted_to(owned.service, owner) == listed()
    assert await owner.fetch(FOR_EVERYBODY) == []


async def test_each_right_is_needed_by_a_statement_and_no_statement_needs_another(
    owned: Owned, owner: Connection
) -> None:
    tables = {(what, right) for what, right in await granted_to(owned.service, owner) if not what.startswith("the ")}
    needed = set()
    connection = await asyncpg.connect(owned.service_url)
    try:
        for name, text in statements().items():
            await connection.execute(f"PREPARE {name} AS {text}")
        assert await refused(connection) == set()
        for what, right in tables:
            await owner.execute(f"REVOKE {right} ON {what} FROM {owned.service.name}")
            if await refused(connection):
                needed.add((what, right))
            await owner.execute(f"GRANT {right} ON {what} TO {owned.service.name}")
    finally:
        await connection.close()
    assert needed == tables


@pytest.mark.parametrize(
    "forbidden",
    [
        "UPDATE changes SET token = token",
        "DELETE FROM changes",
        "TRUNCATE changes",
        "UPDATE ledger SET verdict = 'succeeded'",
        "UPDATE batches SET decided_at = now()",
        "DELETE FROM documents",
        "TRUNCATE ledger",
        "INSERT INTO schema_versions (version, name) VALUES (9999, '')",
        "CREATE TABLE mine (id integer)",
        "CREATE TEMPORARY TABLE mine (id integer)",
        "CREATE SCHEMA mine",
        "CREATE VIEW mine AS SELECT * FROM ledger",
        "CREATE TRIGGER mine BEFORE DELETE ON changes EXECUTE FUNCTION suppress_redundant_updates_trigger()",
        "ALTER TABLE changes DROP COLUMN token",
        "ALTER TABLE changes DISABLE TRIGGER ALL",
        "DROP TABLE changes",
        "CREATE ROLE mine",
        "SET session_replication_role = replica",
        "COPY ledger TO PROGRAM 'cat'",
    ],
)
async def test_the_service_can_neither_rewrite_history_nor_change_the_schema(
    service: Connection, forbidden: str
) -> None:
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(forbidden)


async def test_the_service_cannot_become_the_owner_nor_give_its_rights_away(owned: Owned, service: Connection) -> None:
    owner = await service.fetchval("SELECT tableowner FROM pg_tables WHERE tablename = 'changes'")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await service.execute(f"SET ROLE {owner}")
    # That it had no right to do so is only a warning.
    await service.execute("GRANT SELECT ON ledger TO PUBLIC")
    assert not await service.fetchval("SELECT has_table_privilege('pg_monitor', 'ledger', 'SELECT')")
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await migrate(owned.service_url)


async def test_the_service_sees_which_schema_there_is_and_can_wait_for_a_standby(
    owned: Owned, service: Connection
) -> None:
    await check_schema(owned.service_url)
    await service.execute(statement("await_standby"))


async def test_migrating_again_takes_back_additional_grants(owned: Owned, owner: Connection) -> None:
    before = await granted_to(owned.service, owner)
    await owner.execute(f"GRANT ALL ON changes, ledger TO {owned.service.name}")
    await owner.execute(f"GRANT UPDATE (token) ON changes TO {owned.service.name}")
    await owner.execute(f"REVOKE SELECT ON names FROM {owned.service.name}")  # noqa: S608 - a name of our own
    assert await granted_to(owned.service, owner) != before
    await migrate(owned.owner_url, owned.service.name)
    assert await granted_to(owned.service, owner) == before


async def test_the_name_of_a_role_is_quoted(owned: Owned) -> None:
    with pytest.raises(SchemaError, match='role "a ""b""; --" of GENLOCK_SERVICE_ROLE does not exist'):
        await migrate(owned.owner_url, 'a "b"; --')


async def test_without_a_service_role_nothing_is_granted(servers: Servers) -> None:
    async with servers_module.database(servers.database_url) as url:
        await migrate(url)
        look = await asyncpg.connect(url)
        assert (
            await look.fetchval("SELECT count(*) FROM pg_class WHERE relacl IS NOT NULL AND relname = 'changes'") == 0
        )
        await look.close()
