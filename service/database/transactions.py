"""The connection pool, the transaction around a batch, and the meaning of PostgreSQL's errors."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from genlock.service.database.connecting import Hosts, LoneConnection
from genlock.service.database.identity import check_identity
from genlock.service.database.poolers import PoolerError
from genlock.service.database.statements import statement
from genlock.service.database.waiting import WatchedConnection, waiting

# asyncpg's classes are generic only for type checkers.
if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    Connection = asyncpg.pool.PoolConnectionProxy

NEVER_S = 10**6
"""A timeout in seconds that never expires: asyncpg cancels late statements, and a COMMIT must not be cancelled."""

GIVE_UP_TIMEOUT_S = 1.0
"""How long a rollback or unlock may take, in seconds. A live server needs no time; other connections are abandoned."""

CLOSE_TIMEOUT_S = 0.5
"""How long closing a pool's connections in order may take, in seconds."""

READING_PLANS = {
    # A filter that is not set must not cost anything. It vanishes from a custom plan, which is made for the values.
    "plan_cache_mode": "force_custom_plan",
    # A read takes milliseconds; JIT compilation of its plan takes many times as long.
    "jit": "off",
}

KEEP_ALIVE = {
    # The server must find out that a client is gone while it waits for the client's next message: until then it keeps
    # the locks of its transaction. Without an effect on a Unix socket.
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "25s",
}

DECIDING_PLANS = {
    # Every statement of a batch looks rows up by key. Statistics that lag behind a growing table must never make
    # the planner read it whole (tests/integration/test_deciding_plans.py).
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}

LOCK_PATIENCE_S = 1.5
"""How long a batch waits for one lock, in seconds. It is longer than PostgreSQL's deadlock_timeout of 1 s, so that a
deadlock is still told as one, and limits how long a locked record keeps the other commands of its batch waiting."""

LOCK_SHARE = 1 / 2
"""The part of the time for a statement that a batch waits for one lock, at most."""


class DatabaseTroubleError(Exception):
    """The database is unavailable, through no fault of the batch: pause and repeat."""


class DecideAgainError(DatabaseTroubleError):
    """The batch was rolled back, or the fate of its COMMIT is unknown: decide it again. The ledger answers known ids.

    A caller that cannot decide again can pause and repeat.
    """


def ignore(_error: PoolerError) -> None:
    """Do nothing: the caller of the pool gets the error."""


async def open_pool(
    url: str,
    *,
    size: int,
    timeout_s: float,
    plans: dict[str, str] | None = None,
    lock_patience_s: float = LOCK_PATIENCE_S,
    refused: Callable[[PoolerError], None] = ignore,
    identity: str | None = None,
) -> Pool:
    """Open a pool of `size` connections whose statements take at most `timeout_s` seconds each.

    If a connection leads to a pooler that does not keep sessions, `refused` is called with the error before it is
    raised. That may happen at the start, or later when a connection is replaced. With an `identity`, no connection is
    used that leads to another database: OtherDatabaseError, as after a failover to a copy or a change of DNS.
    """
    settings = (
        {"application_name": "genlock", "timezone": "UTC", "synchronous_commit": "on"} | KEEP_ALIVE | (plans or {})
    )
    settings["idle_in_transaction_session_timeout"] = f"{int(timeout_s * 2_000)}ms"
    settings["lock_timeout"] = f"{min(lock_patience_s, timeout_s * LOCK_SHARE) * 1_000:.0f}ms"
    # PostgreSQL reports a COMMIT that no standby has only by a warning, which must not be suppressed.
    settings["client_min_messages"] = "warning"
    hosts = Hosts(url)

    async def connect(*arguments: Any, **options: Any) -> LoneConnection:
        try:
            connection = await hosts.connect(*arguments, **options)
        except PoolerError as error:
            refused(error)
            raise
        if identity is not None:
            try:
                await check_identity(connection, identity)
            except BaseException:
                connection.terminate()
                raise
        return connection

    return await asyncpg.create_pool(
        min_size=1,
        max_size=size,
        timeout=timeout_s,
        command_timeout=timeout_s,
        server_settings=settings,
        connect=connect,
        connection_class=WatchedConnection,
        reset=_keep,
    )


