"""The messages of an exchange, one after the other: from now on, or from a queue that is there for good."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import SystemRandom

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pamqp.common import Arguments

from genlock._amqp import REFUSED_MAX_S, Link, Pauses
from genlock._letters import SHORT_TEXT_BYTES_MAX, is_short_text
from genlock._refusals import needing
from genlock._session import Session, SessionLostError, close, on_end
from genlock.errors import Disconnected, InvalidMessage, NotTaken, Refused, Unroutable

PREFETCH = 100
BACKLOG_MAX = 100_000
"""Events that the broker keeps for a slow reader without a queue of its own; then it drops the oldest."""

RENEWAL_S = 300.0
"""How long a durable subscription keeps a channel, and up to half as long again. RabbitMQ forgets at times, when a
queue gets another leader, that it has not delivered a message: that comes when the channel is closed (rabbitmq-server
issue 15473)."""

ACKNOWLEDGE_TIMEOUT_S = 10.0
"""How long an acknowledgement may wait until the connection takes it; then the connection is lost."""

DURABLE_ARGUMENTS: Arguments = {
    "x-queue-type": "quorum",
    # From version 4 on the broker would drop a message that has come back twenty times, as all do that a reader holds
    # when it is killed. This many it never counts to, and all versions take it for a number.
    "x-delivery-limit": 2**31 - 1,
}


class Deliveries:
    """What is delivered on one channel until that ends. Holds no more than the prefetch."""

    def __init__(self, session: Session, channel: AbstractChannel) -> None:
        self.session = session
        self.channel = channel
        self.ended: str | None = None
        self._messages: asyncio.Queue[AbstractIncomingMessage | None] = asyncio.Queue()
        self._renewal: asyncio.TimerHandle | None = None

    async def put(self, message: AbstractIncomingMessage) -> None:
        self._messages.put_nowait(message)

    def end(self, why: str) -> None:
        self.ended = self.ended or why
        self._messages.put_nowait(None)

    async def take(self) -> AbstractIncomingMessage | None:
        """The next message; None once it is time for another channel, or this one has ended: the rest comes again."""
        if self.ended is None and (message := await self._messages.get()) is not None and self.ended is None:
            return message
        return None

    async def acknowledge(self, message: AbstractIncomingMessage) -> None:
        """Tell the broker that it is done with. On a channel that has ended that cannot be said any more."""
        if self.ended is None:
            try:
                with self.session.faults():
                    async with asyncio.timeout(ACKNOWLEDGE_TIMEOUT_S):
                        await message.ack()
            except (SessionLostError, NotTaken) as error:
                self.end(str(error))

    def end_later(self) -> None:
        """Give no more after some time than what was delivered by then.

        The consumer is not cancelled: what a cancelled one holds is lost for long where its node of the broker dies
        (docs/production.md, "What a broker forgets").
        """
        after_s = RENEWAL_S * SystemRandom().uniform(1, 1.5)
        self._renewal = asyncio.get_running_loop().call_later(after_s, self._messages.put_nowait, None)

    async def close(self) -> None:
        """Give back what was not acknowledged: it comes again."""
        if self._renewal is not None:
            self._renewal.cancel()
        await close(self.channel)


class Passing(AsyncIterator[bytes]):
    """Messages as they come, acknowledged as they are taken. At its end it raises Disconnected, each time."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    async def __anext__(self) -> bytes:
        message = await self._deliveries.take()
        if message is None:
            raise Disconnected(f"The connection to the broker is closed: {self._deliveries.ended}.")
        await self._deliveries.acknowledge(message)
        return message.body


