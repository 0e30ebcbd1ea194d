"""Patience: how long a batch may take before it counts as one that something keeps from being decided.

A command that no statement is quick enough for keeps all others of its batch waiting. So a batch of several gets many
times what batches took lately, instead of all the time that a statement may take. If a slow database was the reason,
the next batches get all of it, until one succeeds.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from time import monotonic

from genlock.service.database.transactions import Connection
from genlock.service.deciding.blame import be_quick

SHORTEST_S = 2.0
"""Shorter than this no patience gets. A batch may wait 1.5 s for a lock."""

TIMES_LATELY = 50

WEIGHT = 0.1
"""The part that the last batch has in what batches took lately."""


class Patience:
    """How long batches may take, by how long they took lately."""

    def __init__(self, timeout_s: float, shortest_s: float = SHORTEST_S) -> None:
        self._timeout_s = timeout_s
        self._shortest_s = shortest_s
        self._lately_s: float | None = None

    @property
    def limit_s(self) -> float:
        """How long a batch of several commands may take now, in seconds."""
        if self._lately_s is None:
            return self._timeout_s
        return min(self._timeout_s, max(self._shortest_s, self._lately_s * TIMES_LATELY))

    @contextlib.asynccontextmanager
    async def limited(self, connection: Connection, commands: int, *, quick: bool) -> AsyncIterator[None]:
        """Limit what is done with so many commands. The whole of it, or each statement if it is to be `quick`.

        Raises TimeoutError, and what PostgreSQL raises for a statement that takes too long.
        """
        if quick:
            await be_quick(connection, self._timeout_s)
        began = monotonic()
        try:
            # A lone command keeps no other waiting. Each of its statements is limited by the pool.
            async with asyncio.timeout(self.limit_s if commands > 1 and not quick else None):
                yield
        except TimeoutError:
            self._lately_s = None
            raise
        took_s = monotonic() - began
        self._lately_s = took_s if self._lately_s is None else self._lately_s + WEIGHT * (took_s - self._lately_s)
