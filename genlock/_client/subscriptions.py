"""Subscriptions to the messages of an exchange: transient, or through a durable queue."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import SystemRandom

from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pamqp.common import Arguments

from genlock._client.link import REFUSED_MAX_S, Link, Pauses
from genlock._client.outgoing import SHORT_TEXT_BYTES_MAX, is_short_text
from genlock._client.session import ClientSession, ClientSessionLostError, close, on_end
from genlock._net.refusals import naming_missing_permission
from genlock.errors import Disconnected, InvalidMessage, NotTaken, Refused, Unroutable

PREFETCH = 100
BACKLOG_MAX = 100_000
"""The length limit of a transient queue. Beyond it the broker drops the oldest events."""

RENEWAL_S = 300.0
"""The least age at which a durable subscription replaces its channel; up to half of it is added at random. When a
queue gets another leader, RabbitMQ at times forgets to deliver a message until the channel is closed (rabbitmq-server
issue 15473)."""

ACKNOWLEDGE_TIMEOUT_S = 10.0
"""How long writing an acknowledgement may take before the connection counts as lost."""

DURABLE_ARGUMENTS: Arguments = {
    "x-queue-type": "quorum",
    # From version 4 on the broker drops a message after twenty returns by default, and the kill of a reader returns all
    # that it holds. This limit is never reached, and all versions accept the number.
    "x-delivery-limit": 2**31 - 1,
}


class Deliveries:
    """The deliveries of one channel until it ends. Holds no more than the prefetch."""

    def __init__(self, session: ClientSession, channel: AbstractChannel) -> None:
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
        """The next message; None once the channel is to be replaced or has ended. The rest is redelivered."""
        if self.ended is None and (message := await self._messages.get()) is not None and self.ended is None:
            return message
        return None

    async def acknowledge(self, message: AbstractIncomingMessage) -> None:
        """Acknowledge a message. Does nothing on a channel that has ended."""
        if self.ended is None:
            try:
                with self.session.faults():
                    async with asyncio.timeout(ACKNOWLEDGE_TIMEOUT_S):
                        await message.ack()
            except (ClientSessionLostError, NotTaken) as error:
                self.end(str(error))

    def end_later(self, renewal_s: float) -> None:
        """After `renewal_s` to half as much again, yield only the messages delivered until then.

        The consumer is not cancelled: messages of a cancelled consumer are stuck for long if its broker node dies
        (docs/production.md, "What a broker forgets").
        """
        after_s = renewal_s * SystemRandom().uniform(1, 1.5)
        self._renewal = asyncio.get_running_loop().call_later(after_s, self._messages.put_nowait, None)

    async def close(self) -> None:
        """Close. The broker redelivers unacknowledged messages."""
        if self._renewal is not None:
            self._renewal.cancel()
        await close(self.channel)


class TransientSubscription(AsyncIterator[bytes]):
    """Messages from now on, acknowledged as they are taken. After its end each call raises Disconnected."""

    def __init__(self, deliveries: Deliveries) -> None:
        self._deliveries = deliveries

    async def __anext__(self) -> bytes:
        message = await self._deliveries.take()
        if message is None:
            raise Disconnected(f"The connection to the broker is closed: {self._deliveries.ended}.")
        await self._deliveries.acknowledge(message)
        return message.body


class DurableSubscription(AsyncIterator[bytes]):
    """Messages of a durable queue. Fetching the next message acknowledges the previous one.

    It continues in the next session by itself. It ends when the client is closed or the queue is deleted; each call
    raises Disconnected then.
    """

    def __init__(self, link: Link, exchange: str, pattern: str, queue: str, renewal_s: float) -> None:
        self._renewal_s = renewal_s
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
            # The broker redelivers the messages of an ended channel.
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
                except ClientSessionLostError:
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
                    # Not declared anew: that would hide the loss of the messages published in between.
                    self._deliveries = await self._begin(session, passive=True)
            except (ClientSessionLostError, NotTaken, TimeoutError) as error:
                if isinstance(error, Unroutable) and "no queue" in str(error):
                    raise Disconnected(f"The queue {self._queue} is gone, and what it held.") from error
                refused_since = (refused_since or time()) if isinstance(error, Refused) else None
                if refused_since is not None and time() - refused_since >= REFUSED_MAX_S:
                    raise Disconnected(f"The queue {self._queue} can be read no more: {error}") from error
            else:
                return self._deliveries

    async def _begin(self, session: ClientSession, *, passive: bool) -> Deliveries:
        with session.faults():
            channel = await session.channel()
            try:
                await channel.set_qos(PREFETCH)
                if passive:
                    queue = await channel.declare_queue(self._queue, passive=True)
                else:
                    # The exchange is checked first, so that no queue is left on a broker without Genlock.
                    await channel.get_exchange(self._exchange)
                    with naming_missing_permission(queue="configure"):
                        queue = await channel.declare_queue(self._queue, durable=True, arguments=DURABLE_ARGUMENTS)
                    with naming_missing_permission(queue="write", exchange="read"):
                        await queue.bind(self._exchange, self._pattern)
                deliveries = Deliveries(session, channel)
                await on_end(channel, deliveries.end)
                with naming_missing_permission(queue="read"):
                    await queue.consume(deliveries.put)
                deliveries.end_later(self._renewal_s)
            except BaseException:
                await close(channel)
                raise
            return deliveries

    async def close(self) -> None:
        """Close. The broker redelivers unacknowledged messages."""
        if self._deliveries is not None:
            await self._deliveries.close()


@asynccontextmanager
async def transient(link: Link, exchange: str, pattern: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """Yield the bodies of all messages whose routing key matches, from the entry of the context on.

    Raises InvalidMessage for a pattern that is too long, Unroutable if there is no such exchange, and Unanswered.
    """
    check_pattern(pattern)
    deliveries = None
    async with link.deadline():
        while deliveries is None:
            session = await link.session()
            try:
                deliveries = await _pass(session, exchange, pattern)
            except ClientSessionLostError:
                continue
    try:
        yield TransientSubscription(deliveries)
    finally:
        await deliveries.close()


async def _pass(session: ClientSession, exchange: str, pattern: str) -> Deliveries:
    with session.faults():
        channel = await session.channel()
        deliveries = Deliveries(session, channel)
        try:
            await on_end(channel, deliveries.end)
            await channel.set_qos(PREFETCH)
            backlog: Arguments = {"x-max-length": BACKLOG_MAX}
            with naming_missing_permission(queue="configure"):
                queue = await channel.declare_queue(exclusive=True, auto_delete=True, arguments=backlog)
            with naming_missing_permission(queue="write", exchange="read"):
                await queue.bind(exchange, pattern)
            with naming_missing_permission(queue="read"):
                await queue.consume(deliveries.put)
        except BaseException:
            await close(channel)
            raise
        return deliveries


@asynccontextmanager
async def durable(
    link: Link, exchange: str, pattern: str, queue: str, *, renewal_s: float = RENEWAL_S
) -> AsyncIterator[AsyncIterator[bytes]]:
    """Yield the bodies of all messages of a durable queue, each at least once.

    Raises as `transient` does, and Refused if a queue of that name has other arguments.
    """
    check_pattern(pattern)
    check_queue(queue, exchange)
    messages = DurableSubscription(link, exchange, pattern, queue, renewal_s)
    await messages.open()
    try:
        yield messages
    finally:
        await messages.close()


def check_pattern(pattern: str) -> None:
    """Raise InvalidMessage for a pattern that is too long for AMQP."""
    if not is_short_text(pattern):
        raise InvalidMessage(f"A pattern has at most {SHORT_TEXT_BYTES_MAX} bytes.")


def check_queue(queue: str, exchange: str) -> None:
    """Raise InvalidMessage for a name that a subscriber's queue cannot have."""
    namespace = exchange.rpartition(".")[0]
    if queue == namespace or queue.startswith(f"{namespace}."):
        raise InvalidMessage(f"The queue {queue} would be in the namespace {namespace}, which is the service's.")
    if not queue or not is_short_text(queue) or queue.startswith("amq."):
        raise InvalidMessage(f"The name of a queue has 1 to {SHORT_TEXT_BYTES_MAX} bytes, and does not begin with amq.")
