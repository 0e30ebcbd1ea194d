"""The schema of the tables, and whether a role finds them: PostgreSQL resolves names by a role's search_path.

A migration creates tables in the first schema of its role's search_path. The role of the service has a search_path of
its own, set for the role or the database, in which "$user" is a different schema.
"""

import re
from dataclasses import dataclass
from typing import Any

from genlock.service.database.connecting import LoneConnection

TABLES = (
    "documents",
    "stacks",
    "providers",
    "consumers",
    "names",
    "inventories",
    "allocations",
    "changes",
    "ledger",
    "batches",
    "suspects",
    "live_providers",
    "schema_versions",
    "command_types",
    "outbox",
    "waiting_messages",
    "destinations",
    "held_messages",
    "held",
    "deployment",
)
"""All tables and views of the migrations. A schema with `schema_versions` and `ledger` counts as a set of tables."""

PLACE = """
SELECT current_user::text AS role, current_database()::text AS database,
       current_setting('search_path') AS search_path,
       current_schemas(false)::text[] AS looked_in,
       (
           SELECT nspname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
           WHERE pg_class.oid = to_regclass('schema_versions')
       ) AS found_in,
       ARRAY(
           SELECT nspname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
           WHERE relname IN ('schema_versions', 'ledger') AND relkind IN ('r', 'p')
           GROUP BY nspname HAVING count(*) = 2 ORDER BY nspname
       ) AS sets_in,
       -- The server's setting, as far as this session can tell, and whether the URL sets another one.
       CASE WHEN source IN ('default', 'configuration file', 'command line', 'environment variable')
            THEN reset_val ELSE boot_val END AS default_path,
       source = 'client' AS set_by_url
FROM pg_settings WHERE name = 'search_path'
"""

MAY_CREATE = "SELECT has_schema_privilege($1, 'CREATE')"

ROLE = "SELECT oid, rolcanlogin AS logs_in FROM pg_roles WHERE rolname = $1"

# The order in which PostgreSQL prefers them at a login.
PATH_SETTING = """
SELECT substring(setting FROM 'search_path=(.*)')
FROM pg_db_role_setting CROSS JOIN unnest(setconfig) AS setting
WHERE setting LIKE 'search\\_path=%'
  AND setrole IN (0, $1) AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
ORDER BY setrole <> 0 DESC, setdatabase <> 0 DESC
LIMIT 1
"""

# PostgreSQL skips a schema that does not exist or may not be used.
FIRST_WITH_TABLES = """
SELECT nspname::text FROM unnest($1::text[]) WITH ORDINALITY AS path (name, place) JOIN pg_namespace ON nspname = name
WHERE (nspname = $2 AND $5) OR (
    has_schema_privilege($3::oid, pg_namespace.oid, 'USAGE')
    AND (nspname = $2 OR EXISTS (SELECT FROM pg_class WHERE relnamespace = pg_namespace.oid AND relname = ANY ($4)))
)
ORDER BY place LIMIT 1
"""

MAY_USE = "SELECT has_schema_privilege($1::oid, $2, 'USAGE')"

UNREADABLE = """
SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = $2 AND relname = ANY ($3) AND NOT has_table_privilege($1::oid, pg_class.oid, 'SELECT')
ORDER BY relname
"""

MISPLACED = """
SELECT name, nspname::text AS schema
FROM unnest($1::text[]) AS name
LEFT JOIN pg_class ON pg_class.oid = to_regclass(name) LEFT JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname IS DISTINCT FROM $2
LIMIT 1
"""

ELEMENT = re.compile(r'\s*(?:"(?P<quoted>(?:[^"]|"")*)"|(?P<plain>[^",\s]+))\s*(?:,|$)')


class SchemaError(Exception):
    """The database's schema does not fit this program. The message gives the remedy."""


@dataclass(frozen=True, slots=True)
class SchemaLookup:
    """Which of Genlock's tables a session finds, and where."""

    role: str
    database: str
    search_path: str
    looked_in: list[str]
    """The existing schemas of the search_path that the role may use."""
    found_in: str | None
    """The schema in which the session finds the tables."""
    sets_in: list[str]
    """All schemas of the database that contain a set of the tables."""
    default_path: str
    set_by_url: bool

    @property
    def home(self) -> str:
        """The schema that contains the tables or will contain them. Raises SchemaError."""
        home = self.found_in or next(iter(self.looked_in), None)
        if home is None:
            raise SchemaError(
                f"No schema of the search_path ({self.search_path}) is there for role {quoted(self.role)} in database "
                f"{quoted(self.database)}: make one of them, or set another search_path."
            )
        return home


async def look_up_schema(connection: LoneConnection) -> SchemaLookup:
    """Look up the tables as this connection finds them."""
    row = await connection.fetchrow(PLACE)
    assert row is not None  # noqa: S101 - every server has this setting
    return SchemaLookup(**dict(row))


async def check_home(connection: LoneConnection, place: SchemaLookup, service_role: str) -> None:
    """Raise SchemaError if the tables cannot be created, or the service would not find them."""
    if place.found_in is None:
        await _check_new_home(connection, place, service_role)
    if service_role:
        await _check_found(connection, place, service_role, granted=True)


