"""The sweep publishes again, from the ledger, the batches that were committed and never confirmed.

Normally the broker redelivers their commands; the sweep is for what the broker has lost. A race between the two costs
only a duplicate with the same event id. Further messages are published as far as they are still due.

How old a batch is no clock has to tell: a replica sweeps what it has seen there for long enough.
"""

import asyncio
from collections.abc import Sequence

import structlog

from genlock.consumers.amqp.publisher import Outgoing, Publisher, RefusedError, event_message, further_message
from genlock.consumers.amqp.session import Session, heed_cancellation
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.refusals import Refusals
from genlock.service.database.transactions import DatabaseTroubleError, Pool, await_standby
from genlock.service.ledger import ledger
from genlock.service.ledger.ages import Ages
from genlock.service.ledger.events import Event
from genlock.service.ledger.outbox import Outbox
from genlock.service.settings import Settings

LEASE_S = 10.0
"""How long PostgreSQL hears nothing of a replica that sweeps before another one may, in seconds."""

log = structlog.get_logger()


class Sweep:
    """Looks for old unconfirmed batches every so often; of all replicas one at a time."""

    def __init__(
        self,
        session: Session,
        pool: Pool,
        settings: Settings,
        outbox: Outbox,
        refusals: Refusals,
        *,
        ages: Ages,
        lease_s: float = LEASE_S,
    ) -> None:
        self._session = session
        self._pool = pool
        self._settings = settings
        self._outbox = outbox
        self._refusals = refusals
        self._ages = ages
        self._topology = Topology(settings.namespace)
        self._lease_s = lease_s

    async def run(self) -> None:
        """Sweep until cancelled."""
        publisher = await Publisher.on(self._session, self._settings.publish_timeout_s)
        while True:
            heed_cancellation()
            try:
                swept = await self.sweep(publisher)
            except DatabaseTroubleError as trouble:
                log.warning("sweep put off", action="sweep", why=str(trouble))
                swept = False
            if not swept:
                await asyncio.sleep(self._settings.sweep_after_s / 2)

    async def sweep(self, publisher: Publisher) -> bool:
        """Publish what the oldest unconfirmed batch has; False if there is none, or if another replica sweeps.

        The broker may take as long as it likes: no transaction is open meanwhile.
        """
        async with ledger.sweeping(self._pool, self._settings.decide_timeout_s, self._lease_s) as lock:
            if lock is None:
                return False
            found = await ledger.oldest_unconfirmed(lock.connection, self._ages, self._outbox.known)
            if found is None:
                return False
            batch_id, events = found
            await await_standby(lock.connection, self._settings.decide_timeout_s)
            # In a database that is read-only it fails before it has published what it could not note.
            await ledger.confirm(lock.connection, ())
            log.warning("published again", action="sweep", batch=batch_id, events=len(events))
            await lock.keep(self._publish_all(publisher, batch_id, events))
            await ledger.confirm(lock.connection, [batch_id])
            return True

    async def _publish_all(self, publisher: Publisher, batch_id: int, events: Sequence[Event]) -> None:
        """Publish what a batch has, its events and its further messages. Raises as `_publish` does."""
        source = self._settings.source
        await self._publish(publisher, [event_message(event, self._topology.events, source) for event in events])
        async for messages in self._outbox.of_batches([batch_id]):
            await self._publish(publisher, [further_message(stored, self._topology, source) for stored in messages])

    async def _publish(self, publisher: Publisher, messages: list[Outgoing]) -> None:
        """Publish messages; what the broker refuses waits for itself alone. Raises DatabaseTroubleError."""
        try:
            await publisher.publish(messages, patient=True)
        except RefusedError as refusal:
            await self._refusals.keep(refusal.messages)
            await publisher.renew()
