"""The command consumer: form a batch, decide it, publish what it says, settle it.

Three loops form a pipeline: while earlier batches are published and decided (concurrently if their records are
disjoint), the next one fills. Batches begin, and are settled, in the order of delivery. A batch is settled when the
broker has confirmed all its messages, or the database keeps those that were refused.
"""

import asyncio
from collections.abc import Collection, Sequence
from functools import partial

import structlog
from aiormq.abc import AbstractChannel, DeliveredMessage
from pamqp.commands import Basic

from genlock.consumers.amqp import wire
from genlock.consumers.amqp.publisher import Outgoing, Publisher
from genlock.consumers.amqp.session import Session
from genlock.consumers.amqp.topology import CommandQueue, Topology
from genlock.consumers.commands.authors import Reader
from genlock.consumers.commands.batching import Batch, Batching
from genlock.consumers.commands.confirmations import Confirmations
from genlock.consumers.commands.dead_lettering import DeadLettering, by_tag
from genlock.consumers.commands.deciding import BatchDecider, DecidedBatch
from genlock.consumers.commands.messages import messages
from genlock.consumers.commands.parking import Parking
from genlock.consumers.commands.publishing import BatchPublisher
from genlock.consumers.commands.recovery import Recovery
from genlock.consumers.commands.refusals import Refusals
from genlock.consumers.commands.registration import Registration
from genlock.consumers.commands.room import Room
from genlock.consumers.commands.settlement import LateDeliveries, Settlement
from genlock.consumers.health.activity import Activity
from genlock.consumers.queries.direct_replies import DirectReplies
from genlock.service.database.waiting import watch
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Failpoint, Step, ignore
from genlock.service.ledger.held import HeldTable
from genlock.service.ledger.outbox import Outbox
from genlock.service.settings import Settings

HELD_BYTES_MAX = 64 * 2**20
"""How many bytes of messages are held, and one message more."""

log = structlog.get_logger()