async def _check_new_home(connection: LoneConnection, place: SchemaLookup, service_role: str) -> None:
    home = place.home
    if not await connection.fetchval(MAY_CREATE, home):
        raise SchemaError(
            f"Role {quoted(place.role)} may not make tables in schema {quoted(home)} of database "
            f"{quoted(place.database)}, the first in its search_path ({place.search_path}): to migrate, connect as the "
            "owner, or set a search_path that begins with a schema in which it has CREATE."
        )
    if place.sets_in and not service_role and not place.set_by_url:
        raise SchemaError(
            f"Database {quoted(place.database)} has Genlock's tables in schema {_listed(place.sets_in)}, where role "
            f"{quoted(place.role)} does not look (search_path {place.search_path}), and a second set would be made in "
            f"{quoted(home)}: correct the search_path, or say in GENLOCK_DATABASE_URL that a second set is wanted, by "
            f"search_path={home}."
        )


async def check_found_by(connection: LoneConnection, place: SchemaLookup, service_role: str) -> None:
    """Raise SchemaError unless the service's role finds the tables by their names and may read them."""
    role = await _check_found(connection, place, service_role, granted=False)
    if unreadable := await connection.fetch(UNREADABLE, role, place.home, list(TABLES)):
        raise SchemaError(
            f"Role {quoted(service_role)} may not read {_listed([row[0] for row in unreadable])} in schema "
            f"{quoted(place.home)}, although it was granted: let the owner of the tables run genlock migrate."
        )


async def _check_found(connection: LoneConnection, place: SchemaLookup, service_role: str, *, granted: bool) -> int:
    """Find the schema in which the role would find tables. `granted` assumes USAGE on the right schema."""
    role = await connection.fetchrow(ROLE, service_role)
    if role is None:
        raise SchemaError(
            f"The role {quoted(service_role)} of GENLOCK_SERVICE_ROLE does not exist: make it with CREATE ROLE, or "
            "correct its name."
        )
    oid: int = role["oid"]
    if not granted and not await connection.fetchval(MAY_USE, oid, place.home):
        raise SchemaError(
            f"Role {quoted(service_role)} may not use schema {quoted(place.home)}, and role {quoted(place.role)} "
            f"cannot allow it: let the owner of the schema run GRANT USAGE ON SCHEMA {quoted(place.home)} TO "
            f"{quoted(service_role)}."
        )
    # A role without login is a group; each member has a search_path of its own.
    if role["logs_in"]:
        path = await connection.fetchval(PATH_SETTING, oid)
        path = place.default_path if path is None else path
        schemas = [service_role if name == "$user" else name for name in parse_path(path)]
        first = await connection.fetchval(FIRST_WITH_TABLES, schemas, place.home, oid, list(TABLES), granted)
        if first != place.home:
            raise SchemaError(_unfound(place, service_role, path, first))
    return oid


def _unfound(place: SchemaLookup, service_role: str, path: str, first: str | None) -> str:
    instead = f"finds tables of the same names in schema {quoted(first)}" if first else "does not look there"
    home, database = quoted(place.home), quoted(place.database)
    are = "are" if place.found_in else "would be made"
    return (
        f"Genlock's tables {are} in schema {home} of database {database}, and role {quoted(service_role)} {instead} "
        f"(search_path {path}): run ALTER ROLE {quoted(service_role)} IN DATABASE {database} SET search_path = {home}, "
        "or migrate with a search_path that begins with a schema of the service's."
    )


def not_found(place: SchemaLookup, newest: int) -> str:
    """The error message for a service that finds no tables."""
    looked_in = ", ".join(map(quoted, place.looked_in)) or "no schema at all"
    where = (
        f"role {quoted(place.role)} finds no tables of Genlock in database {quoted(place.database)}, where it looked "
        f"in {looked_in} (search_path {place.search_path})"
    )
    if place.sets_in:
        return (
            f"The database has schema version 0 for this role, this program needs {newest}: {where}, but there are "
            f"some in schema {_listed(place.sets_in)}: to let this role find them, run genlock migrate "
            f"with GENLOCK_SERVICE_ROLE={place.role}, which says what the role lacks."
        )
    return f"The database has schema version 0, this program needs {newest}, as {where}: run genlock migrate."


async def check_together(connection: LoneConnection, place: SchemaLookup) -> None:
    """Raise SchemaError if a table is missing or in another schema than `schema_versions`."""
    if row := await connection.fetchrow(MISPLACED, list(TABLES), place.found_in):
        found = f"in schema {quoted(row['schema'])}" if row["schema"] else "nowhere"
        raise SchemaError(
            f"Role {quoted(place.role)} finds schema_versions in schema {quoted(place.home)} of database "
            f"{quoted(place.database)}, and {row['name']} {found} (search_path {place.search_path}): set its "
            f"search_path to {quoted(place.home)}."
        )


def parse_path(path: str) -> list[str]:
    """Split a search_path into names, as PostgreSQL does."""
    return [
        found["quoted"].replace('""', '"') if found["quoted"] is not None else found["plain"].lower()
        for found in ELEMENT.finditer(path)
    ]


def quoted(name: str | Any) -> str:
    """A name as a quoted SQL identifier."""
    return '"{}"'.format(str(name).replace('"', '""'))


def _listed(names: list[str]) -> str:
    return ", ".join(map(quoted, names))
