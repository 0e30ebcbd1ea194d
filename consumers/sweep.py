"""The sweep: batches that were committed and never confirmed are published again, from the ledger.

The normal way is that the broker redelivers; the sweep is for what the broker has lost. A race between the two
costs only a duplicate with the same event id.
"""

import asyncio
from datetime import timedelta

import structlog
from aiormq.exceptions import DeliveryError

from genlock.consumers.publisher import Publisher, event_message
from genlock.consumers.session import Session
from genlock.consumers.topology import Topology
from genlock.service import ledger
from genlock.service.database import DatabaseTroubleError, Pool, transaction
from genlock.service.settings import Settings

BATCHES_AT_ONCE = 10

log = structlog.get_logger()


class Sweep:
    """Looks for old unconfirmed batches every so often; of all replicas one at a time."""

    def __init__(self, session: Session, pool: Pool, settings: Settings) -> None:
        self._session = session
        self._pool = pool
        self._settings = settings
        self._topology = Topology(settings.namespace)

    async def run(self) -> None:
        """Sweep until cancelled."""
        channel = await self._session.channel(confirms=True)
        publisher = await Publisher.on(channel, self._settings.publish_timeout_s)
        while True:
            try:
                swept = await self.sweep(publisher)
            except (DatabaseTroubleError, DeliveryError) as trouble:
                log.warning("sweep put off", action="sweep", why=str(trouble))
                swept = 0
            if swept < BATCHES_AT_ONCE:
                await asyncio.sleep(self._settings.sweep_after_s / 2)

    async def sweep(self, publisher: Publisher) -> int:
        """Publish the events of the oldest unconfirmed batches; return how many batches that were."""
        async with transaction(self._pool, self._settings.decide_timeout_s) as connection:
            if not await ledger.try_sweeping(connection):
                return 0
            age = timedelta(seconds=self._settings.sweep_after_s)
            unconfirmed = await ledger.unconfirmed(connection, age, BATCHES_AT_ONCE)
            for batch_id, events in unconfirmed.items():
                log.warning("published again", action="sweep", batch=batch_id, events=len(events))
                await publisher.publish(
                    event_message(event, self._topology.events, self._settings.source) for event in events
                )
            await ledger.confirm(connection, unconfirmed)
            return len(unconfirmed)
