"""The identity of a database: a replica works with the database alone that its namespace on the broker is bound to."""

import asyncpg

from genlock.service.database.connecting import LoneConnection, short_connection
from genlock.service.database.search_paths import SchemaError
from genlock.service.database.statements import statement


async def read_identity(database_url: str) -> str:
    """Read the identity of a database whose schema was checked. Raises SchemaError, and asyncpg's errors."""
    async with short_connection(database_url) as connection:
        return await _read(connection)


class OtherDatabaseError(ConnectionError):
    """A new connection leads to another database than the earlier ones; the message says so."""


async def check_identity(connection: LoneConnection, identity: str) -> None:
    """Raise OtherDatabaseError for a connection to another database than the one with this identity."""
    found: str = await connection.fetchval(statement("read_identity"))
    if found != identity:
        raise OtherDatabaseError(
            "GENLOCK_DATABASE_URL leads to another database than when this process started, and what was decided there "
            "would be decided again: have it lead to that one, or, if this one takes its place, as after a restore, "
            "stop all replicas and run genlock adopt."
        )


async def _read(connection: LoneConnection) -> str:
    try:
        identity: str = await connection.fetchval(statement("read_identity"))
    except asyncpg.InsufficientPrivilegeError as error:
        raise SchemaError(
            f"The database does not tell its identity ({error}): run genlock migrate with GENLOCK_SERVICE_ROLE set, "
            "and GRANT EXECUTE ON FUNCTION pg_control_system() TO PUBLIC where that was revoked."
        ) from error
    return identity
