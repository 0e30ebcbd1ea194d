"""Refusals: what the broker refuses waits in the database, for itself alone, and is published again from there.

A subscriber's queue may be full for days. Its messages are then kept one by one (service/ledger/waiting.py), and
batches are confirmed and acknowledged without them.

What waits goes over a connection of its own, which is there for as long as something waits. A destination whose
exchange is gone, or a broker that takes nothing, ends that connection and not the session in which commands are
consumed.
"""

import asyncio
from collections.abc import Iterable, Sequence

import structlog

from genlock.consumers.amqp.publisher import Outgoing, Publisher, RefusedError
from genlock.consumers.amqp.session import BROKER_ERRORS, heed_cancellation, open_aside
from genlock.consumers.backoff import growing_pauses
from genlock.service.database.transactions import DatabaseTroubleError
from genlock.service.deciding.failpoints import Failpoint, Step, ignore
from genlock.service.ledger.outbox import Outbox
from genlock.service.ledger.waiting import Claim, Refused, WaitingMessage, WaitingTable
from genlock.service.settings import Settings

LEASES = 2
"""For how many times the time that the broker has to confirm a destination is claimed."""

log = structlog.get_logger()


def as_refused(message: Outgoing) -> Refused:
    """A message as the database keeps it."""
    return Refused(
        message.exchange,
        message.routing_key,
        message.properties,
        message.body,
        message.mandatory,
        message.command_id,
        message.outbox,
    )


class Refusals:
    """Keeps refused messages, and publishes them again. Only one replica at a time does so to each destination."""

    def __init__(self, table: WaitingTable, outbox: Outbox, settings: Settings, failpoint: Failpoint = ignore) -> None:
        self._table = table
        self._outbox = outbox
        self._settings = settings
        self._failpoint = failpoint
        self._kept = asyncio.Event()
        self._look_s = settings.sweep_after_s / 2
        """How often it is looked for what other replicas keep."""

    async def keep(self, messages: Iterable[Outgoing]) -> None:
        """Keep messages, one at least, that the broker has refused. Raises DatabaseTroubleError."""
        refused = list(map(as_refused, messages))
        await self._table.add(refused)
        log.warning("messages wait", action="publish", messages=len(refused), to=refused[0].routing_key)
        self._failpoint(Step.KEPT)
        self._kept.set()

    async def run(self) -> None:
        """Publish what waits, each destination at its time, until cancelled."""
        pauses = growing_pauses(self._settings.retry_delay_max_s)
        while True:
            heed_cancellation()
            self._kept.clear()
            try:
                if await self._table.next_try_s() is not None:
                    await self._publish_all()
                pauses = growing_pauses(self._settings.retry_delay_max_s)
                await self._pause(self._look_s)
            except (DatabaseTroubleError, *BROKER_ERRORS) as error:
                why = str(error) or type(error).__name__
                log.warning("waiting messages put off", action="publish", why=why)
                await asyncio.sleep(next(pauses))

    async def _publish_all(self) -> None:
        """Publish over a connection of its own until nothing waits. Raises DatabaseTroubleError and BROKER_ERRORS."""
        async with open_aside(self._settings, "waiting messages") as session:
            publisher = await Publisher.on(session, self._settings.publish_timeout_s)
            while True:
                heed_cancellation()
                self._kept.clear()
                if await self.publish_next(publisher):
                    continue
                left_s = await self._table.next_try_s()
                if left_s is None:
                    return
                await self._pause(min(left_s, self._look_s))

    async def publish_next(self, publisher: Publisher) -> bool:
        """Publish to the destination whose turn it is; False where it is the turn of none.

        Raises BROKER_ERRORS, which count as a refusal, and DatabaseTroubleError; after that the destination is tried
        again when the claim is over.
        """
        claim = await self._table.claim(LEASES * self._settings.publish_timeout_s)
        if claim is None:
            return False
        known = [message for message in claim.messages if self._outbox.knows(message.stored)]
        due = await self._due(known)
        # What only a newer program knows is left to one, as if the broker had refused it.
        left = {message.id for message in claim.messages} - {message.id for message in known}
        done = {message.id for message in known} - {message.id for message in due}
        try:
            refused = await self._publish(publisher, claim, due)
        except BROKER_ERRORS:
            await self._table.release(claim, done=done, refused=left | {message.id for message in due})
            raise
        if len(refused) < len(due):
            log.info("waiting messages taken", action="publish", messages=len(due) - len(refused), to=claim.routing_key)
            self._failpoint(Step.TAKEN)
        done |= {message.id for message in due} - refused
        await self._table.release(claim, done=done, refused=left | refused)
        return True

    async def _due(self, messages: Sequence[WaitingMessage]) -> list[WaitingMessage]:
        """Those of the messages that are still to be published."""
        there = [message for message in messages if message.body is not None]
        further = [message.stored for message in there if message.stored]
        due = set(await self._outbox.due(further)) if further else set()
        return [message for message in there if message.stored is None or message.stored in due]

    async def _publish(self, publisher: Publisher, claim: Claim, messages: Sequence[WaitingMessage]) -> set[int]:
        """Publish messages; return the ids of those that the broker still refuses. Raises other BROKER_ERRORS."""
        outgoing = {message.id: _outgoing(claim, message) for message in messages}
        if not outgoing:
            return set()
        try:
            await publisher.publish(outgoing.values())
        except RefusedError as refusal:
            log.debug("messages wait on", action="publish", why=str(refusal), to=claim.routing_key)
            await publisher.renew()
            # The messages are values, and two may be the same.
            still = set(map(id, refusal.messages))
            return {message_id for message_id, message in outgoing.items() if id(message) in still}
        return set()

    async def _pause(self, seconds: float) -> None:
        try:
            async with asyncio.timeout(seconds):
                await self._kept.wait()
        except TimeoutError:
            return


def _outgoing(claim: Claim, message: WaitingMessage) -> Outgoing:
    return Outgoing(
        claim.exchange,
        claim.routing_key,
        message.body or b"",
        message.properties,
        mandatory=message.mandatory,
        # As far as it can come back it is a further message, which has an id of its own.
        message_id=message.stored.message.id if message.stored else "",
    )
