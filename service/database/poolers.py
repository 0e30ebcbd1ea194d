"""Detection of poolers that do not keep sessions: Genlock refuses them.

Genlock configures its sessions, prepares statements and holds locks in them. PgBouncer in transaction or statement mode
takes the session away after each transaction and gives it to another client, with its settings and locks.

A pooler invents the process id that a connection gets at its start. If that id differs from the session's, an
experiment decides, because an idle pooler lends the same session repeatedly: the session gets a short
idle_session_timeout. If the session is the connection's own, the connection closes with it; otherwise it stays open.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

# asyncpg's classes are generic only for type checkers.
if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

IDLE_MS = 50
"""The idle_session_timeout of the experiment."""

OUTLIVED_S = 0.9
"""How long the connection may take to end with the session: less than the second after which a pooler may close it."""

TRIES_MAX = 5
"""The number of experiments until the result is clear."""

NAME_SETTING = "application_name"
"""The only setting in the startup message, for PostgreSQL's log. Poolers refuse other settings there."""

UNCLEAR = (OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError)
"""The errors of a statement on a connection that has ended."""

MIXED_UP = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""A new connection raises these errors only if it shares its session with other clients."""


class PoolerError(Exception):
    """The URL leads to a pooler that does not keep sessions. The message gives the remedy."""

    def __init__(self) -> None:
        super().__init__(
            "GENLOCK_DATABASE_URL leads to a connection pooler that does not keep sessions, such as PgBouncer in "
            "transaction or statement mode: name PostgreSQL itself there, or a pooler in session mode."
        )


async def open_own_session(
    connect: Callable[[dict[str, str]], Awaitable[Connection]], settings: Mapping[str, str], timeout_s: float
) -> Connection:
    """Connect, check that the session is the connection's own, and apply its settings.

    `connect` gets the settings for the startup message. `timeout_s` limits each statement. Raises PoolerError, and the
    errors of `connect` and of the statements.
    """
    name = {name: value for name, value in settings.items() if name == NAME_SETTING}
    try:
        connection = await _connect_to_own_session(connect, name, timeout_s)
    except MIXED_UP as error:
        raise PoolerError from error
    with _closed_on_failure(connection):
        await _set(connection, settings, timeout_s)
    return connection


async def _connect_to_own_session(
    connect: Callable[[dict[str, str]], Awaitable[Connection]], name: dict[str, str], timeout_s: float
) -> Connection:
    for tries_left in reversed(range(TRIES_MAX)):
        connection = await connect(name)
        with _closed_on_failure(connection):
            if not await _is_pooled(connection, timeout_s):
                return connection
            try:
                if not await _ends_with_its_session(connection, timeout_s):
                    raise PoolerError
            except UNCLEAR:
                if not tries_left:
                    raise
            else:
                # The experiment has ended that connection.
                return await connect(name)
    raise AssertionError("the last try returns or raises")


@contextlib.contextmanager
def _closed_on_failure(connection: Connection) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.terminate()
        raise


async def _is_pooled(connection: Connection, timeout_s: float) -> bool:
    """Tell whether the session has another process id than the connection got at its start.

    The statement has no arguments and needs no prepared statement, which a pooler would mix up.
    """
    told = connection.get_server_pid()
    return await connection.execute(f"SELECT WHERE pg_backend_pid() = {told:d}", timeout=timeout_s) != "SELECT 1"


async def _ends_with_its_session(connection: Connection, timeout_s: float) -> bool:
    """End the session, and tell whether the connection ends with it. The connection is unusable afterwards.

    Raises UNCLEAR if the connection ends too late, which may have another reason.
    """
    closed = asyncio.Event()
    connection.add_termination_listener(lambda _connection: closed.set())
    await connection.execute(f"SET idle_session_timeout = {IDLE_MS:d}", timeout=timeout_s)
    try:
        await asyncio.wait_for(closed.wait(), OUTLIVED_S)
    except TimeoutError:
        await connection.execute("SELECT", timeout=timeout_s)
        return False
    return True


async def _set(connection: Connection, settings: Mapping[str, str], timeout_s: float) -> None:
    """Apply the settings that poolers in session mode refuse in the startup message."""
    chosen = [(name, value) for name, value in settings.items() if name != NAME_SETTING]
    if chosen:
        await connection.execute(
            ";".join(f"SET {name} = {_literal(value)}" for name, value in chosen), timeout=timeout_s
        )


def _literal(value: str) -> str:
    return "'{}'".format(value.replace("'", "''"))
