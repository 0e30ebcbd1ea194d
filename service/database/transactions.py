"""PostgreSQL: the pool, the transaction around a batch, and what its errors mean."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

from genlock.service.database.connecting import Hosts, LoneConnection
from genlock.service.database.sessions import PoolerError
from genlock.service.database.statements import statement
from genlock.service.database.waiting import Telling, waiting

# asyncpg's classes are generic for type checkers alone.
if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]
else:
    Pool = asyncpg.Pool
    Connection = asyncpg.pool.PoolConnectionProxy

NEVER_S = 10**6
"""A timeout in seconds that never strikes: asyncpg cancels a statement that is late, and a COMMIT must not be."""

GIVE_UP_TIMEOUT_S = 1.0
"""How long a server may take to roll back or unlock, in seconds: one that is alive needs none, others are left."""

CLOSE_TIMEOUT_S = 0.5
"""How long a server may take to say goodbye to a pool's connections, in seconds."""

READING_PLANS = {
    # A filter that is not set must vanish from the plan, which it does where the plan is made for its values.
    "plan_cache_mode": "force_custom_plan",
    # What is read takes milliseconds, and compiling the plan for it many times as long.
    "jit": "off",
}

DECIDING_PLANS = {
    # Every statement of a batch looks rows up by key. Statistics that lag behind a growing table must never make
    # the planner read it whole (tests/integration/test_plans.py).
    "enable_seqscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
}


class DatabaseTroubleError(Exception):
    """The database cannot work now, for no fault of the batch: pause and repeat."""


class DecideAgainError(DatabaseTroubleError):
    """The batch was rolled back, or nobody knows: decide it again, and the ledger tells what had been decided.

    Who cannot decide again can pause and repeat.
    """


def ignore(_error: PoolerError) -> None:
    """Leave a refusal to those who meet its error."""


async def open_pool(
    url: str,
    *,
    size: int,
    timeout_s: float,
    plans: dict[str, str] | None = None,
    refused: Callable[[PoolerError], None] = ignore,
) -> Pool:
    """Open a pool of `size` connections whose statements take at most `timeout_s` seconds each.

    `refused` is told, before the error is raised, if a connection leads to a pooler that keeps no sessions: at the
    start, or later when a connection is replaced.
    """
    settings = {"application_name": "genlock", "timezone": "UTC", "synchronous_commit": "on"} | (plans or {})
    settings["idle_in_transaction_session_timeout"] = f"{int(timeout_s * 2_000)}ms"
    # A COMMIT that no standby has is told of by a warning alone, which must not be suppressed.
    settings["client_min_messages"] = "warning"
    hosts = Hosts(url)

    async def connect(*arguments: Any, **options: Any) -> LoneConnection:
        try:
            return await hosts.connect(*arguments, **options)
        except PoolerError as error:
            refused(error)
            raise

    return await asyncpg.create_pool(
        min_size=1,
        max_size=size,
        timeout=timeout_s,
        command_timeout=timeout_s,
        server_settings=settings,
        connect=connect,
        connection_class=Telling,
        reset=_keep,
    )


@contextlib.asynccontextmanager
async def closing(pool: Pool) -> AsyncIterator[Pool]:
    """Close the pool in the end, properly if the server answers soon; one that is silent is left."""
    try:
        yield pool
    finally:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await pool.close()
        except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
            pool.terminate()


async def _keep(_connection: Any) -> None:
    """Reset nothing: no statement here leaves anything behind in its session, and a reset is a round trip."""


def written(status: str) -> int:
    """Read the number of rows from a command tag such as `UPDATE 3`."""
    return int(status.rpartition(" ")[2])


def columns(rows: Collection[tuple[Any, ...]]) -> list[list[Any]]:
    """Turn rows, one at least, into the arrays that `unnest` makes rows of again."""
    return [list(column) for column in zip(*rows, strict=True)]


async def must_write(connection: Connection, name: str, rows: Collection[tuple[Any, ...]]) -> None:
    """Run a statement of genlock.service.database.statements for some rows, one at least.

    Raises DecideAgainError where it could not write all of them: somebody else got there first.
    """
    same_count(len(rows), written(await connection.execute(statement(name), *columns(rows))), name)


