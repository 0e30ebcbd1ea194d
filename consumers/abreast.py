"""Batches that are decided at once: only such as touch none of the same records, so that each record keeps its order.

While one waits for PostgreSQL, the next one is decoded and begun.
"""

import asyncio
from collections.abc import Hashable, Iterator, Sequence
from typing import TypeAlias

from genlock.schemas.decode import Command
from genlock.service.touched import touched

AT_ONCE = 2
"""How many are, at most; each needs a connection to PostgreSQL."""

WORTHWHILE_SHARE = 1 / 4
"""The part of a full batch that it takes to begin another beside one: what a batch costs, whatever its size, would
otherwise keep the processors busy at a tenth of the load that they can take."""

Touches: TypeAlias = frozenset[Hashable]


class Abreast:
    """The batches under way, for one that brings them the next ones in their order.

    `full` is how many commands a batch has at most. A small one waits while another is decided, and grows.
    """

    def __init__(self, full: int) -> None:
        self._worthwhile = full * WORTHWHILE_SHARE
        self._under_way: list[Touches] = []
        self._alone = False
        self._left = asyncio.Event()

    def enter(self, commands: Sequence[Command], *, alone: bool) -> Touches | None:
        """Begin to decide a batch beside the others, or `alone`: what to `leave` with; None if it has to wait."""
        if self._under_way and (alone or self._alone or len(commands) < self._worthwhile):
            return None
        touches = frozenset(_touches(commands))
        if not self._has_room(touches):
            return None
        self._under_way.append(touches)
        self._alone = alone
        return touches

    async def wait(self) -> None:
        """Wait until one of those under way is decided."""
        self._left.clear()
        await self._left.wait()

    def leave(self, touches: Touches) -> None:
        """Note that a batch is decided."""
        self._under_way.remove(touches)
        self._left.set()

    def _has_room(self, touches: Touches) -> bool:
        return len(self._under_way) < AT_ONCE and all(map(touches.isdisjoint, self._under_way))


def _touches(commands: Sequence[Command]) -> Iterator[Hashable]:
    what = touched(commands)
    yield from what.names
    for kind, ids in what.ids.items():
        for record_id in ids:
            yield kind, record_id
    for command in commands:
        yield command.id
