"""Where tables land and where they are looked for: the service finds the migrated tables, or says that it does not."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import asyncpg
import pytest

from genlock import servers as servers_module
from genlock.servers import Role, Servers
from genlock.service.database.migrate import SchemaError, check_schema, migrate, migrations
from genlock.service.database.search_paths import TABLES, parse_path
from tests.support.database import Connection

MADE = """
SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $1 AND relkind IN ('r', 'v', 'p')
"""


@dataclass(frozen=True)
class Install:
    """A database whose owner migrates, and a role that serves; an administrator may do damage."""

    owner: Role
    service: Role
    owner_url: str
    service_url: str
    database: str
    admin: Connection

    async def migrate(self, **options: str) -> None:
        """Migrate as the owner, with options of the URL."""
        url = self.owner_url + "".join(f"&{name}={value}" for name, value in options.items())
        await migrate(url, self.service.name)

    async def made_in(self, schema: str) -> set[str]:
        return {row[0] for row in await self.admin.fetch(MADE, schema)}

    async def nothing_made(self) -> bool:
        count: int = await self.admin.fetchval("SELECT count(*) FROM pg_class WHERE relname = 'schema_versions'")
        return count == 0


@pytest.fixture
async def install(servers: Servers) -> AsyncIterator[Install]:
    async with (
        servers_module.service_role(servers.database_url) as owner,
        servers_module.service_role(servers.database_url) as service,
        servers_module.database(servers.database_url) as url,
    ):
        admin = await asyncpg.connect(url)
        database = await admin.fetchval("SELECT current_database()")
        await admin.execute(f"ALTER DATABASE {database} OWNER TO {owner.name}")
        yield Install(owner, service, owner.at(url), service.at(url), database, admin)
        for role in (owner, service):
            await admin.execute(f"ALTER ROLE {role.name} RESET ALL")
        await admin.close()


async def test_tables_are_those_that_the_checks_know(install: Install) -> None:
    await install.migrate()
    assert await install.made_in("public") == set(TABLES)


async def test_schema_named_like_the_owner_is_refused_before_anything_is_made(install: Install) -> None:
    await install.admin.execute(f"CREATE SCHEMA AUTHORIZATION {install.owner.name}")
    with pytest.raises(
        SchemaError,
        match=f'^Genlock.s tables would be made in schema "{install.owner.name}" .*'
        f'role "{install.service.name}" does not look there .*'
        f'run ALTER ROLE "{install.service.name}" IN DATABASE "{install.database}" '
        f'SET search_path = "{install.owner.name}"',
    ):
        await install.migrate()
    assert await install.nothing_made()


async def test_what_the_refusal_says_to_do_works(install: Install) -> None:
    await install.admin.execute(f"CREATE SCHEMA AUTHORIZATION {install.owner.name}")
    await install.admin.execute(
        f"ALTER ROLE {install.service.name} IN DATABASE {install.database} SET search_path = {install.owner.name}"
    )
    await install.migrate()
    assert await install.made_in(install.owner.name) == set(TABLES)
    await check_schema(install.service_url)


async def test_schema_named_like_the_owner_that_comes_later_gets_no_second_set(install: Install) -> None:
    await install.migrate()
    await install.admin.execute(f"CREATE SCHEMA AUTHORIZATION {install.owner.name}")
    await install.migrate()
    assert await install.made_in(install.owner.name) == set()
    await check_schema(install.service_url)


async def test_schema_named_like_the_service_that_has_tables_of_the_same_names_is_refused(install: Install) -> None:
    await install.migrate()
    await install.admin.execute(f"CREATE SCHEMA AUTHORIZATION {install.service.name}")
    await install.migrate()
    await install.admin.execute(f"CREATE TABLE {install.service.name}.documents (id text)")
    with pytest.raises(SchemaError, match=f'finds tables of the same names in schema "{install.service.name}"'):
        await install.migrate()
    with pytest.raises(SchemaError, match=f'documents in schema "{install.service.name}"'):
        await check_schema(install.service_url)


@pytest.mark.parametrize(
    "setting",
    [
        "ALTER ROLE {service} SET search_path = elsewhere",
        "ALTER ROLE {service} IN DATABASE {database} SET search_path = elsewhere, pg_catalog",
        "ALTER ROLE {owner} SET search_path = home",
        "ALTER ROLE {owner} IN DATABASE {database} SET search_path = home, public",
        # One for the role comes before one for the database.
        "ALTER DATABASE {database} SET search_path = home; ALTER ROLE {service} SET search_path = public",
        'ALTER DATABASE {database} SET search_path = home; ALTER ROLE {service} SET search_path = "Home"',
    ],
)
async def test_search_paths_that_do_not_meet_are_refused_before_anything_is_made(
    install: Install, setting: str
) -> None:
    await install.admin.execute(f"CREATE SCHEMA home AUTHORIZATION {install.owner.name}")
    names = {"owner": install.owner.name, "service": install.service.name, "database": install.database}
    await install.admin.execute(setting.format(**names))
    with pytest.raises(SchemaError, match=f'role "{install.service.name}" does not look there'):
        await install.migrate()
    assert await install.nothing_made()


@pytest.mark.parametrize(
    "setting",
    [
        "ALTER DATABASE {database} SET search_path = home",
        "ALTER ROLE {owner} SET search_path = home; ALTER ROLE {service} SET search_path = missing, home, public",
        # One for the role in this database comes before one for the role.
        """ALTER DATABASE {database} SET search_path = home; ALTER ROLE {service} SET search_path = public;
        ALTER ROLE {service} IN DATABASE {database} SET search_path = HOME""",
    ],
)
async def test_search_paths_that_meet_are_migrated_and_served(install: Install, setting: str) -> None:
    await install.admin.execute(f"CREATE SCHEMA home AUTHORIZATION {install.owner.name}")
    names = {"owner": install.owner.name, "service": install.service.name, "database": install.database}
    await install.admin.execute(setting.format(**names))
    await install.migrate()
    assert await install.made_in("home") == set(TABLES)
    await check_schema(install.service_url)


@pytest.mark.parametrize("options", [{"search_path": "home"}, {"options": "-c%20search_path%3Dhome"}])
async def test_search_path_in_the_url_of_the_owner_alone_is_refused(install: Install, options: dict[str, str]) -> None:
    await install.admin.execute(f"CREATE SCHEMA home AUTHORIZATION {install.owner.name}")
    with pytest.raises(SchemaError, match=f'role "{install.service.name}" does not look there'):
        await install.migrate(**options)
    assert await install.nothing_made()


async def test_second_set_of_tables_is_not_made_by_a_search_path_that_has_changed(install: Install) -> None:
    await migrate(install.owner_url)
    await install.admin.execute(f"CREATE SCHEMA home AUTHORIZATION {install.owner.name}")
    await install.admin.execute(f"ALTER ROLE {install.owner.name} SET search_path = home")
    with pytest.raises(SchemaError, match=r'has Genlock\'s tables in schema "public", where .* a second set'):
        await migrate(install.owner_url)
    assert await install.made_in("home") == set()
    assert await migrate(f"{install.owner_url}&search_path=home") == migrations()


async def test_owner_without_a_right_to_create_or_without_a_schema_is_told(install: Install) -> None:
    await install.admin.execute(f"CREATE SCHEMA locked; GRANT USAGE ON SCHEMA locked TO {install.owner.name}")
    with pytest.raises(SchemaError, match='may not make tables in schema "locked" of database'):
        await install.migrate(search_path="locked,public")
    with pytest.raises(SchemaError, match=r"No schema of the search_path \(missing\) is there"):
        await install.migrate(search_path="missing")


async def test_role_that_does_not_exist_is_told_before_anything_is_made(install: Install) -> None:
    with pytest.raises(SchemaError, match=r'role "nobody_there" of GENLOCK_SERVICE_ROLE does not exist'):
        await migrate(install.owner_url, "nobody_there")
    assert await install.nothing_made()


async def test_owner_of_tables_without_rights_on_the_schema_is_told(install: Install) -> None:
    await install.admin.execute(
        f"CREATE SCHEMA theirs; GRANT USAGE, CREATE ON SCHEMA theirs TO {install.owner.name}; "
        f"ALTER DATABASE {install.database} SET search_path = theirs"
    )
    with pytest.raises(SchemaError, match='run GRANT USAGE ON SCHEMA "theirs" TO'):
        await install.migrate()
    await install.admin.execute(f"GRANT USAGE ON SCHEMA theirs TO {install.service.name}")
    await install.migrate()
    await check_schema(install.service_url)


async def test_service_that_finds_no_tables_says_where_it_looked_and_where_there_are_some(install: Install) -> None:
    with pytest.raises(
        SchemaError,
        match=rf'schema version 0, .* role "{install.service.name}" finds no tables .* in database '
        rf'"{install.database}", where it looked in "public" \(search_path "\$user", public\): run genlock migrate\.$',
    ):
        await check_schema(install.service_url)
    await install.migrate()
    await install.admin.execute(f"ALTER ROLE {install.service.name} SET search_path = other")
    with pytest.raises(SchemaError, match=r'looked in no schema at all .* but there are some in schema "public"'):
        await check_schema(install.service_url)


async def test_service_whose_schema_was_revoked_says_where_the_tables_are(install: Install) -> None:
    await install.migrate()
    await install.admin.execute(f"REVOKE USAGE ON SCHEMA public FROM PUBLIC, {install.service.name}")
    with pytest.raises(SchemaError, match=r'but there are some in schema "public": .* run genlock migrate with'):
        await check_schema(install.service_url)
    await install.migrate()
    await check_schema(install.service_url)


async def test_service_that_may_not_read_the_tables_is_told_at_once(install: Install) -> None:
    await migrate(install.owner_url)
    with pytest.raises(SchemaError, match=r'may not read Genlock\'s tables in schema "public" .* GENLOCK_SERVICE_ROLE'):
        await check_schema(install.service_url)


def test_search_paths_are_read_as_postgresql_does() -> None:
    assert parse_path('"$user", public') == ["$user", "public"]
    assert parse_path('Home,"Home" , "a ""b"", c"') == ["home", "Home", 'a "b", c']
    assert parse_path('""') == [""]
    assert parse_path("") == []
