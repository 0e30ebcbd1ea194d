"""Publishing again what the ledger has kept: for a broker that lost it, or was replaced by an empty one.

The same bytes under the same event ids, so that whoever has seen an event knows it. A live service may go on meanwhile.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from genlock.consumers.publisher import Outgoing, Publisher, event_message
from genlock.consumers.session import BROKER_ERRORS, Session
from genlock.consumers.topology import Topology
from genlock.service.database.transactions import Pool, acquired, await_standby, transaction
from genlock.service.ledger import ledger
from genlock.service.ledger.ledger import Recorded
from genlock.service.settings import Settings

EVENTS_AT_ONCE = 100
"""How many events are in memory, and not yet confirmed, at once; each may have 4 MiB."""

READ_TIMEOUT_S = 120.0
"""How long the database may take for the next events: the first are found by looking through all batches."""


class NotPublishedError(Exception):
    """The broker did not take the events; the message says why, and `reached` up to where it had all of them."""

    def __init__(self, why: str, reached: datetime | None) -> None:
        super().__init__(why)
        self.reached = reached


@dataclass(slots=True)
class Republished:
    """How far it has come. `newly_confirmed` are batches that nobody knew to be confirmed before."""

    events: int = 0
    batches: int = 0
    newly_confirmed: int = 0
    reached: datetime | None = None
    """When the last batch was decided of which the broker has everything."""
    unheard: set[str] = field(default_factory=set)
    """Types of events that went to no queue when the first of them was published: nobody has subscribed to them."""


class Republisher:
    """Publishes the events of a span of time, a bounded number at once."""

    def __init__(
        self, session: Session, pool: Pool, settings: Settings, report: Callable[[Republished], Any] = lambda _: None
    ) -> None:
        self._session = session
        self._pool = pool
        self._settings = settings
        self._report = report
        self._done = Republished()
        self._tried: set[str] = set()
        self._open: Recorded | None = None
        """The last event that was published, whose batch may go on."""
        self._publisher: Publisher

    async def run(self, since: datetime, until: datetime | None = None) -> Republished:
        """Publish all that was decided since then, and before `until` if that is given, the oldest batch first.

        Raises NotPublishedError, DatabaseTroubleError and BROKER_ERRORS; beginning anew is always safe.
        """
        self._publisher = await Publisher.on(self._session, self._settings.publish_timeout_s)
        async with transaction(self._pool, READ_TIMEOUT_S) as reading:
            # The broker may be slow; nothing is locked meanwhile.
            await reading.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            async for recorded in ledger.decided_since(reading, since, until, EVENTS_AT_ONCE):
                async with acquired(self._pool, READ_TIMEOUT_S) as connection:
                    await await_standby(connection, READ_TIMEOUT_S)
                await self._publish(recorded)
                await self._note(recorded)
                self._report(self._done)
        if self._open is not None:
            await self._confirm([self._open])
        return self._done

    async def _publish(self, recorded: Sequence[Recorded]) -> None:
        topology, source = Topology(self._settings.namespace), self._settings.source
        waiting: list[Outgoing] = []
        try:
            for event in (each.event for each in recorded if each.event is not None):
                message = event_message(event, topology.events, source)
                if event.type in self._tried:
                    waiting.append(message)
                    continue
                await self._publish_now(waiting)
                self._tried.add(event.type)
                if not await self._publisher.reaches_queue(message):
                    self._done.unheard.add(event.type)
                self._done.events += 1
            await self._publish_now(waiting)
        except BROKER_ERRORS as error:
            # Said in words of its own, for within the transaction these errors would be taken for the database's.
            raise NotPublishedError(str(error) or type(error).__name__, self._done.reached) from error

    async def _publish_now(self, waiting: list[Outgoing]) -> None:
        if waiting:
            await self._publisher.publish(waiting)
            self._done.events += len(waiting)
            waiting.clear()

    async def _note(self, recorded: Sequence[Recorded]) -> None:
        """Note the batches that are complete: all of them but the last, which may go on."""
        complete = []
        for each in recorded:
            if self._open is not None and self._open.batch_id != each.batch_id:
                complete.append(self._open)
            self._open = each
        await self._confirm(complete)

    async def _confirm(self, complete: Sequence[Recorded]) -> None:
        if unconfirmed := [each.batch_id for each in complete if not each.confirmed]:
            async with transaction(self._pool, READ_TIMEOUT_S) as connection:
                await ledger.confirm(connection, unconfirmed)
        self._done.newly_confirmed += len(unconfirmed)
        self._done.batches += len(complete)
        if complete:
            self._done.reached = complete[-1].decided_at
