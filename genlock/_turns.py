"""Turns: functions that keep the event loop busy are called one after another, each with a fresh state.

While such a function computes, nothing leaves this process. Were all that want one record called first, every one of
their commands would be sent late, and all but one of them would conflict; and so again each time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from weakref import WeakValueDictionary

BUSY_S = 0.005
"""How long a function may take before others wait for it: about what it takes to send a command and be answered."""


class Turn:
    """What the changes of one record in one event loop have to take, once the function of one of them was slow."""

    def __init__(self) -> None:
        self._lock = asyncio.Lock()
        self._slow = False

    def learn(self, took_s: float) -> None:
        """Be told how long a function has kept the event loop busy."""
        self._slow = self._slow or took_s >= BUSY_S

    @asynccontextmanager
    async def taken(self, deadline: float) -> AsyncIterator[bool]:
        """Have the turn, if functions are slow; whether others came before, who may have changed the record.

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
    """The turn of a record in this event loop, which all clients of this loop share."""
    return _turns.setdefault((asyncio.get_running_loop(), kind, record_id), Turn())
