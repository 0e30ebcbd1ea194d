"""Parking: deliveries that cannot be decided until the clocks agree wait, while the rest of their batch goes on."""

import asyncio
from collections.abc import Callable, Collection, Sequence

import structlog

from genlock.consumers.commands.deliveries import Delivery
from genlock.consumers.commands.settlement import LateDeliveries
from genlock.consumers.health.activity import Progress

log = structlog.get_logger()


class Parking:
    """The parked deliveries of one consumer. `back` takes them to be decided, every `pause_s` seconds."""

    def __init__(
        self, back: Callable[[Delivery], None], late: LateDeliveries, progress: Progress, pause_s: float
    ) -> None:
        self._back = back
        self._late = late
        self._progress = progress
        self._pause_s = pause_s
        self._parked: list[Delivery] = []
        self._added = asyncio.Event()

    def park(self, deliveries: Sequence[Delivery], command_ids: Collection[str], why: str) -> list[Delivery]:
        """Take the deliveries with these commands, and return the others."""
        parked = [one for one in deliveries if any(command.id in command_ids for command in one.commands)]
        log.warning("clocks differ", action="hold", why=why, held=len(parked), again_in_s=self._pause_s)
        tags = {one.tag for one in parked}
        self._late.add(tags)
        self._parked += parked
        self._added.set()
        return [one for one in deliveries if one.tag not in tags]

    async def run(self) -> None:
        """Give back the parked deliveries, again and again, until cancelled."""
        while True:
            await self._added.wait()
            self._added.clear()
            with self._progress.waiting(self._pause_s):
                await asyncio.sleep(self._pause_s)
            parked, self._parked = self._parked, []
            for delivery in parked:
                self._back(delivery)