@contextlib.asynccontextmanager
async def closing(pool: Pool) -> AsyncIterator[Pool]:
    """Close the pool at the end of the context. Connections to a silent server are abandoned."""
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()


async def _keep(_connection: Any) -> None:
    """Skip the reset: no statement of the service leaves state in its session, and a reset costs a round trip."""


def written(status: str) -> int:
    """Read the number of rows from a command tag such as `UPDATE 3`."""
    return int(status.rpartition(" ")[2])


def columns(rows: Collection[tuple[Any, ...]]) -> list[list[Any]]:
    """Transpose rows, at least one, into one array for each column, as `unnest` takes them."""
    return [list(column) for column in zip(*rows, strict=True)]


async def must_write(connection: Connection, name: str, rows: Collection[tuple[Any, ...]]) -> None:
    """Run a named statement for at least one row.

    Raises DecideAgainError if it wrote fewer rows: another transaction has changed a record meanwhile.
    """
    same_count(len(rows), written(await connection.execute(statement(name), *columns(rows))), name)


def same_count(wanted: int, done: int, what: str) -> None:
    """Raise DecideAgainError if fewer rows were written than wanted."""
    if done != wanted:
        raise DecideAgainError(f"{what}: {done} of {wanted} rows were as they had been read")


class TooSlowError(DatabaseTroubleError):
    """A statement took too long: the database is overloaded or unreachable, or the batch is too large for it."""


class LockedError(DatabaseTroubleError):
    """Another session has had a lock for too long that the transaction needs."""


class BackendLostError(DatabaseTroubleError):
    """The server's end of the connection has gone in the middle of a transaction. Its statements may be to blame."""


class OtherCrashedError(DatabaseTroubleError):
    """PostgreSQL has ended the transaction because another session's backend has crashed."""


_LOSSES = (asyncpg.PostgresConnectionError, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError, ConnectionError)
"""How asyncpg tells that the server has closed a connection."""


@contextlib.asynccontextmanager
async def acquired(pool: Pool, timeout_s: float) -> AsyncIterator[Connection]:
    """Borrow a connection of the pool; each statement on it is a transaction of its own.

    Raises DecideAgainError if the work should be repeated, DatabaseTroubleError if it should be repeated after a pause,
    and any other error of the body or the database.
    """
    try:
        async with _borrowed(pool, timeout_s) as connection:
            try:
                yield connection
            except asyncio.CancelledError:
                # Otherwise the release would wait for the end of a statement, which a silent server never tells.
                abandon(connection)
                raise
            except Exception as error:
                # Otherwise the service would retry for ever on connections to a server that has become read-only.
                if type(_meaning(error)) is DatabaseTroubleError:
                    abandon(connection)
                if isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                    await pool.expire_connections()
                raise
    except (DecideAgainError, DatabaseTroubleError):
        raise
    except Exception as error:
        meaning = _meaning(error)
        if meaning is None:
            raise
        raise meaning from error


@contextlib.asynccontextmanager
async def _borrowed(pool: Pool, timeout_s: float) -> AsyncIterator[Connection]:
    """Borrow a connection. Acquiring may include connecting; releasing may wait for a statement to end."""
    with waiting():
        connection = await pool.acquire(timeout=timeout_s)
    try:
        yield connection
    finally:
        with waiting():
            await pool.release(connection)


@contextlib.asynccontextmanager
async def transaction(pool: Pool, timeout_s: float, *, dry_run: bool = False) -> AsyncIterator[Connection]:
    """Run the body in one transaction at READ COMMITTED; commit it, or roll it back after a dry run.

    Raises as `acquired` does, and BackendLostError and OtherCrashedError. If a COMMIT is not answered, the connection
    is abandoned.
    """
    async with acquired(pool, timeout_s) as connection:
        with _telling_losses(connection):
            try:
                await connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                yield connection
            except BaseException:
                await _roll_back(connection)
                raise
            if dry_run:
                await _roll_back(connection)
            else:
                await _commit(connection, timeout_s)


