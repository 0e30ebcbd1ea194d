"""The sweep: batches that were committed and never confirmed are published again, from the ledger.

The normal way is that the broker redelivers; the sweep is for what the broker has lost. A race between the two
costs only a duplicate with the same event id.
"""

import asyncio
from datetime import timedelta

import structlog

from genlock.consumers.publisher import Publisher, RefusedError, event_message
from genlock.consumers.session import Session
from genlock.consumers.topology import Topology
from genlock.service.database.transactions import DatabaseTroubleError, Pool, await_standby
from genlock.service.ledger import ledger
from genlock.service.settings import Settings

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
        publisher = await Publisher.on(self._session, self._settings.publish_timeout_s)
        while True:
            try:
                swept = await self.sweep(publisher)
            except DatabaseTroubleError as trouble:
                log.warning("sweep put off", action="sweep", why=str(trouble))
                swept = False
            except RefusedError as refusal:
                log.warning("sweep put off", action="sweep", why=str(refusal))
                swept = False
                await publisher.renew()
            if not swept:
                await asyncio.sleep(self._settings.sweep_after_s / 2)

    async def sweep(self, publisher: Publisher) -> bool:
        """Publish the events of the oldest unconfirmed batch; False if there is none, or if another replica sweeps.

        The broker may take as long as it likes: no transaction is open meanwhile.
        """
        age = timedelta(seconds=self._settings.sweep_after_s)
        async with ledger.sweeping(self._pool, self._settings.decide_timeout_s) as connection:
            found = await ledger.oldest_unconfirmed(connection, age) if connection else None
            if connection is None or found is None:
                return False
            batch_id, events = found
            await await_standby(connection, self._settings.decide_timeout_s)
            log.warning("published again", action="sweep", batch=batch_id, events=len(events))
            source = self._settings.source
            await publisher.publish(
                (event_message(event, self._topology.events, source) for event in events), patient=True
            )
            await ledger.confirm(connection, [batch_id])
            return True