class Durable(AsyncIterator[bytes]):
    """Messages of a queue that outlives readers, each acknowledged when the next one is asked for.

    It goes on in the next session by itself. At its end, when the client is closed or the queue is gone, it raises
    Disconnected, each time.
    """

    def __init__(self, link: Link, exchange: str, pattern: str, queue: str) -> None:
        self._link = link
        self._exchange = exchange
        self._pattern = pattern
        self._queue = queue
        self._deliveries: Deliveries | None = None
        self._held: AbstractIncomingMessage | None = None
        self._pauses = Pauses()

    async def __anext__(self) -> bytes:
        await self._let_go()
        while True:
            deliveries = self._deliveries or await self._resume()
            message = await deliveries.take()
            if message is not None:
                self._pauses.reset()
                self._held = message
                return message.body
            # What an ended channel held belongs to it, and comes again.
            self._deliveries = None
            if deliveries.ended is None:
                self._pauses.reset()
            await deliveries.close()

    async def _let_go(self) -> None:
        held, self._held = self._held, None
        if held is not None and self._deliveries is not None:
            await self._deliveries.acknowledge(held)

    async def open(self) -> None:
        """Declare, bind and consume the queue. Raises NotTaken and Unanswered."""
        async with self._link.deadline():
            while self._deliveries is None:
                session = await self._link.session()
                try:
                    self._deliveries = await self._begin(session, passive=False)
                except SessionLostError:
                    continue

    async def _resume(self) -> Deliveries:
        """Consume the queue again, whenever that is possible. Raises Disconnected."""
        time = asyncio.get_running_loop().time
        refused_since: float | None = None
        while True:
            session = await self._link.session()
            await self._pauses.take()
            try:
                async with asyncio.timeout(self._link.timeout_s):
                    # Declared anew it would be there again, without what was published in between: nobody would know.
                    self._deliveries = await self._begin(session, passive=True)
            except (SessionLostError, NotTaken, TimeoutError) as error:
                if isinstance(error, Unroutable) and "no queue" in str(error):
                    raise Disconnected(f"The queue {self._queue} is gone, and what it held.") from error
                refused_since = (refused_since or time()) if isinstance(error, Refused) else None
                if refused_since is not None and time() - refused_since >= REFUSED_MAX_S:
                    raise Disconnected(f"The queue {self._queue} can be read no more: {error}") from error
            else:
                return self._deliveries

    async def _begin(self, session: Session, *, passive: bool) -> Deliveries:
        with session.faults():
            channel = await session.channel()
            try:
                await channel.set_qos(PREFETCH)
                if passive:
                    queue = await channel.declare_queue(self._queue, passive=True)
                else:
                    # Asked for first, so that no queue is left on a broker that has no Genlock.
                    await channel.get_exchange(self._exchange)
                    with needing(queue="configure"):
                        queue = await channel.declare_queue(self._queue, durable=True, arguments=DURABLE_ARGUMENTS)
                    with needing(queue="write", exchange="read"):
                        await queue.bind(self._exchange, self._pattern)
                deliveries = Deliveries(session, channel)
                await on_end(channel, deliveries.end)
                with needing(queue="read"):
                    await queue.consume(deliveries.put)
                deliveries.end_later()
            except BaseException:
                await close(channel)
                raise
            return deliveries

    async def close(self) -> None:
        """Give back what was not acknowledged: it comes again."""
        if self._deliveries is not None:
            await self._deliveries.close()


@asynccontextmanager
async def passing(link: Link, exchange: str, pattern: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Have the bodies of all messages whose routing key matches, from the moment on that the context is entered.

    Raises InvalidMessage for a pattern that is too long, Unroutable where there is no such exchange, and Unanswered.
    """
    check_pattern(pattern)
    deliveries = None
    async with link.deadline():
        while deliveries is None:
            session = await link.session()
            try:
                deliveries = await _pass(session, exchange, pattern)
            except SessionLostError:
                continue
    try:
        yield Passing(deliveries)
    finally:
        await deliveries.close()


async def _pass(session: Session, exchange: str, pattern: str) -> Deliveries:
    with session.faults():
        channel = await session.channel()
        deliveries = Deliveries(session, channel)
        try:
            await on_end(channel, deliveries.end)
            await channel.set_qos(PREFETCH)
            backlog: Arguments = {"x-max-length": BACKLOG_MAX}
            with needing(queue="configure"):
                queue = await channel.declare_queue(exclusive=True, auto_delete=True, arguments=backlog)
            with needing(queue="write", exchange="read"):
                await queue.bind(exchange, pattern)
            with needing(queue="read"):
                await queue.consume(deliveries.put)
        except BaseException:
            await close(channel)
            raise
        return deliveries


@asynccontextmanager
async def durable(link: Link, exchange: str, pattern: str, queue: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Have the bodies of all messages that a durable queue gets, at least once each.

    Raises as `passing` does, and Refused where a queue of that name has other arguments.
    """
    check_pattern(pattern)
    check_queue(queue, exchange)
    messages = Durable(link, exchange, pattern, queue)
    await messages.open()
    try:
        yield messages
    finally:
        await messages.close()


def check_pattern(pattern: str) -> None:
    """Raise InvalidMessage for a pattern that the broker could not be told."""
    if not is_short_text(pattern):
        raise InvalidMessage(f"A pattern has at most {SHORT_TEXT_BYTES_MAX} bytes.")


def check_queue(queue: str, exchange: str) -> None:
    """Raise InvalidMessage for a name that a reader's queue cannot have."""
    namespace = exchange.rpartition(".")[0]
    if queue == namespace or queue.startswith(f"{namespace}."):
        raise InvalidMessage(f"The queue {queue} would be in the namespace {namespace}, which is the service's.")
    if not queue or not is_short_text(queue) or queue.startswith("amq."):
        raise InvalidMessage(f"The name of a queue has 1 to {SHORT_TEXT_BYTES_MAX} bytes, and does not begin with amq.")
