"""Batches whose events the broker has confirmed, on their way into the database.

The note travels with the next batch's transaction, or alone after a while of quiet, and before exit.
"""

import asyncio
from collections.abc import Collection, Iterable

import structlog

from genlock.service.database import DatabaseTroubleError
from genlock.service.decide import Decider

QUIET_S = 0.2

log = structlog.get_logger()


class Confirmations:
    """Collects batch ids. A note that is lost costs only a duplicate: the sweep publishes the batch again."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._waiting: set[int] = set()
        self._added = asyncio.Event()

    def add(self, batch_ids: Iterable[int]) -> None:
        """Take batches that are confirmed now."""
        self._waiting.update(batch_ids)
        self._added.set()

    def waiting(self) -> list[int]:
        """The batches that are not noted yet, for a transaction to carry."""
        return sorted(self._waiting)

    def noted(self, batch_ids: Collection[int]) -> None:
        """Forget batches that a committed transaction has noted."""
        self._waiting.difference_update(batch_ids)

    async def run(self) -> None:
        """Note what no transaction has carried within QUIET_S, until cancelled."""
        while True:
            await self._added.wait()
            self._added.clear()
            await asyncio.sleep(QUIET_S)
            await self.flush()

    async def flush(self) -> None:
        """Note all that is waiting."""
        if batch_ids := self.waiting():
            try:
                await self._decider.confirm(batch_ids)
            except DatabaseTroubleError as trouble:
                log.warning("confirmations not noted", action="confirm", why=str(trouble))
                self._added.set()
            else:
                self.noted(batch_ids)
