"""Sessions that last: a pooler which hands each transaction to another session of PostgreSQL is refused.

Genlock sets how its sessions plan and commit, prepares statements in them and holds locks. PgBouncer in transaction or
statement mode takes such a session away after each transaction, and gives it to another client with all that was left.

A pooler makes up the process id that a connection is told at its start. What becomes of a session is then found by an
experiment, because a pooler that is idle lends the same session again and again: the session is told to end itself when
it is idle. If it was ours, its end closes our connection; if it was only lent, the connection lives on.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import TYPE_CHECKING, TypeAlias

import asyncpg

# asyncpg's classes are generic for type checkers alone.
if TYPE_CHECKING:
    Session: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Session = asyncpg.Connection

IDLE_MS = 50
"""After how long without a statement the session of the experiment ends."""

OUTLIVED_S = 0.9
"""How long the connection may take to end with it: less than the second after which a pooler might end it itself."""

TRIES_MAX = 5
"""How often the experiment is made until its result is clear."""

NAME_SETTING = "application_name"
"""The setting that the connection starts with, for PostgreSQL's log. Poolers refuse others at the start."""

UNCLEAR = (OSError, asyncpg.PostgresConnectionError, asyncpg.OperatorInterventionError, asyncpg.InterfaceError)
"""What a statement of the experiment meets on a connection that has ended."""

MIXED_UP = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
"""A new connection has these errors only if it shares its session with others."""


class PoolerError(Exception):
    """A pooler stands in front of PostgreSQL that keeps no sessions; the message says what to do."""

    def __init__(self) -> None:
        super().__init__(
            "GENLOCK_DATABASE_URL leads to a connection pooler that does not keep sessions, such as PgBouncer in "
            "transaction or statement mode: name PostgreSQL itself there, or a pooler in session mode."
        )


async def open_session(
    connect: Callable[[dict[str, str]], Awaitable[Session]], settings: Mapping[str, str], timeout_s: float
) -> Session:
    """Connect, see that the session is the connection's own, and give it its settings.

    `connect` is called with the settings that the connection starts with. `timeout_s` is for each statement. Raises
    PoolerError, and what `connect` and statements raise.
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
    connect: Callable[[dict[str, str]], Awaitable[Session]], name: dict[str, str], timeout_s: float
) -> Session:
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
                # That connection has ended in the experiment.
                return await connect(name)
    raise AssertionError("the last try returns or raises")


@contextlib.contextmanager
def _closed_on_failure(connection: Session) -> Iterator[None]:
    try:
        yield
    except BaseException:
        connection.terminate()
        raise


async def _is_pooled(connection: Session, timeout_s: float) -> bool:
    """Tell whether the process that answers is another one than the connection was told.

    It is one statement without arguments, which needs no prepared statement: those are what a pooler mixes up.
    """
    told = connection.get_server_pid()
    return await connection.execute(f"SELECT WHERE pg_backend_pid() = {told:d}", timeout=timeout_s) != "SELECT 1"


async def _ends_with_its_session(connection: Session, timeout_s: float) -> bool:
    """End the session, and tell whether the connection ends with it by itself. It is of no use after that.

    Raises UNCLEAR where the connection ends too late, which may have had another reason.
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


async def _set(connection: Session, settings: Mapping[str, str], timeout_s: float) -> None:
    """Set what the connection could not start with, because poolers in session mode refuse it there."""
    chosen = [(name, value) for name, value in settings.items() if name != NAME_SETTING]
    if chosen:
        await connection.execute(
            ";".join(f"SET {name} = {_literal(value)}" for name, value in chosen), timeout=timeout_s
        )


def _literal(value: str) -> str:
    return "'{}'".format(value.replace("'", "''"))
