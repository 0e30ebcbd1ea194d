"""Waiting for locks of PostgreSQL: with a deadline, and with a log record that names the holders."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg
import structlog

from genlock.service.database.connecting import LoneConnection, short_connection

T = TypeVar("T")

LOOK_EVERY_S = 0.1
TELL_EVERY_S = 10.0
"""How often the log says which sessions hold the lock."""

START_PATIENCE_S = 2.0
"""How long a short statement may wait for a lock before its holder is looked up."""

BLOCKERS = """
SELECT DISTINCT pid, usename AS role, application_name, backend_type, host(client_addr) AS client,
       coalesce(state, backend_type) AS state, backend_start, xact_start
FROM unnest(pg_blocking_pids($1)) AS blocker (pid) LEFT JOIN pg_stat_activity USING (pid)
ORDER BY pid
"""

# A prepared transaction has no process, and is reported as process 0.
PREPARED = """
SELECT gid, owner AS role, prepared FROM pg_prepared_xacts WHERE database = current_database() ORDER BY prepared
"""

log = structlog.get_logger()


class LockedError(Exception):
    """A lock was not released in time. The message names its holder and the remedy."""


async def patiently(
    attempt: Callable[[float], Awaitable[T]],
    *,
    what: str,
    waiting: LoneConnection,
    observer: LoneConnection,
    wait_s: float,
    pause_s: float,
    tell_every_s: float = TELL_EVERY_S,
) -> T:
    """Repeat an attempt until it gets its locks. Raises LockedError after `wait_s` seconds.

    `attempt` uses the connection `waiting`, gets the number of seconds left, and rolls back if a lock is not released
    in time. The pause between two attempts is `pause_s`. `observer` is a second connection, which looks up the holders
    of the lock; nothing else may use it meanwhile.
    """
    deadline = asyncio.get_running_loop().time() + wait_s
    watch = _Watch(observer, waiting.get_server_pid(), what, tell_every_s)
    while True:
        left_s = deadline - asyncio.get_running_loop().time()
        try:
            async with watch.watching():
                return await attempt(max(left_s, LOOK_EVERY_S))
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError) as error:
            if left_s <= pause_s:
                holder = watch.seen or "another session, which has just ended, or let others take its place,"
                raise LockedError(
                    f"{what} waited {wait_s:g} s (GENLOCK_MIGRATE_WAIT_S) for a lock held by {holder}: let that end, "
                    "or end it with pg_terminate_backend, and run genlock migrate again."
                ) from error
        await asyncio.sleep(pause_s)


class _Watch:
    """Looks up the sessions that block a session, and logs them at intervals."""

    def __init__(self, observer: LoneConnection, pid: int, what: str, tell_every_s: float) -> None:
        self.seen = ""
        """The holders at the last look."""
        self._observer = observer
        self._pid = pid
        self._what = what
        self._tell_every_s = tell_every_s
        self._told_at: float | None = None

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look repeatedly while the context lasts."""
        ended = asyncio.Event()
        looking = asyncio.create_task(self._run(ended))
        try:
            yield
        finally:
            # Not cancelled: that would cancel the observer's statement and abort its transaction, which holds a lock.
            ended.set()
            await looking

    async def _run(self, ended: asyncio.Event) -> None:
        while not ended.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(ended.wait(), LOOK_EVERY_S)
                return
            if holders := await blockers(self._observer, self._pid):
                self.seen = holders
                self._tell()

    def _tell(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._told_at is None or now - self._told_at >= self._tell_every_s:
            self._told_at = now
            log.warning("waiting for a lock", action="migrate", what=self._what, held_by=self.seen)


async def blockers(observer: LoneConnection, pid: int) -> str:
    """The sessions that keep a process waiting for a lock, in words; empty if there is none."""
    # Within a transaction PostgreSQL caches the first snapshot of its statistics.
    await observer.execute("SELECT pg_stat_clear_snapshot()")
    rows = await observer.fetch(BLOCKERS, pid)
    named = [_session(row) for row in rows if row["pid"]]
    if any(not row["pid"] for row in rows):
        named += [_prepared(row) for row in await observer.fetch(PREPARED)]
    return " and ".join(named)


async def unless_locked(
    url: str, connection: LoneConnection, work: Awaitable[T], what: str, patience_s: float = START_PATIENCE_S
) -> T:
    """Run short work on a connection. Raises LockedError if it waits for a lock."""
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({working}, timeout=patience_s)
        if not working.done():
            async with short_connection(url) as observer:
                holders = await blockers(observer, connection.get_server_pid())
            if holders and not working.done():
                raise LockedError(f"{what} waits for a lock held by {holders}: let that end, or end it.")
        return await working
    finally:
        working.cancel()


def _session(row: Any) -> str:
    """Describe the part of a session that PostgreSQL shows to this role."""
    told = [f'application "{row["application_name"]}"'] if row["application_name"] else []
    told += [f'role "{row["role"]}"'] if row["role"] else []
    if row["backend_start"] is None:
        told.append("of which only members of pg_read_all_stats see more")
    else:
        told.append(f"from {row['client']}" if row["client"] else "on the same machine")
        told.append(str(row["state"]))
        since = row["xact_start"]
        told.append(f"in a transaction since {_time(since)}" if since else f"there since {_time(row['backend_start'])}")
    return f"process {row['pid']} ({', '.join(told)})"


def _prepared(row: Any) -> str:
    return (
        f'the prepared transaction "{row["gid"]}" (role "{row["role"]}", since {_time(row["prepared"])}; '
        "COMMIT PREPARED or ROLLBACK PREPARED ends it)"
    )


def _time(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
