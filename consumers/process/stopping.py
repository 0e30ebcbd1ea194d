"""Stopping: the request to end a process in good order, which every pause and every start heeds."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

CLEAN_UP_TIMEOUT_S = 1.0
"""How long work that is given up may take to close what it has opened."""


class StoppedError(Exception):
    """The end was requested before the work was done."""


class Stop:
    """Made once for each process."""

    def __init__(self) -> None:
        self._requested = asyncio.Event()

    @property
    def requested(self) -> bool:
        """Tell whether the end was requested."""
        return self._requested.is_set()

    def request(self) -> None:
        """End every pause, and give up work that is `unless_requested`."""
        self._requested.set()

    async def wait(self) -> None:
        """Wait until the end is requested."""
        await self._requested.wait()

    async def pause(self, seconds: float) -> None:
        """Wait, not beyond the request."""
        try:
            await asyncio.wait_for(self._requested.wait(), seconds)
        except TimeoutError:
            return

    async def unless_requested(self, work: Coroutine[Any, Any, T]) -> T:
        """Work; raise StoppedError as soon as the end is requested."""
        working, stopping = asyncio.create_task(work), asyncio.create_task(self._requested.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise StoppedError
            return working.result()
        finally:
            stopping.cancel()
            working.cancel()
            # What it has opened is closed before the process ends, if that can be done at all.
            await asyncio.wait({working}, timeout=CLEAN_UP_TIMEOUT_S)
