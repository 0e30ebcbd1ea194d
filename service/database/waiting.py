"""Waiting for PostgreSQL: a task tells what watches it, so that a standstill can be explained by the server.

What watches is a context variable, which the tasks that a task starts inherit.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from typing import Any

from genlock.service.database.connecting import LoneConnection

Watcher = Callable[[], AbstractContextManager[None]]
"""Is told of a wait; the context that it returns lasts as long."""

_watcher: ContextVar[Watcher] = ContextVar("watcher", default=nullcontext)


def watch(watcher: Watcher) -> None:
    """Have a watcher told of the waits of this task, and of the tasks that it starts from now on."""
    _watcher.set(watcher)


def waiting() -> AbstractContextManager[None]:
    """Wait for the server while the context lasts, which is no longer than a statement may take."""
    return _watcher.get()()


class Telling(LoneConnection):
    """A connection that tells of each statement that the server is at."""

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
