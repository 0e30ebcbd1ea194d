"""Checks at the start: the database keeps every character, and its tables and sequences are as the promises need them.

A restore, a cutover by logical replication or an administrator may have left them otherwise.
"""

from genlock.service.database.connecting import LoneConnection, short_connection
from genlock.service.database.lock_waits import START_PATIENCE_S, unless_locked
from genlock.service.database.search_paths import TABLES, SchemaError, look_up_schema, quoted
from genlock.service.database.statements import statement

ENCODING = "SELECT current_database()::text, current_setting('server_encoding')"


async def check_soundness(database_url: str, patience_s: float = START_PATIENCE_S) -> None:
    """Raise SchemaError for an encoding, a table or a sequence on which the promises do not hold.

    Raises LockedError if a table is locked for longer than `patience_s`, and asyncpg's errors.
    """
    async with short_connection(database_url) as connection:
        await check_encoding(connection)
        await unless_locked(database_url, connection, check_tables(connection), "Checking the tables", patience_s)


async def check_encoding(connection: LoneConnection) -> None:
    """Raise SchemaError for a database that cannot hold every character."""
    row = await connection.fetchrow(ENCODING)
    assert row is not None  # noqa: S101 - a SELECT without a table has one row
    database, encoding = row
    if encoding != "UTF8":
        raise SchemaError(
            f"Database {quoted(database)} has the encoding {encoding}, in which not every text can be kept: make one "
            "with CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0, and move what there is with pg_dump."
        )


async def check_tables(connection: LoneConnection) -> None:
    """Raise SchemaError for a table that loses, hides or doubles rows, or a sequence that is behind its table."""
    home = quoted((await look_up_schema(connection)).home)
    for table in await connection.fetch(statement("find_unsound_tables"), list(TABLES)):
        raise SchemaError(_unsound(home, table["name"], unlogged=table["unlogged"], filtered=table["filtered"]))
    if behind := await connection.fetch(statement("find_lagging_sequences")):
        told = " and ".join(f"{row['name']} would give {row['next']}, and {row['highest']} is taken" for row in behind)
        mending = ", ".join(f"setval('{home}.{row['name']}', {row['highest']})" for row in behind)
        raise SchemaError(
            f"In schema {home} {told}, as after a cutover by logical replication, which copies no sequences: stop all "
            f"replicas, and let the owner run SELECT {mending}."
        )


def _unsound(home: str, table: str, *, unlogged: bool, filtered: bool) -> str:
    if unlogged:
        fault, mending = "is unlogged and loses its rows in a crash", f"ALTER TABLE {home}.{table} SET LOGGED"
    elif filtered:
        fault, mending = "hides rows from this role", f"ALTER TABLE {home}.{table} DISABLE ROW LEVEL SECURITY"
    else:
        return (
            f"Table {home}.{table} has no valid primary key, as after a restore that was interrupted, and would take "
            "a row twice: restore it completely."
        )
    return f"Table {home}.{table} {fault}: stop all replicas, and let the owner run {mending}."