def same_count(wanted: int, done: int, what: str) -> None:
    """Raise DecideAgainError where fewer rows were written than must be."""
    if done != wanted:
        raise DecideAgainError(f"{what}: {done} of {wanted} rows were as they had been read")


class TooSlowError(DatabaseTroubleError):
    """A statement took too long: the database may be in trouble, or the batch too large for it."""


@contextlib.asynccontextmanager
async def acquired(pool: Pool, timeout_s: float) -> AsyncIterator[Connection]:
    """Have a connection for a while; each statement on it is a transaction of its own.

    Raises DecideAgainError where repeating is the answer, DatabaseTroubleError where a pause is, and whatever else
    the body or the database raised.
    """
    try:
        async with _borrowed(pool, timeout_s) as connection:
            try:
                yield connection
            except Exception as error:
                # Who stayed on a connection to a server that has become read-only would wait there for ever.
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
    """Have a connection of the pool; to get one may take connecting, and to give it back the end of a statement."""
    with waiting():
        connection = await pool.acquire(timeout=timeout_s)
    try:
        yield connection
    finally:
        with waiting():
            await pool.release(connection)


@contextlib.asynccontextmanager
async def transaction(pool: Pool, timeout_s: float, *, dry_run: bool = False) -> AsyncIterator[Connection]:
    """Run the body in one transaction at READ COMMITTED, and commit it, or roll it back after a dry run.

    Raises as `acquired` does. After a COMMIT without an answer the connection is abandoned.
    """
    async with acquired(pool, timeout_s) as connection:
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


async def _roll_back(connection: Connection) -> None:
    try:
        # Before this is sent, the statement that was late or cancelled is given up, which the server has to answer.
        await connection.execute("ROLLBACK", timeout=GIVE_UP_TIMEOUT_S)
    except BaseException as error:
        # Whatever is wrong with it, a connection that cannot roll back is of no use.
        abandon(connection)
        if not isinstance(error, Exception):
            raise


def abandon(connection: Connection) -> None:
    """Leave a connection, and let the server find out. asyncpg may have done so before us."""
    with contextlib.suppress(asyncpg.InterfaceError):
        connection.terminate()


async def await_standby(connection: Connection, timeout_s: float) -> None:
    """Return once all that this connection has read is on the synchronous standby too; without one, at once.

    A COMMIT whose wait for the standby was cut short, by a restart or an administrator, is seen by everybody, and is
    lost if the standby takes over: nobody outside may hear of it before. Raises DatabaseTroubleError.
    """
    try:
        with _heeding_warnings(connection):
            # What is late is cancelled, for it changes nothing; each that was left would keep a connection busy.
            await connection.execute(statement("await_standby"), timeout=timeout_s)
    except TimeoutError as error:
        raise DatabaseTroubleError("PostgreSQL does not commit; perhaps its standby is away") from error


@contextlib.contextmanager
def _heeding_warnings(connection: Connection) -> Iterator[None]:
    """Raise DecideAgainError after a commit that came with a warning: it is done here, and perhaps on no standby."""
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
        # Where it is abandoned nobody waits for its error, and that is no news for the log.
        committing.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            # wait() leaves the statement alone when the time is over or when this task is cancelled.
            done, _ = await asyncio.wait({committing}, timeout=timeout_s)
        except asyncio.CancelledError:
            abandon(connection)
            raise
        if not done:
            abandon(connection)
            raise DecideAgainError("COMMIT was not answered in time")
        if committing.result() != "COMMIT":
            raise DecideAgainError("the transaction had failed")


def _meaning(error: Exception) -> DecideAgainError | DatabaseTroubleError | None:
    """What is to be done about an error; None for data errors and bugs, which stay as they are.

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
        return DecideAgainError(text) if again else DatabaseTroubleError(text)
    # InternalClientError is how asyncpg refuses a connection whose end the server has announced, but not made yet.
    if isinstance(error, OSError | asyncpg.InterfaceError | asyncpg.InternalClientError | PoolerError):
        return DatabaseTroubleError(text)
    return None
