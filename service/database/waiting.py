"""Reports of waits for PostgreSQL, by which health checks tell a slow server from a stuck task.

The watcher is a context variable, which child tasks inherit.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any

from genlock.service.database.connecting import LoneConnection

Watcher = Callable[[], AbstractContextManager[None]]
"""Called at the start of a wait; the returned context lasts until its end."""

_watcher: ContextVar[Watcher] = ContextVar("watcher", default=nullcontext)


def watch(watcher: Watcher) -> None:
    """Set the watcher of this task and of the tasks that it starts later."""
    _watcher.set(watcher)


def waiting() -> AbstractContextManager[None]:
    """Report a wait for the server, which lasts no longer than a statement may take."""
    return _watcher.get()()


class WatchedConnection(LoneConnection):
    """A connection that reports each statement as a wait."""

    async def execute(self, *args: Any, **options: Any) -> Any:
        with waiting():
            return await super().execute(*args, **options)

    async def fetch(self, *args: Any, **options: Any) -> Any:
        with waiting():
            return await super().fetch(*args, **options)

    async def fetchval(self, *args: Any, **options: Any) -> Any:
        with waiting():
            return await super().fetchval(*args, **options)

    async def fetchrow(self, *args: Any, **options: Any) -> Any:
        with waiting():
            return await super().fetchrow(*args, **options)
