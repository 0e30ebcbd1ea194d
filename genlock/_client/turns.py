"""Turns: slow synchronous functions of `change` run one after another, each with a fresh state.

While such a function computes, this process sends nothing. If all functions for one record ran first, their commands
would be sent late together, and all but one would conflict in every round.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

BUSY_S = 0.005
"""How long a function may take before turns apply: about the time of a command and its answer."""


class Turn:
    """The turn of the changes of one record in one event loop. It applies once a function was slow."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._slow = False

    def learn(self, took_s: float) -> None:
        """Note how long a function has blocked the event loop."""
        self._slow = self._slow or took_s >= BUSY_S

    @asynccontextmanager
    async def taken(self, deadline: float) -> AsyncIterator[bool]:
        """Take the turn if functions are slow; return whether others came before, which may have changed the record.

        Raises TimeoutError at the deadline.
        """
        others = self._lock.locked()
        if others and not self._slow:
            yield False
            return
        async with asyncio.timeout_at(deadline):
            await self._lock.acquire()
        try:
            yield others
        finally:
            self._lock.release()


_turns: WeakValueDictionary[tuple[asyncio.AbstractEventLoop, str, str], Turn] = WeakValueDictionary()


def turn_of(kind: str, record_id: str) -> Turn:
    """The turn of a record, shared by all clients of this event loop."""
    return _turns.setdefault((asyncio.get_running_loop(), kind, record_id), Turn())