@contextlib.contextmanager
def _telling_losses(connection: Connection) -> Iterator[None]:
    """Raise BackendLostError or OtherCrashedError where the server has closed the connection."""
    crashes: list[str] = []

    def warned(_connection: object, warning: Any) -> None:
        if warning.sqlstate == asyncpg.CrashShutdownError.sqlstate:
            crashes.append(warning.message)

    connection.add_log_listener(warned)
    try:
        yield
    except _LOSSES as error:
        lost = OtherCrashedError if crashes else BackendLostError
        raise lost(f"{type(error).__name__}: {error}") from error
    finally:
        with contextlib.suppress(asyncpg.InterfaceError):
            connection.remove_log_listener(warned)


async def _roll_back(connection: Connection) -> None:
    try:
        # asyncpg first cancels the late statement, which takes an answer of the server.
        await connection.execute("ROLLBACK", timeout=GIVE_UP_TIMEOUT_S)
    except BaseException as error:
        # A connection that cannot roll back is of no use, whatever the reason.
        abandon(connection)
        if not isinstance(error, Exception):
            raise


def abandon(connection: Connection) -> None:
    """Abandon a connection without waiting for the server. asyncpg may have done so already."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


async def await_standby(connection: Connection, timeout_s: float) -> None:
    """Wait until everything that this connection has read is on the synchronous standby; without one, return at once.

    A restart or an administrator may cut short a COMMIT's wait for the standby. Its changes are visible then, but are
    lost if the standby takes over, so no message may report them before. Raises DatabaseTroubleError.
    """
    try:
        with _heeding_warnings(connection):
            # A late statement changes nothing, so it is cancelled; abandoned, it would keep a connection busy.
            await connection.execute(statement("await_standby"), timeout=timeout_s)
    except TimeoutError as error:
        raise DatabaseTroubleError("PostgreSQL does not commit; perhaps its standby is away") from error


@contextlib.contextmanager
def _heeding_warnings(connection: Connection) -> Iterator[None]:
    """Raise DecideAgainError after a commit with a warning: it may have reached no standby."""
    warnings: list[str] = []

    def warned(_connection: object, warning: Any) -> None:
        warnings.append(warning.message)

    connection.add_log_listener(warned)
    try:
        yield
    finally:
        with contextlib.suppress(asyncpg.InterfaceError):
            connection.remove_log_listener(warned)
    if warnings:
        raise DecideAgainError(f"a commit came with a warning: {warnings[0]}")


async def _commit(connection: Connection, timeout_s: float) -> None:
    with _heeding_warnings(connection):
        committing = asyncio.ensure_future(connection.execute("COMMIT", timeout=NEVER_S))
        # Retrieve the error of an abandoned COMMIT: asyncio would log it as never retrieved.
        committing.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            # wait() does not cancel the statement at a timeout or when this task is cancelled.
            done, _ = await asyncio.wait({committing}, timeout=timeout_s)
        except asyncio.CancelledError:
            abandon(connection)
            raise
        if not done:
            abandon(connection)
            raise DecideAgainError("COMMIT was not answered in time")
        if committing.result() != "COMMIT":
            raise DecideAgainError("the transaction had failed")


_WAITS = {"55P03": LockedError, "57014": TooSlowError}
"""The errors of a statement that has waited for too long, by SQLSTATE."""


def _meaning(error: Exception) -> DecideAgainError | DatabaseTroubleError | None:
    """Translate an error into the one that says what to do; None for data errors and bugs, which are raised unchanged.

    SQLSTATE classes: https://www.postgresql.org/docs/current/errcodes-appendix.html
    """
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, ValueError):
        return None  # asyncpg could not even encode a value
    if isinstance(error, TimeoutError):
        return TooSlowError("no answer in time: a lock, a slow server, or no connection to it")
    if isinstance(error, asyncpg.PostgresError):
        state = error.sqlstate or "XX000"
        if state[:2] in ("22", "23", "54"):
            return None
        again = state[:2] == "40" or state == "0A000"
        return DecideAgainError(text) if again else _WAITS.get(state, DatabaseTroubleError)(text)
    # asyncpg raises InternalClientError on a connection whose end the server has announced but not carried out.
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError | PoolerError):
        return DatabaseTroubleError(text)
    return None
