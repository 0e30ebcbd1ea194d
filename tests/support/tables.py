"""Waiting until no row of one of the service's tables meets a condition."""

from tests.support.database import Connection
from tests.support.harness import until


async def until_none(connection: Connection, table: str, where: str = "true") -> None:
    """Return when a table has no such row. Raises TimeoutError."""

    async def none() -> bool:
        empty: bool = await connection.fetchval(f"SELECT count(*) = 0 FROM {table} WHERE {where}")  # noqa: S608 - ours
        return empty

    await until(none)


async def until_confirmed(connection: Connection) -> None:
    """Return when the broker has confirmed all batches and the database knows it. Raises TimeoutError."""
    await until_none(connection, "batches", "confirmed_at IS NULL")


async def until_none_waits(connection: Connection) -> None:
    """Return when the database keeps no message that was refused. Raises TimeoutError."""
    await until_none(connection, "waiting_messages")
