"""The command consumer: decode, collect, decide, publish, settle.

Three loops share the work, and none waits for the next one's answers: while some batches are being published and some
decided, at once if they touch none of the same records, another one gathers by itself. All begin, and are settled, in
delivery order; a batch is settled when the broker has confirmed all its events.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from time import monotonic
from typing import TypeVar

import structlog
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from genlock.consumers import wire
from genlock.consumers.abreast import Abreast, Touches
from genlock.consumers.burial import Burial
from genlock.consumers.confirmations import Confirmations
from genlock.consumers.deliveries import Delivery, read
from genlock.consumers.direct_replies import DirectReplies
from genlock.consumers.messages import messages
from genlock.consumers.parking import Parking
from genlock.consumers.publisher import Outgoing, Publisher, RefusedError
from genlock.consumers.registration import Registration
from genlock.consumers.session import Session, asking_broker
from genlock.consumers.topology import CommandQueue, Topology
from genlock.consumers.vitals import Vitals
from genlock.schemas.decode import Command
from genlock.service.database.clocks import ClocksDifferError
from genlock.service.database.transactions import DatabaseTroubleError
from genlock.service.database.waiting import watch
from genlock.service.deciding.decide import Answers, Decider
from genlock.service.deciding.failpoints import Reached, Step, ignore
from genlock.service.settings import Settings

T = TypeVar("T")

RETRY_DELAY_FIRST_S = 0.1

FOR_NEWER = "unknown_type: newer replicas can decide it; retry it when all are"
"""Why a command is a dead letter that an older replica got during an upgrade (docs/upgrading.md)."""

BATCH_BYTES_MAX = 4 * 1024 * 1024
"""No batch takes more once its messages have so many bytes: a conflict is several times as large as its command."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Batch:
    """Deliveries in their order, and the answers to those that are commands."""

    deliveries: list[Delivery]
    answers: Answers


