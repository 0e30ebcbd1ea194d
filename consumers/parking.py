"""Parking: deliveries that cannot be decided until the clocks agree wait here, and the others of their batch go on.

From then on deliveries are no longer settled in their order, so each is acknowledged by itself while any is late. One
whose dead letter no queue takes is late too (burial.py).
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

import structlog

from genlock.consumers.deliveries import Delivery
from genlock.consumers.vitals import Activity

log = structlog.get_logger()


class Parking:
    """The parked deliveries of one consumer. `back` takes them to be decided, every `pause_s` seconds."""

    def __init__(self, back: Callable[[Delivery], None], activity: Activity, pause_s: float) -> None:
        self._back = back
        self._activity = activity
        self._pause_s = pause_s
        self._parked: list[Delivery] = []
        self._late: set[int] = set()
        self._added = asyncio.Event()

    @property
    def late(self) -> int:
        """How many deliveries others have overtaken, and are not acknowledged yet."""
        return len(self._late)

    def delay(self, tags: Iterable[int]) -> None:
        """Note that others will be acknowledged before these deliveries."""
        self._late.update(tags)

    def acknowledged(self, tag: int) -> None:
        """Note that a delivery of those was acknowledged by itself."""
        self._late.discard(tag)

    def park(self, deliveries: Sequence[Delivery], command_ids: Collection[str], why: str) -> list[Delivery]:
        """Take the deliveries with these commands, and return the others."""
        parked = [one for one in deliveries if any(command.id in command_ids for command in one.commands)]
        log.warning("clocks differ", action="hold", why=why, held=len(parked), again_in_s=self._pause_s)
        tags = {one.tag for one in parked}
        self._late |= tags
        self._parked += parked
        self._added.set()
        return [one for one in deliveries if one.tag not in tags]

    def acknowledgements(self, tags: Collection[int]) -> Iterator[tuple[int, bool]]:
        """How to acknowledge these deliveries: the tags, and whether all before it are meant too."""
        self._late.difference_update(tags)
        if not self._late:
            yield max(tags), True
            return
        for tag in tags:
            yield tag, False

    async def run(self) -> None:
        """Give back what is parked, again and again, until cancelled."""
        while True:
            await self._added.wait()
            self._added.clear()
            with self._activity.waiting(self._pause_s):
                await asyncio.sleep(self._pause_s)
            parked, self._parked = self._parked, []
            for delivery in parked:
                self._back(delivery)
