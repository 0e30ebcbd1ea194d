"""Publishing events again from the ledger, for a broker that lost them or was replaced by an empty one.

The bytes and the event ids are the same, so that a subscriber recognizes an event that it has seen. A live service may
go on meanwhile. Further messages of the same decisions are published as far as they are still due.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from genlock.consumers.amqp.publisher import Outgoing, Publisher, RefusedError, event_message, further_message
from genlock.consumers.amqp.session import BROKER_ERRORS, Session
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.refusals import as_refused
from genlock.service.database.transactions import Pool, acquired, await_standby, transaction
from genlock.service.deciding.kind import Kinds
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger import ledger
from genlock.service.ledger.ledger import Recorded
from genlock.service.ledger.outbox import Outbox
from genlock.service.ledger.waiting import WaitingTable
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
    """How far it has come. `newly_confirmed` counts the batches that were not confirmed before."""

    events: int = 0
    batches: int = 0
    newly_confirmed: int = 0
    waiting: int = 0
    """How many messages a queue refused. A replica publishes them again when the queue takes them."""
    reached: datetime | None = None
    """When the last batch was decided of which the broker has everything."""
    unheard: set[str] = field(default_factory=set)
    """Types of events that have no subscriber: the first event of each went to no queue."""


class Republisher:
    """Publishes the events of a span of time, a bounded number at once."""

    def __init__(
        self,
        session: Session,
        pool: Pool,
        settings: Settings,
        report: Callable[[Republished], Any] = lambda _: None,
        *,
        events_at_once: int = EVENTS_AT_ONCE,
        kinds: Kinds = KINDS,
    ) -> None:
        self._session = session
        self._pool = pool
        self._settings = settings
        self._outbox = Outbox(pool, READ_TIMEOUT_S, kinds.messages)
        self._waiting = WaitingTable(pool, READ_TIMEOUT_S)
        self._report = report
        self._events_at_once = events_at_once
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
            async for recorded in ledger.decided_since(reading, since, until, self._events_at_once):
                async with acquired(self._pool, READ_TIMEOUT_S) as connection:
                    await await_standby(connection, READ_TIMEOUT_S)
                with _told(self._done):
                    await self._publish(recorded)
                await self._note(recorded)
                self._report(self._done)
        if self._open is not None:
            await self._confirm([self._open])
        return self._done

    async def _publish(self, recorded: Sequence[Recorded]) -> None:
        topology, source = Topology(self._settings.namespace), self._settings.source
        waiting: list[Outgoing] = []
        for event in (each.event for each in recorded if each.event is not None):
            message = event_message(event, topology.events, source)
            if event.type in self._tried:
                waiting.append(message)
                continue
            await self._publish_now(waiting)
            self._tried.add(event.type)
            if not await self._reaches_queue(message):
                self._done.unheard.add(event.type)
            self._done.events += 1
        await self._publish_now(waiting)

    async def _publish_further(self, batch_ids: Sequence[int]) -> None:
        """Publish the further messages of batches whose events are published."""
        topology, source = Topology(self._settings.namespace), self._settings.source
        async for messages in self._outbox.of_batches(batch_ids):
            with _told(self._done):
                await self._publish_or_keep([further_message(stored, topology, source) for stored in messages])

    async def _publish_now(self, waiting: list[Outgoing]) -> None:
        if waiting:
            await self._publish_or_keep(waiting)
            self._done.events += len(waiting)
            waiting.clear()

    async def _reaches_queue(self, message: Outgoing) -> bool:
        try:
            return await self._publisher.reaches_queue(message)
        except RefusedError:
            await self._keep([message])
            return True

    async def _publish_or_keep(self, messages: Sequence[Outgoing]) -> None:
        """Publish messages; what a queue refuses is kept, for a replica to publish again."""
        try:
            await self._publisher.publish(messages)
        except RefusedError as refusal:
            await self._keep(refusal.messages)

    async def _keep(self, messages: Sequence[Outgoing]) -> None:
        await self._waiting.add(list(map(as_refused, messages)))
        self._done.waiting += len(messages)
        await self._publisher.renew()

    async def _note(self, recorded: Sequence[Recorded]) -> None:
        """Note the batches that are complete: all of them but the last, which may go on."""
        complete = []
        for each in recorded:
            if self._open is not None and self._open.batch_id != each.batch_id:
                complete.append(self._open)
            self._open = each
        await self._confirm(complete)

    async def _confirm(self, complete: Sequence[Recorded]) -> None:
        await self._publish_further([each.batch_id for each in complete])
        if unconfirmed := [each.batch_id for each in complete if not each.confirmed]:
            foreign = await self._outbox.foreign(unconfirmed)
            unconfirmed = [batch_id for batch_id in unconfirmed if batch_id not in foreign]
            async with transaction(self._pool, READ_TIMEOUT_S) as connection:
                await ledger.confirm(connection, unconfirmed)
        self._done.newly_confirmed += len(unconfirmed)
        self._done.batches += len(complete)
        if complete:
            self._done.reached = complete[-1].decided_at


@contextlib.contextmanager
def _told(done: Republished) -> Iterator[None]:
    """Tell of the broker's errors in words of its own: within the transaction they would be taken for the database's.

    Raises NotPublishedError.
    """
    try:
        yield
    except BROKER_ERRORS as error:
        raise NotPublishedError(str(error) or type(error).__name__, done.reached) from error