class CommandConsumer:
    """Consumes the inbox, or a lane, within one session."""

    def __init__(
        self,
        session: Session,
        decider: Decider,
        settings: Settings,
        vitals: Vitals,
        *,
        replies: DirectReplies,
        reached: Reached = ignore,
        queue: CommandQueue,
        cautious: bool = False,
    ) -> None:
        self._queue = queue
        self._session = session
        self._vitals = vitals
        self._replies = replies
        self._decider = decider
        self._settings = settings
        self._topology = Topology(settings.namespace)
        self._reached = reached
        self._confirmations = Confirmations(decider)
        self._arrived: asyncio.Queue[DeliveredMessage | Delivery | None] = asyncio.Queue()
        self._parking = Parking(self._arrived.put_nowait, vitals.activity, settings.retry_delay_max_s)
        self._abreast = Abreast(settings.batch_size_max)
        self._deciding: asyncio.Queue[asyncio.Task[Batch] | None] = asyncio.Queue(maxsize=1)
        self._publishing: asyncio.Queue[tuple[Batch, asyncio.Task[list[Outgoing]]] | None] = asyncio.Queue(maxsize=1)
        self._inbox: AbstractChannel
        self._publisher: Publisher
        self._burial: Burial
        self._registration: Registration
        self._cautious = cautious
        self._set_aside: Delivery | None = None
        """A delivery that did not belong into the batch before; it is the next one's first."""

    async def start(self) -> None:
        """Open the channels and register the consumer."""
        self._inbox = await self._session.channel()
        wire.TakeDeliveries(await self._inbox.get_underlay_channel(), self._on_message)
        self._publisher = await Publisher.on(self._session, self._settings.publish_timeout_s)
        self._registration = Registration(
            self._inbox,
            self._queue,
            self._settings,
            self._vitals,
            lambda: self._parking.late,
            cautious=self._cautious,
        )
        self._burial = Burial(self._session, self._publisher, self._settings, self._vitals, self._buried)
        await self._registration.take()

    async def run(self) -> None:
        """Work until `stop`, then return once everything that was held is settled."""
        watch(lambda: self._vitals.activity.waiting(self._settings.decide_timeout_s))
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(task) for task in (self._confirmations.run(), self._parking.run(), self._burial.run())
            ]
            group.create_task(self._decide_batches())
            group.create_task(self._publish_batches())
            await group.create_task(self._settle_batches())
            for task in beside:
                task.cancel()
        await self._confirmations.flush()

    async def stop(self) -> None:
        """Take no more deliveries; what is held is still decided, published and settled."""
        await self._registration.stop()
        self._arrived.put_nowait(None)

    async def _decide_batches(self) -> None:
        """Begin to decide batches in their order, each in a task of its own."""
        async with asyncio.TaskGroup() as group:
            while deliveries := await self._collect():
                touches = await self._enter(deliveries)
                self._reached(Step.COLLECTED)
                await self._deciding.put(group.create_task(self._decide_batch(deliveries, touches)))
        await self._deciding.put(None)

    async def _enter(self, deliveries: list[Delivery]) -> Touches:
        """Wait until a batch may be decided beside those under way; meanwhile it grows."""
        alone = deliveries[0].suspicious
        while (touches := self._abreast.enter(_commands(deliveries), alone=alone)) is None:
            await self._abreast.wait()
            await self._fill(deliveries)
        return touches

    async def _decide_batch(self, deliveries: list[Delivery], touches: Touches) -> Batch:
        began = monotonic()
        try:
            deliveries, answers = await self._answer(deliveries)
        finally:
            self._abreast.leave(touches)
        self._vitals.metrics.decided(len(answers.events), monotonic() - began)
        return Batch(deliveries, answers)

    async def _collect(self) -> list[Delivery]:
        """Wait for a delivery, then take what else has arrived, up to the limit. Empty when there will be no more.

        A suspicious delivery is a batch of its own, in its place in the order, and so is one of more than the limit.
        """
        first, self._set_aside = self._set_aside or await self._next(), None
        if first is None:
            return []
        deliveries = [first]
        await self._fill(deliveries)
        return deliveries

    async def _fill(self, deliveries: list[Delivery]) -> None:
        """Add what has arrived to a batch, up to the limit."""
        if deliveries[0].suspicious or self._set_aside:
            return
        room = self._settings.batch_size_max - sum(len(delivery.parts) for delivery in deliveries)
        size = sum(delivery.size for delivery in deliveries)
        while room > 0 and size < BATCH_BYTES_MAX and not self._arrived.empty():
            delivery = await self._next()
            if delivery is None:
                self._arrived.put_nowait(None)
                break
            if delivery.suspicious or len(delivery.parts) > room:
                self._set_aside = delivery
                break
            deliveries.append(delivery)
            room -= len(delivery.parts)
            size += delivery.size

    async def _next(self) -> Delivery | None:
        message = await self._arrived.get()
        if message is None or isinstance(message, Delivery):
            return message
        delivery = await read(message)
        self._vitals.activity.moved()
        return delivery

    async def _answer(self, deliveries: list[Delivery]) -> tuple[list[Delivery], Answers]:
        """Decide what is for this program to decide; what is for newer ones becomes a dead letter."""
        commands = _commands(deliveries)
        newer = await self._patiently(lambda: self._decider.for_newer(commands), len(commands))
        if newer:
            deliveries = [delivery.without(newer, FOR_NEWER) for delivery in deliveries]
            commands = _commands(deliveries)
        while deliveries and commands:
            try:
                return deliveries, await self._patiently(partial(self._decide, deliveries), len(commands))
            except ClocksDifferError as doubt:
                deliveries = self._parking.park(deliveries, doubt.command_ids, str(doubt))
                commands = _commands(deliveries)
        return deliveries, Answers([], [])

    async def _decide(self, deliveries: list[Delivery]) -> Answers:
        decide = self._decider.decide_suspects if deliveries[0].suspicious else self._decider.decide
        with self._confirmations.carrying() as confirmed:
            return await decide(_commands(deliveries), confirmed)

    async def _patiently(self, ask: Callable[[], Awaitable[T]], held: int) -> T:
        """Ask the database, however long it takes to be able to answer.

        Raises ClocksDifferError, save in a lane, where whatever cannot be decided holds up what comes after it.

        Deliveries are held meanwhile, no more than the prefetch, and the consumer stays registered: where one is
        cancelled that holds something, and its node of the broker dies, what it held is delivered to nobody before that
        node is back, and perhaps not then (docs/production.md, "What a broker forgets").
        """
        delay_s = RETRY_DELAY_FIRST_S
        with self._vitals.asking() as asking:
            while True:
                try:
                    return await ask()
                except DatabaseTroubleError as trouble:
                    if isinstance(trouble, ClocksDifferError) and not self._queue.in_order:
                        raise
                    log.warning("database trouble", action="hold", why=str(trouble), held=held, again_in_s=delay_s)
                    self._vitals.metrics.held()
                    asking.met(str(trouble))
                with self._vitals.activity.waiting(delay_s):
                    await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, self._settings.retry_delay_max_s)

    async def _publish_batches(self) -> None:
        """Begin to publish batches in their order, though the ones before are not confirmed yet."""
        async with asyncio.TaskGroup() as group:
            while deciding := await self._deciding.get():
                # Its own loop cancels it where all of this ends; a second time would break off its roll-back.
                batch = await asyncio.shield(deciding)
                if batch.deliveries:
                    self._registration.note_size(max(len(delivery.parts) for delivery in batch.deliveries))
                    await self._registration.leave_in_haste()
                self._vitals.metrics.answered(_commands(batch.deliveries), batch.answers.events)
                outgoing = messages(
                    batch.deliveries, batch.answers, self._topology, self._settings.source, self._vitals.metrics
                )
                publishing = group.create_task(self._publish(self._replies.divert(outgoing)))
                await self._publishing.put((batch, publishing))
        await self._publishing.put(None)

    async def _settle_batches(self) -> None:
        while published := await self._publishing.get():
            batch, publishing = published
            letters = await asyncio.shield(publishing)
            self._registration.cautious = False
            if batch.deliveries:
                self._reached(Step.PUBLISHED)
                held = {letter.tag for letter in letters}
                await self._settle(batch, held)
                self._burial.hold(letters)
                self._confirmations.add(batch.answers.batch_ids)
                self._vitals.settled(len(batch.deliveries) - len(held))
                self._reached(Step.SETTLED)
            await self._registration.take()

    async def _publish(self, outgoing: list[Outgoing]) -> list[Outgoing]:
        """Publish, however long the broker refuses: a queue of a subscriber may be full, or the broker's disk.

        Returns the dead letters that it did not take, for which nobody else has to wait.

        What is held stays held meanwhile, and with the prefetch limit no more than that comes.
        """
        delay_s = RETRY_DELAY_FIRST_S
        letters: list[Outgoing] = []
        with self._vitals.publishing():
            while True:
                try:
                    await self._publisher.publish(outgoing, patient=True)
                except RefusedError as refusal:
                    letters += (message for message in refusal.messages if message.mandatory)
                    # Not what others have been told of.
                    outgoing = [message for message in refusal.messages if not message.mandatory]
                    if not outgoing:
                        return letters
                    log.warning("publishing put off", action="publish", why=str(refusal), again_in_s=delay_s)
                    await asyncio.sleep(delay_s)
                    delay_s = min(2 * delay_s, self._settings.retry_delay_max_s)
                    await self._publisher.renew()
                else:
                    return letters

    async def _settle(self, batch: Batch, held: Collection[int]) -> None:
        """Acknowledge a batch, by its last delivery if none is late, save those whose dead letters are held.

        Batches are settled in order.
        """
        self._parking.delay(held)
        underlay = await self._inbox.get_underlay_channel()
        async with asking_broker(self._vitals.activity, self._settings):
            settled = [delivery.tag for delivery in batch.deliveries if delivery.tag not in held]
            for tag, multiple in self._parking.acknowledgements(settled):
                await underlay.basic_ack(tag, multiple=multiple)

    async def _buried(self, tags: Collection[int]) -> None:
        """Acknowledge deliveries whose dead letters were held, each by itself."""
        underlay = await self._inbox.get_underlay_channel()
        async with asking_broker(self._vitals.activity, self._settings):
            for tag in tags:
                await underlay.basic_ack(tag)
                self._parking.acknowledged(tag)
        self._vitals.settled(len(tags))
        await self._registration.take()

    def _on_message(self, message: DeliveredMessage) -> None:
        if self._registration.stopping and self._queue.in_order:
            return
        self._vitals.took(again=isinstance(message.delivery, Basic.Deliver) and bool(message.delivery.redelivered))
        self._arrived.put_nowait(message)


def _commands(deliveries: Iterable[Delivery]) -> list[Command]:
    return [command for delivery in deliveries for command in delivery.commands]
