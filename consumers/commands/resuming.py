"""Resuming: held commands are tried again beside the others, in the order of their records, until they are decided.

Of each record the first held command is tried, by one replica at a time. It is put off again where nothing has changed,
after pauses that grow. Once it is decided and its outcome is published, it is held no more, and those behind it follow.
"""

import asyncio
import contextlib
from collections.abc import Sequence
from dataclasses import replace

import structlog

from genlock.consumers.amqp.publisher import Publisher, RefusedError
from genlock.consumers.amqp.session import BROKER_ERRORS, Session, heed_cancellation
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.backoff import growing_pauses
from genlock.consumers.commands.authors import Reader
from genlock.consumers.commands.deciding import FOR_NEWER
from genlock.consumers.commands.deliveries import Delivery, commands_of
from genlock.consumers.commands.holding import come_back, without
from genlock.consumers.commands.messages import messages
from genlock.consumers.commands.recovery import Recovery
from genlock.consumers.commands.refusals import Refusals
from genlock.consumers.health.metrics import Metrics
from genlock.consumers.queries.direct_replies import DirectReplies
from genlock.service.database.transactions import DatabaseTroubleError
from genlock.service.deciding.batch_outcomes import BatchOutcomes, HeldCommand
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Failpoint, Step, ignore
from genlock.service.deciding.limits import TooMuchError
from genlock.service.ledger.held import Claimed, HeldTable, NotHeldError
from genlock.service.ledger.outbox import Outbox
from genlock.service.settings import Settings

AT_ONCE = 2
"""How many held commands are tried at once. One that takes long does not keep all others waiting."""

LOOK_S = 1.0
"""How often it is looked for what other replicas hold, in seconds."""

log = structlog.get_logger()


class Resuming:
    """Tries held commands within one session. `decider` decides them though they are held."""

    def __init__(
        self,
        session: Session,
        decider: Decider,
        table: HeldTable,
        settings: Settings,
        metrics: Metrics,
        *,
        outbox: Outbox,
        refusals: Refusals,
        replies: DirectReplies,
        failpoint: Failpoint = ignore,
    ) -> None:
        self._session = session
        self._decider = decider
        self._table = table
        self._settings = settings
        self._metrics = metrics
        self._outbox = outbox
        self._refusals = refusals
        self._replies = replies
        self._topology = Topology(settings.namespace)
        self._reader = Reader(settings.source, session.user, settings.require_user, in_order=settings.lanes > 1)
        self._failpoint = failpoint
        self._lease_s = settings.decide_timeout_s
        """How long a claim lasts. A replica that dies leaves its claims behind; that two try the same command does no
        harm."""

    async def run(self) -> None:
        """Try what is held, each at its time, until cancelled."""
        publisher = await Publisher.on(self._session, self._settings.publish_timeout_s)
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(self._resume_all(publisher))

    async def _resume_all(self, publisher: Publisher) -> None:
        pauses = growing_pauses(self._settings.retry_delay_max_s)
        while True:
            heed_cancellation()
            try:
                if await self.resume_next(publisher):
                    continue
                pauses = growing_pauses(self._settings.retry_delay_max_s)
                left_s = await self._table.next_try_s()
                await asyncio.sleep(LOOK_S if left_s is None else min(left_s, LOOK_S))
            except DatabaseTroubleError as trouble:
                log.warning("held commands put off", action="hold", why=str(trouble))
                await asyncio.sleep(next(pauses))

    async def resume_next(self, publisher: Publisher) -> bool:
        """Try the command whose turn it is, and those behind it; False where it is the turn of none.

        Raises DatabaseTroubleError.
        """
        first = await self._table.claim(self._lease_s)
        if first is None:
            return False
        try:
            delivery = await self._read(first)
            held = await self._try_first(publisher, first, delivery)
        except NotHeldError as gone:
            log.info("held command is gone", action="hold_record", why=str(gone))
            return True
        except DatabaseTroubleError as trouble:
            await self._table.put_off(first, first.records, str(trouble))
            raise
        except BROKER_ERRORS:
            raise
        except Exception as error:
            # A fault of ours with one of the commands: the others go on.
            log.exception("held command failed", action="hold_record")
            await self._table.put_off(first, first.records, repr(error))
            return True
        if held:
            pause_s = await self._table.put_off(first, held.records, held.why)
            log.debug("still held", action="hold", why=held.why, again_in_s=pause_s)
            return True
        done = [first]
        try:
            # Where they are too much for one transaction, or one of them is gone, they come one by one.
            with contextlib.suppress(TooMuchError, NotHeldError):
                done += await self._follow(publisher, await self._table.behind(first))
        finally:
            await self._table.remove(done)
        return True

    async def _read(self, claimed: Claimed) -> Delivery:
        delivery = await come_back(claimed, self._reader)
        newer = await self._decider.for_newer(delivery.commands)
        return delivery.without(newer, FOR_NEWER) if newer else delivery

    async def _try_first(self, publisher: Publisher, first: Claimed, delivery: Delivery) -> HeldCommand | None:
        """Decide a command that is behind no other, and publish what it comes to, unless it stays held."""
        outcomes = BatchOutcomes([], [])
        for command in delivery.commands:
            if first.tries and (locked := await self._decider.hold_if_locked(command)):
                return locked
            outcomes = await self._decider.decide([command], patient=True)
            if command.id in outcomes.held:
                return outcomes.held[command.id]
        await self._publish(publisher, [delivery], outcomes)
        return None

    async def _follow(self, publisher: Publisher, behind: Sequence[Claimed]) -> list[Claimed]:
        """Decide commands that were behind one that is decided now; return those that are held no more."""
        deliveries = [await self._read(claimed) for claimed in behind]
        if not deliveries:
            return []
        commands = commands_of(deliveries)
        outcomes = await self._decider.decide(commands) if commands else BatchOutcomes([], [])
        outcomes = outcomes.without(outcomes.held)
        await self._publish(publisher, [without(delivery, outcomes.held) for delivery in deliveries], outcomes)
        return [
            claimed
            for claimed, delivery in zip(behind, deliveries, strict=True)
            if not any(command.id in outcomes.held for command in delivery.commands)
        ]

    async def _publish(self, publisher: Publisher, deliveries: Sequence[Delivery], outcomes: BatchOutcomes) -> None:
        """Publish outcomes, and note their batches as confirmed.

        An earlier try may have decided them, and then have published nothing.
        """
        recovery = Recovery(self._outbox)
        ids = [command.id for command in commands_of(deliveries)]
        outcomes = await recovery.add_messages(replace(outcomes, retried=True), ids)
        self._metrics.answered(outcomes.outcomes)
        outgoing = messages(deliveries, outcomes, self._topology, self._settings.source, self._metrics)
        try:
            await publisher.publish(self._replies.divert(outgoing), patient=True)
        except RefusedError as refusal:
            await self._refusals.keep(refusal.messages)
            await publisher.renew()
        self._failpoint(Step.RESUMED)
        await self._decider.confirm([*outcomes.batch_ids, *recovery.published(outcomes.outcomes)])
