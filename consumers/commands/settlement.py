"""Settlement: decided deliveries are acknowledged, a whole batch at once while all are in their order.

A delivery is late when others were acknowledged before it: it was parked (parking.py), or no queue has taken its dead
letter yet (dead_lettering.py). While any is late, each delivery is acknowledged by itself.
"""

from collections.abc import Collection, Iterable, Iterator

from aio_pika.abc import AbstractChannel

from genlock.consumers.amqp.session import awaiting_broker
from genlock.consumers.health.activity import Activity
from genlock.service.settings import Settings


class LateDeliveries:
    """The delivery tags of one channel that others have overtaken and that are not acknowledged yet."""

    def __init__(self) -> None:
        self._tags: set[int] = set()

    def __len__(self) -> int:
        return len(self._tags)

    def add(self, tags: Iterable[int]) -> None:
        """Note that others will be acknowledged before these."""
        self._tags.update(tags)

    def remove(self, tag: int) -> None:
        """Note that a delivery is acknowledged, if it was late."""
        self._tags.discard(tag)

    def acknowledgements(self, tags: Collection[int]) -> Iterator[tuple[int, bool]]:
        """How to acknowledge these deliveries: the tags, and whether all before each are meant too."""
        self._tags.difference_update(tags)
        if not self._tags:
            yield max(tags), True
            return
        for tag in tags:
            yield tag, False


class Settlement:
    """Acknowledges the deliveries of one channel."""

    def __init__(self, channel: AbstractChannel, late: LateDeliveries, activity: Activity, settings: Settings) -> None:
        self._channel = channel
        self._late = late
        self._activity = activity
        self._settings = settings

    async def settle(self, tags: Iterable[int], held: Collection[int]) -> None:
        """Acknowledge a batch, except the deliveries that are `held` for later. Batches are settled in their order."""
        self._late.add(held)
        settled = [tag for tag in tags if tag not in held]
        underlay = await self._channel.get_underlay_channel()
        async with awaiting_broker(self._activity.progress, self._settings):
            for tag, multiple in self._late.acknowledgements(settled):
                await underlay.basic_ack(tag, multiple=multiple)
        self._activity.settled(len(settled))

    async def settle_late(self, tags: Collection[int]) -> None:
        """Acknowledge deliveries that were held, each by itself."""
        underlay = await self._channel.get_underlay_channel()
        async with awaiting_broker(self._activity.progress, self._settings):
            for tag in tags:
                await underlay.basic_ack(tag)
                # Not before: until then no batch may be acknowledged at once, which would mean this one too.
                self._late.remove(tag)
        self._activity.settled(len(tags))
