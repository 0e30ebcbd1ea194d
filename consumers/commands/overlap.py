"""Concurrent batches: those with disjoint footprints are decided at once, so that each record keeps its order.

While one waits for PostgreSQL, the next one is decoded and begun.
"""

import asyncio
from collections.abc import Sequence

from genlock.schemas.decode import Command
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.kind import Kinds

AT_ONCE = 2
"""How many batches are decided at once, at most. Each needs a connection to PostgreSQL."""

WORTHWHILE_SHARE = 1 / 4
"""A batch begins beside another one from this part of a full batch on. What a batch costs, whatever its size, would
otherwise keep the processors busy at a tenth of the load that they can take."""


class ConcurrentBatches:
    """The batches under way. The next ones ask to enter in their order.

    `full` is how many commands a batch has at most. A small batch waits while another one is decided, and grows.
    """

    def __init__(self, kinds: Kinds, full: int) -> None:
        self._kinds = kinds
        self._worthwhile = full * WORTHWHILE_SHARE
        self._under_way: list[Footprint] = []
        self._exclusive = False
        self._left = asyncio.Event()

    def enter(self, commands: Sequence[Command], *, exclusive: bool) -> Footprint | None:
        """Begin to decide a batch beside the others, or by itself if it is `exclusive`; None if it has to wait.

        Returns the batch's footprint, which is to be handed to `leave`.
        """
        if self._under_way and (exclusive or self._exclusive or len(commands) < self._worthwhile):
            return None
        footprint = self._kinds.footprint_of(commands)
        if not self._has_room(footprint):
            return None
        self._under_way.append(footprint)
        self._exclusive = exclusive
        return footprint

    async def wait(self) -> None:
        """Wait until one of those under way is decided."""
        self._left.clear()
        await self._left.wait()

    def leave(self, footprint: Footprint) -> None:
        """Note that a batch is decided."""
        self._under_way.remove(footprint)
        self._left.set()

    def _has_room(self, footprint: Footprint) -> bool:
        return len(self._under_way) < AT_ONCE and all(map(footprint.disjoint, self._under_way))
