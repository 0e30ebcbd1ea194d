"""Direct replies: answers to names of the broker's own, `amq.rabbitmq.reply-to.…`, on connections of their own.

RabbitMQ reads the id of a process out of such a name, and before version 4.2 it ends the connection that publishes to
one which it cannot read, or which names a node that it does not know. Any client can write such a name, so nothing
else may depend on that connection. Names share one connection if the broker is known to read their like,
because it has written one itself or has confirmed a reply to one. All others have a second connection, which an
attacker can only end for other attackers.

The broker keeps no direct reply: it hands it to a consumer that waits, or drops it. In the same spirit a reply here is
sent without anything waiting for it, and dropped where it cannot be sent (tests/e2e/test_direct_replies.py).
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, replace
from uuid import uuid4

import structlog
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic

from genlock.consumers.amqp import wire
from genlock.consumers.amqp.publisher import Outgoing, Publisher
from genlock.consumers.amqp.session import BROKER_ERRORS, Session, answer_deadline, open_aside
from genlock.consumers.backoff import growing_pauses
from genlock.consumers.health.metrics import Metrics
from genlock.consumers.queries.reply_names import PREFIX, Origins
from genlock.service.settings import Settings

WAITING_MAX = 1_000
WAITING_BYTES_MAX = 16 * 2**20
"""How much may wait on each connection; what comes on top of that is dropped."""

AT_ONCE = 64
"""How many replies are sent before the first is confirmed."""

LOSSES_MAX = 2
"""A reply that was under way when so many connections were lost is the likely cause, and is dropped."""

FLUSH_TIMEOUT_S = 2.0
"""How long a stop waits for the replies that are still to be sent."""

log = structlog.get_logger()


def is_direct(reply_to: str) -> bool:
    """Tell whether a name is one that the broker reads."""
    return reply_to.startswith(PREFIX)


class DirectReplies:
    """Sends direct replies in the background."""

    def __init__(self, settings: Settings, metrics: Metrics, *, waiting_max: int = WAITING_MAX) -> None:
        self._origins = Origins()
        self._known = _Line(settings, metrics, self._origins, "direct replies", waiting_max)
        self._strange = _Line(settings, metrics, self._origins, "direct replies to strange names", waiting_max)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator["DirectReplies"]:
        """Send replies until the context ends, and then the rest within FLUSH_TIMEOUT_S."""
        lines = (self._known, self._strange)
        self._known.open()
        sending = [asyncio.create_task(line.run()) for line in lines]
        try:
            yield self
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FLUSH_TIMEOUT_S):
                    await asyncio.gather(*(line.idle.wait() for line in lines))
        finally:
            for task in sending:
                task.cancel()
            await asyncio.wait(sending)

    def divert(self, messages: Iterable[Outgoing]) -> list[Outgoing]:
        """Take the direct replies among some messages; return the others."""
        others = []
        for message in messages:
            if message.exchange or not is_direct(message.routing_key):
                others.append(message)
            else:
                self.send(message)
        return others

    def send(self, reply: Outgoing) -> None:
        """Send a reply some time soon, or drop it where too many wait."""
        line = self._known if self._origins.vouch_for(reply.routing_key) else self._strange
        line.put(replace(reply, optional=True))


@dataclass(slots=True)
class _Waiting:
    """A reply that is to be sent, and how many connections were lost over it."""

    message: Outgoing
    losses: int = 0


class _Line:
    """Sends replies over a connection that it opens when there is something to send."""

    def __init__(self, settings: Settings, metrics: Metrics, origins: Origins, purpose: str, waiting_max: int) -> None:
        self.idle = asyncio.Event()
        """Set while nothing waits and nothing is under way."""
        self.idle.set()
        self._settings = settings
        self._metrics = metrics
        self._origins = origins
        self._purpose = purpose
        self._waiting_max = waiting_max
        self._waiting: deque[_Waiting] = deque()
        self._bytes = 0
        self._work = asyncio.Event()
        self._full = False
        """Whether it was full at the last reply: a flood is one line in the log."""
        self._pauses = growing_pauses(settings.retry_delay_max_s)

    def open(self) -> None:
        """Connect before there is anything to send."""
        self._work.set()

    def put(self, message: Outgoing) -> None:
        size = len(message.body)
        too_many = len(self._waiting) >= self._waiting_max
        was_full, self._full = self._full, too_many or self._bytes + size > WAITING_BYTES_MAX
        if self._full:
            self._drop(1, "too many wait", quiet=was_full)
            return
        self._bytes += size
        self._waiting.append(_Waiting(message))
        self.idle.clear()
        self._work.set()

    async def run(self) -> None:
        """Send until cancelled."""
        while True:
            await self._work.wait()
            try:
                async with open_aside(self._settings, self._purpose) as session:
                    await self._send_over(session)
            except BROKER_ERRORS as error:
                log.debug("no connection", action="reply", purpose=self._purpose, why=str(error))
            await asyncio.sleep(next(self._pauses))

    async def _send_over(self, session: Session) -> None:
        """Send until the session is lost; then the next one is opened at once, to learn where that leads."""
        publisher = await Publisher.on(session, self._settings.publish_timeout_s)
        await self._learn(session)
        self._pauses = growing_pauses(self._settings.retry_delay_max_s)
        session.on_lost(self._work.set)
        while not session.is_lost:
            if self._waiting:
                await self._send(publisher)
            else:
                self._settled(())
                await self._work.wait()

    async def _learn(self, session: Session) -> None:
        """Learn how the node at the other end writes names: it returns one in a message that no queue takes."""
        channel = await session.channel(confirms=True, essential=False)
        underlay = await channel.get_underlay_channel()
        asking = Basic.Properties(reply_to=PREFIX)
        try:
            async with answer_deadline(self._settings):
                await underlay.basic_consume(PREFIX, wire.not_called, no_ack=True)
                told = await underlay.basic_publish(b"", routing_key=str(uuid4()), properties=asking, mandatory=True)
            if isinstance(told, DeliveredMessage):
                self._origins.note(told.header.properties.reply_to or "")
            await session.leave(channel)
        except BROKER_ERRORS as error:
            # Then it is learnt from the first reply that the broker confirms.
            log.debug("no name learnt", action="reply", purpose=self._purpose, why=str(error))

    async def _send(self, publisher: Publisher) -> None:
        """Send some of the waiting replies: one that a loss has met before by itself, others together."""
        sending = [self._waiting.popleft()]
        while self._waiting and len(sending) < AT_ONCE and not (sending[0].losses or self._waiting[0].losses):
            sending.append(self._waiting.popleft())
        try:
            await publisher.publish(waiting.message for waiting in sending)
        except BROKER_ERRORS:
            self._put_back(sending)
            raise
        for waiting in sending:
            self._origins.note(waiting.message.routing_key)
        self._settled(sending)

    def _put_back(self, sent: list[_Waiting]) -> None:
        """Keep the replies that were under way, except those that have met too many losses."""
        for waiting in sent:
            waiting.losses += 1
        kept = [waiting for waiting in sent if waiting.losses < LOSSES_MAX]
        self._waiting.extendleft(reversed(kept))
        dropped = [waiting for waiting in sent if waiting.losses >= LOSSES_MAX]
        if dropped:
            self._drop(len(dropped), "the connection was lost over it")
        self._settled(dropped)

    def _settled(self, done: Iterable[_Waiting]) -> None:
        self._bytes -= sum(len(waiting.message.body) for waiting in done)
        if not self._waiting:
            self._work.clear()
            self.idle.set()

    def _drop(self, count: int, why: str, *, quiet: bool = False) -> None:
        self._metrics.replies_dropped(count)
        if not quiet:
            log.warning("direct reply dropped", action="drop_reply", why=why, to=self._purpose)
