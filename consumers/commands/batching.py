"""Batching: deliveries are decoded in their order, and those that have arrived meanwhile are decided together."""

import asyncio
from dataclasses import dataclass

from aiormq.abc import DeliveredMessage

from genlock.consumers.commands.authors import Reader
from genlock.consumers.commands.deliveries import Delivery, commands_of, read
from genlock.consumers.commands.overlap import ConcurrentBatches
from genlock.consumers.health.activity import Progress
from genlock.schemas.decode import Command
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.kind import Kinds

BATCH_BYTES_MAX = 1024 * 1024
"""No batch takes more once its messages have so many bytes: in memory they take up to 32 times as much, and up to six
batches are there at once (docs/production.md)."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Deliveries in their order, their commands that can be decided, and what these may touch."""

    deliveries: list[Delivery]
    commands: list[Command]
    footprint: Footprint
    at_once: int | None = None
    """How many commands to begin with, in a batch of which some were decided already in transactions of their own. Its
    footprint is still that of the whole batch."""


class Batching:
    """Forms the batches of one consumer, of at most `commands_max` commands unless a single message has more.

    `reader` tells their authors.
    """

    def __init__(
        self, kinds: Kinds, progress: Progress, commands_max: int, reader: Reader, *, bytes_max: int = BATCH_BYTES_MAX
    ) -> None:
        self._progress = progress
        self._commands_max = commands_max
        self._reader = reader
        self._bytes_max = bytes_max
        self._arrived: asyncio.Queue[DeliveredMessage | Delivery | None] = asyncio.Queue()
        self._concurrent = ConcurrentBatches(kinds, commands_max)
        self._set_aside: Delivery | None = None
        """A delivery that did not fit into the batch before; it is the next one's first."""

    def add(self, arrived: DeliveredMessage | Delivery) -> None:
        """Take a message, or a delivery that comes back to be decided after all."""
        self._arrived.put_nowait(arrived)

    def end(self) -> None:
        """Form no more batches once everything that was added is in one."""
        self._arrived.put_nowait(None)

    async def next(self) -> Batch | None:
        """Wait until there is a batch that may be decided beside those under way; None when there will be no more.

        A suspicious delivery is a batch of its own, in its place in the order, and so is a message with more commands
        than the limit.
        """
        deliveries = await self._collect()
        return await self._enter(deliveries) if deliveries else None

    def leave(self, batch: Batch) -> None:
        """Note that a batch is no longer under way."""
        self._concurrent.leave(batch.footprint)

    async def _collect(self) -> list[Delivery]:
        """Wait for a delivery, then take what else has arrived. Empty when there will be no more."""
        first, self._set_aside = self._set_aside or await self._next(), None
        if first is None:
            return []
        deliveries = [first]
        await self._fill(deliveries)
        return deliveries

    async def _enter(self, deliveries: list[Delivery]) -> Batch:
        """Wait until a batch may be decided beside those under way; meanwhile it grows."""
        exclusive = deliveries[0].suspicious
        while True:
            commands = commands_of(deliveries)
            if footprint := self._concurrent.enter(commands, exclusive=exclusive):
                return Batch(deliveries, commands, footprint)
            await self._concurrent.wait()
            await self._fill(deliveries)

    async def _fill(self, deliveries: list[Delivery]) -> None:
        """Add the deliveries that have arrived to a batch, up to the limits."""
        if deliveries[0].suspicious or self._set_aside:
            return
        room = self._commands_max - sum(len(delivery.parts) for delivery in deliveries)
        size = sum(delivery.size for delivery in deliveries)
        while room > 0 and size < self._bytes_max and not self._arrived.empty():
            delivery = await self._next()
            if delivery is None:
                self.end()
                break
            if delivery.suspicious or len(delivery.parts) > room:
                self._set_aside = delivery
                break
            deliveries.append(delivery)
            room -= len(delivery.parts)
            size += delivery.size

    async def _next(self) -> Delivery | None:
        arrived = await self._arrived.get()
        if arrived is None or isinstance(arrived, Delivery):
            return arrived
        delivery = await read(arrived, self._reader)
        self._progress.moved()
        return delivery