class CommandConsumer:
    """Consumes the inbox, or a lane, within one session."""

    def __init__(
        self,
        session: Session,
        decider: Decider,
        settings: Settings,
        activity: Activity,
        *,
        outbox: Outbox,
        held: HeldTable,
        refusals: Refusals,
        replies: DirectReplies,
        failpoint: Failpoint = ignore,
        queue: CommandQueue,
        cautious: bool = False,
        held_bytes_max: int = HELD_BYTES_MAX,
    ) -> None:
        self._queue = queue
        self._session = session
        self._activity = activity
        self._refusals = refusals
        self._replies = replies
        self._settings = settings
        self._topology = Topology(settings.namespace)
        self._failpoint = failpoint
        self._cautious = cautious
        self._room = Room(held_bytes_max)
        reader = Reader(settings.source, session.user, settings.require_user, inbox=True, in_order=self._queue.in_order)
        retry_delay_max_s = settings.retry_delay_max_s
        self._batching = Batching(decider.kinds, activity.progress, settings.batch_size_max, reader)
        self._late = LateDeliveries()
        self._parking = Parking(self._batching.add, self._late, activity.progress, retry_delay_max_s)
        self._confirmations = Confirmations(decider)
        self._recovery = Recovery(outbox)
        self._decider = BatchDecider(
            decider,
            self._confirmations,
            self._parking,
            self._recovery,
            activity,
            held=held,
            in_order=queue.in_order,
            retry_delay_max_s=retry_delay_max_s,
            failpoint=failpoint,
        )
        self._deciding: asyncio.Queue[asyncio.Task[DecidedBatch] | None] = asyncio.Queue(maxsize=1)
        self._publishing: asyncio.Queue[tuple[DecidedBatch, asyncio.Task[list[Outgoing]]] | None] = asyncio.Queue(
            maxsize=1
        )
        self._batch_publisher: BatchPublisher
        self._inbox: AbstractChannel
        self._registration: Registration
        self._settlement: Settlement
        self._cut: list[Outgoing] = []
        """Dead letters that no queue took, of deliveries of which something is left to decide."""
        self._dead_lettering: DeadLettering

    async def start(self) -> None:
        """Open the channels and register the consumer."""
        inbox = await self._session.channel()
        self._inbox = await inbox.get_underlay_channel()
        wire.TakeDeliveries(self._inbox, self._on_message, self._room.has, self._on_no_room)
        publisher = await Publisher.on(self._session, self._settings.publish_timeout_s)
        self._batch_publisher = BatchPublisher(publisher, self._activity, self._keep)
        self._registration = Registration(
            inbox,
            self._queue,
            self._settings,
            self._activity,
            self._late,
            cautious=self._cautious,
            bytes_max=self._room.bytes_max,
        )
        self._settlement = Settlement(inbox, self._late, self._activity, self._settings)
        self._dead_lettering = DeadLettering(
            self._session, publisher, self._settings, self._activity, self._acknowledge_dead_letters
        )
        await self._registration.take()

    async def run(self) -> None:
        """Work until `stop`, then return once everything that was held is settled."""
        watch(lambda: self._activity.progress.waiting(self._settings.decide_timeout_s))
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(part.run()) for part in (self._confirmations, self._parking, self._dead_lettering)
            ]
            group.create_task(self._decide_batches())
            group.create_task(self._publish_batches())
            await group.create_task(self._settle_batches())
            for task in beside:
                task.cancel()
        await self._confirmations.flush()

    async def stop(self) -> None:
        """Take no more deliveries; those that are held are still decided, published and settled."""
        await self._registration.stop()
        self._batching.end()

    def _on_message(self, message: DeliveredMessage) -> None:
        if self._registration.stopping and self._queue.in_order:
            return
        self._activity.took(again=isinstance(message.delivery, Basic.Deliver) and bool(message.delivery.redelivered))
        self._room.take(message.delivery_tag or 0, len(message.body))
        self._batching.add(message)

    def _on_no_room(self, tag: int, size: int) -> None:
        """Hold a delivery's tag alone. In order, the next session begins with it, and with a smaller prefetch."""
        self._registration.note_bytes(size)
        if self._queue.in_order:
            self._session.lose(f"there is no room for a message of {size} bytes beside those that are held")
            return
        if not self._room.lacking:
            why = f"no room for a message of {size} bytes"
            log.info("messages go back", action="hold", why=why, held=self._activity.held)
        self._activity.took(again=False)
        self._room.refuse(tag, size)
        self._late.add([tag])

    async def _return_messages(self) -> None:
        """Return the deliveries that had no room and have some now, or all if the broker delivers none for a while."""
        tags = self._room.returned(everything=not self._registration.registered) if self._room.lacking else ()
        for tag in tags:
            await self._inbox.basic_nack(tag, requeue=True)
            self._late.remove(tag)
        if tags:
            self._activity.settled(len(tags))

    async def _decide_batches(self) -> None:
        """Begin to decide batches in their order, each in a task of its own."""
        async with asyncio.TaskGroup() as group:
            while batch := await self._batching.next():
                self._failpoint(Step.COLLECTED)
                await self._deciding.put(group.create_task(self._decide(batch)))
        await self._deciding.put(None)

    async def _decide(self, batch: Batch) -> DecidedBatch:
        decided: DecidedBatch | None = None
        try:
            decided = await self._decider.decide(batch)
        finally:
            if decided is None or not decided.rest:
                self._batching.leave(batch)
        return decided

    async def _publish_batches(self) -> None:
        """Begin to publish batches in their order, before the earlier ones are confirmed."""
        async with asyncio.TaskGroup() as group:
            while deciding := await self._deciding.get():
                # Its own loop cancels it when that ends; a second cancellation would break off its roll-back.
                batch = await asyncio.shield(deciding)
                publishing = await self._publish(batch, group)
                while batch.rest:
                    # What one transaction makes is published before the next one makes as much again.
                    await asyncio.wait({publishing})
                    batch = await asyncio.shield(group.create_task(self._decide(batch.rest)))
                    publishing = await self._publish(batch, group)
        await self._publishing.put(None)

    async def _publish(self, batch: DecidedBatch, group: asyncio.TaskGroup) -> asyncio.Task[list[Outgoing]]:
        """Begin to publish what was decided, in a task of its own."""
        if batch.deliveries:
            size = sum(delivery.size for delivery in batch.deliveries) // len(batch.deliveries)
            commands = max(len(delivery.parts) for delivery in batch.deliveries)
            self._registration.note_size(max(commands, 1), size)
            await self._registration.leave_early()
        self._activity.metrics.answered(batch.outcomes.outcomes)
        outgoing = messages(
            batch.deliveries, batch.outcomes, self._topology, self._settings.source, self._activity.metrics
        )
        publishing = group.create_task(self._batch_publisher.publish(self._replies.divert(outgoing)))
        await self._publishing.put((batch, publishing))
        return publishing

    async def _keep(self, refused: Sequence[Outgoing]) -> None:
        """Have the database keep what the broker refused, however long that takes."""
        await self._decider.patiently(partial(self._refusals.keep, refused), len(refused))

    async def _settle_batches(self) -> None:
        """Settle batches in their order, each when it is published."""
        while published := await self._publishing.get():
            batch, publishing = published
            dead_letters = [*self._cut, *await asyncio.shield(publishing)]
            # A delivery of which something is left to decide must not be acknowledged with its dead letter.
            settled = {delivery.tag for delivery in batch.settled}
            dead_letters, self._cut = by_tag(dead_letters, settled)
            self._registration.cautious = False
            if batch.deliveries:
                self._failpoint(Step.PUBLISHED)
                await self._settle(batch, dead_letters)
                self._dead_lettering.hold(dead_letters)
                self._confirmations.add(batch.outcomes.batch_ids)
                self._confirmations.add(self._recovery.published(batch.outcomes.outcomes))
                self._failpoint(Step.SETTLED)
            await self._registration.take()

    async def _settle(self, batch: DecidedBatch, dead_letters: Collection[Outgoing]) -> None:
        """Acknowledge a batch, except the deliveries whose dead letters no queue has taken yet."""
        held = {dead_letter.tag for dead_letter in dead_letters}
        tags = [delivery.tag for delivery in batch.settled]
        if tags:
            await self._settlement.settle(tags, held)
        self._room.leave(tag for tag in tags if tag not in held)
        await self._return_messages()

    async def _acknowledge_dead_letters(self, tags: Collection[int]) -> None:
        """Acknowledge deliveries whose dead letters a queue has taken now."""
        await self._settlement.settle_late(tags)
        self._room.leave(tags)
        await self._return_messages()
        await self._registration.take()
