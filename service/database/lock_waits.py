"""Waiting for locks of PostgreSQL: with an end, and with a word on who holds them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

import asyncpg
import structlog

from genlock.service.database.connecting import LoneConnection, looking

T = TypeVar("T")

LOOK_EVERY_S = 0.1
TELL_EVERY_S = 10.0
"""How often the log says for what a lock is waited."""

START_PATIENCE_S = 2.0
"""How long a short statement may wait for a lock before its holder is asked for."""

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
    """A lock was waited for in vain; the message says who holds it, and what to do."""


async def patiently(
    attempt: Callable[[float], Awaitable[T]],
    *,
    what: str,
    waiting: LoneConnection,
    observer: LoneConnection,
    wait_s: float,
    pause_s: float,
) -> T:
    """Attempt something until it need not wait for a lock any more. Raises LockedError after `wait_s` seconds.

    `attempt` uses the connection `waiting`, is told how many seconds are left, and undoes all where a lock was waited
    for too long. After `pause_s` it is tried again. The `observer` sees for whom it waits; it must be free meanwhile.
    """
    deadline = asyncio.get_running_loop().time() + wait_s
    watch = _Watch(observer, waiting.get_server_pid(), what)
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
    """Sees what a session waits for, and says so in the log from time to time."""

    def __init__(self, observer: LoneConnection, pid: int, what: str) -> None:
        self.seen = ""
        """Who blocked it when that was last seen."""
        self._observer = observer
        self._pid = pid
        self._what = what
        self._told_at: float | None = None

    @contextlib.asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Look again and again while the context lasts."""
        ended = asyncio.Event()
        looking = asyncio.create_task(self._run(ended))
        try:
            yield
        finally:
            # Not cancelled: that would cancel the observer's statement, and end its transaction and what it holds.
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
        if self._told_at is None or now - self._told_at >= TELL_EVERY_S:
            self._told_at = now
            log.warning("waiting for a lock", action="migrate", what=self._what, held_by=self.seen)


async def blockers(observer: LoneConnection, pid: int) -> str:
    """Say which sessions keep a process waiting for a lock; nothing if none does."""
    # Within a transaction PostgreSQL shows the same picture again and again.
    await observer.execute("SELECT pg_stat_clear_snapshot()")
    rows = await observer.fetch(BLOCKERS, pid)
    named = [_session(row) for row in rows if row["pid"]]
    if any(not row["pid"] for row in rows):
        named += [_prepared(row) for row in await observer.fetch(PREPARED)]
    return " and ".join(named)


async def unless_locked(url: str, connection: LoneConnection, work: Awaitable[T], what: str) -> T:
    """Do a short work on a connection; raises LockedError soon where it waits for a lock."""
    working = asyncio.ensure_future(work)
    try:
        await asyncio.wait({working}, timeout=START_PATIENCE_S)
        if not working.done():
            async with looking(url) as observer:
                holders = await blockers(observer, connection.get_server_pid())
            if holders and not working.done():
                raise LockedError(f"{what} waits for a lock held by {holders}: let that end, or end it.")
        return await working
    finally:
        working.cancel()


def _session(row: Any) -> str:
    """Describe a session as far as PostgreSQL shows it to this role."""
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
