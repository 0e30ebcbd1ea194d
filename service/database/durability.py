"""Checks at the start: the database is the primary and keeps what it has committed."""

from genlock.service.database.connecting import short_connection


class UnsafeDatabaseError(Exception):
    """The database could lose what it has committed; the message says why and what to do."""


async def check_safety(database_url: str, *, accept_unsafe: bool) -> None:
    """Refuse a standby, and, unless it is accepted, a database without fsync or full_page_writes.

    Raises UnsafeDatabaseError, and asyncpg's errors.
    """
    async with short_connection(database_url) as connection:
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            raise UnsafeDatabaseError("The database is a standby: GENLOCK_DATABASE_URL has to name the primary.")
        for setting in ("fsync", "full_page_writes"):
            if await connection.fetchval("SELECT current_setting($1)", setting) == "off" and not accept_unsafe:
                raise UnsafeDatabaseError(
                    f"The database runs with {setting} = off and may lose committed updates in a crash: turn it on, "
                    "or set GENLOCK_ACCEPT_UNSAFE_DATABASE for development."
                )
