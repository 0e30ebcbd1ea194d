"""Batches that are decided at once: only such as touch none of the same records, so that each record keeps its order.

While one waits for PostgreSQL, the next one is decoded and begun.
"""

import asyncio
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from genlock.schemas.base import Kind
from genlock.schemas.decode import Command
from genlock.service.kinds.registry import footprint_of

AT_ONCE = 2
"""How many are, at most; each needs a connection to PostgreSQL."""

WORTHWHILE_SHARE = 1 / 4
"""The part of a full batch that it takes to begin another beside one: what a batch costs, whatever its size, would
otherwise keep the processors busy at a tenth of the load that they can take."""


@dataclass(frozen=True, slots=True, eq=False)
class Touches:
    """What a batch changes, its commands' ids among it, and what it only reads."""

    changes: frozenset[Hashable]
    reads: frozenset[Hashable]

    def disjoint(self, other: "Touches") -> bool:
        """Tell whether neither batch changes what the other one reads or changes."""
        return (
            self.changes.isdisjoint(other.changes)
            and self.changes.isdisjoint(other.reads)
            and self.reads.isdisjoint(other.changes)
        )


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
        touches = _touches(commands)
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
        return len(self._under_way) < AT_ONCE and all(map(touches.disjoint, self._under_way))


def _touches(commands: Sequence[Command]) -> Touches:
    footprint = footprint_of(commands)
    changes: set[Hashable] = {*footprint.names, *(command.id for command in commands)}
    changes.update(_keys(footprint.changes))
    return Touches(frozenset(changes), frozenset(_keys(footprint.reads)))


def _keys(ids: Mapping[Kind, set[str]]) -> Iterator[Hashable]:
    return ((kind, record_id) for kind, found in ids.items() for record_id in found)
