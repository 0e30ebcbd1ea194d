"""Confirmed batches are noted in the database: the sweep need not publish their events again.

The next batch's transaction carries the note. After a while of quiet, and before exit, it has a transaction of its own.
"""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator

import structlog

from genlock.service.database.transactions import DatabaseTroubleError
from genlock.service.deciding.decide import Decider

QUIET_S = 0.2

log = structlog.get_logger()


class Confirmations:
    """Collects batch ids. A lost note costs only a duplicate: the sweep publishes the batch again."""

    def __init__(self, decider: Decider) -> None:
        self._decider = decider
        self._waiting: set[int] = set()
        self._added = asyncio.Event()

    def add(self, batch_ids: Iterable[int]) -> None:
        """Take batches that are confirmed now."""
        self._waiting.update(batch_ids)
        self._added.set()

    @contextlib.contextmanager
    def carrying(self) -> Iterator[list[int]]:
        """Hand out the batches that are not noted yet, for a transaction to carry; take them back if it fails.

        Only one transaction has them at a time: another one would wait for its rows, and so for its COMMIT.
        """
        carried, self._waiting = sorted(self._waiting), set()
        try:
            yield carried
        except BaseException:
            self.add(carried)
            raise

    async def run(self) -> None:
        """Note what no transaction has carried within QUIET_S, until cancelled."""
        while True:
            await self._added.wait()
            self._added.clear()
            await asyncio.sleep(QUIET_S)
            await self.flush()

    async def flush(self) -> None:
        """Note all that is waiting."""
        if not self._waiting:
            return
        try:
            with self.carrying() as batch_ids:
                await self._decider.confirm(batch_ids)
        except DatabaseTroubleError as trouble:
            log.warning("confirmations not noted", action="confirm", why=str(trouble))
