"""One AMQP connection as the client needs it: publish with confirms, ask and get the answer, subscribe.

Every wait has the deadline of the link, save that for the next event. It is a plain connection, because one that
restores itself leaves a caller waiting for an answer that went to a queue which is no more.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any
from urllib.parse import urlsplit

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    ChannelNotFoundEntity,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)
from pamqp.common import Arguments

from genlock.errors import CannotConnect, Disconnected, InvalidMessage, NoAnswer, Refused, Unroutable
from genlock.schemas.base import JsonObject, compact_json
from genlock.schemas.decode import READABLE_BYTES_MAX
from genlock.schemas.envelope import read_id
from genlock.schemas.outcomes import CONTENT_TYPE

CLOSE_TIMEOUT_S = 5.0
EVENTS_PREFETCH = 100
EVENTS_BACKLOG_MAX = 100_000
"""Events that the broker keeps for a slow reader; then it drops the oldest."""

SHORT_TEXT_BYTES_MAX = 255
"""What AMQP allows in a property such as message_id."""

_URL_ADVICE = "The AMQP URL is not valid: it has to look like amqp://user:password@host:port/vhost."


@dataclass(frozen=True, slots=True)
class Letter:
    """An envelope on its way to an exchange. `persistent` says whether it must survive a restart of the broker."""

    exchange: str
    routing_key: str
    envelope: JsonObject
    persistent: bool = True
    reply_to: str | None = None
    correlation_id: str | None = None

    @property
    def id(self) -> str | None:
        return read_id(self.envelope)

    def message(self) -> aio_pika.Message:
        """Write it down. The properties repeat the body for tools, as far as they can hold it."""
        subject = self.envelope.get("subject")
        return aio_pika.Message(
            encode(self.envelope),
            content_type=CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT if self.persistent else None,
            message_id=self.id,
            type=_short_text(self.envelope.get("type")),
            app_id=_short_text(self.envelope.get("source")),
            timestamp=datetime.now(UTC),
            headers={"subject": subject} if isinstance(subject, str) else None,
            reply_to=self.reply_to,
            correlation_id=self.correlation_id,
        )


def encode(envelope: JsonObject) -> bytes:
    """Write an envelope as JSON. Raises InvalidMessage where that cannot be done or nobody could read it."""
    try:
        body = compact_json(envelope).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidMessage(f"This cannot be written as JSON: {error}.") from error
    if len(body) > READABLE_BYTES_MAX:
        raise InvalidMessage(f"The message has {len(body)} bytes; at most {READABLE_BYTES_MAX} can be read.")
    return body


def _short_text(value: Any) -> str | None:
    return value if isinstance(value, str) and len(value.encode()) <= SHORT_TEXT_BYTES_MAX else None


class Link:
    """A connection with one channel to publish on and one on which the answers come. Made by `connected()`."""

    def __init__(self, connection: AbstractConnection, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self._publishing: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self._answer_queue = ""
        self._numbers = count(1)
        # An answer of None says that the connection was lost. That is no exception, because those that nobody
        # fetches any more would be complained about.
        self._pending: dict[str, asyncio.Future[bytes | None]] = {}
        self._lost: str | None = None

    async def listen(self) -> None:
        """Declare the queue for answers and consume it."""
        with _told_as_ours(None):
            async with asyncio.timeout(self._timeout_s):
                channel = await self._connection.channel()
                # The channel ends with the connection, so that this one tells of both.
                await _on_end(channel, self._lose)
                queue = await channel.declare_queue(exclusive=True, auto_delete=True)
                await queue.consume(self._take_answer, no_ack=True)
                self._answer_queue = queue.name

    async def publish(self, letter: Letter) -> None:
        """Publish, and wait until the broker has confirmed it. Raises NotTaken, Unanswered and InvalidMessage."""
        message = letter.message()
        with _told_as_ours(letter.id):
            async with asyncio.timeout(self._timeout_s):
                await self._publish(letter, message)

    async def ask(self, letter: Letter) -> bytes:
        """Publish and wait for the answer: its body. One deadline holds for both. Raises as `publish` does."""
        # The id would not do as the correlation id, since the same command may be sent twice at the same time.
        letter = replace(letter, reply_to=self._answer_queue, correlation_id=str(next(self._numbers)))
        message = letter.message()
        answer: asyncio.Future[bytes | None] = asyncio.get_running_loop().create_future()
        self._pending[message.correlation_id or ""] = answer
        try:
            with _told_as_ours(letter.id):
                async with asyncio.timeout(self._timeout_s):
                    await self._publish(letter, message)
                    body = await answer
        finally:
            del self._pending[message.correlation_id or ""]
        if body is None:
            raise self._disconnected(letter.id)
        return body

    async def _publish(self, letter: Letter, message: aio_pika.Message) -> None:
        if self._lost is not None:
            raise self._disconnected(letter.id)
        channel = await self._publishing_channel()
        exchange = await channel.get_exchange(letter.exchange, ensure=False)
        await exchange.publish(message, letter.routing_key, mandatory=True)

    async def _publishing_channel(self) -> AbstractChannel:
        # The broker closes a channel on which something is published that may not be; the next one gets a new channel.
        async with self._opening:
            if self._publishing is None or self._publishing.is_closed:
                self._publishing = await self._connection.channel(on_return_raises=True)
            return self._publishing

    async def _take_answer(self, message: AbstractIncomingMessage) -> None:
        answer = self._pending.get(message.correlation_id or "")
        # Nobody waits any more for an answer that is late or comes twice.
        if answer is not None and not answer.done():
            answer.set_result(message.body)

    def _lose(self, why: str) -> None:
        self._lost = self._lost or why
        for answer in self._pending.values():
            if not answer.done():
                answer.set_result(None)

    def _disconnected(self, message_id: str | None) -> Disconnected:
        return Disconnected(f"The connection to the broker is closed: {self._lost}.", message_id)

    @asynccontextmanager
    async def subscribe(self, exchange: str, pattern: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Have the bodies of all messages whose routing key matches, from the moment on that the context is entered.

        Raises InvalidMessage for a pattern that is too long, Unroutable where there is no such exchange, Disconnected.
        """
        if _short_text(pattern) is None:
            raise InvalidMessage(f"A pattern has at most {SHORT_TEXT_BYTES_MAX} bytes.")
        if self._lost is not None:
            raise self._disconnected(None)
        subscription = _Subscription()
        with _told_as_ours(None):
            async with asyncio.timeout(self._timeout_s):
                channel = await self._connection.channel()
                await _on_end(channel, subscription.end)
                await channel.set_qos(EVENTS_PREFETCH)
                backlog: Arguments = {"x-max-length": EVENTS_BACKLOG_MAX}
                queue = await channel.declare_queue(exclusive=True, auto_delete=True, arguments=backlog)
                await queue.bind(exchange, pattern)
                await queue.consume(subscription.put)
        try:
            yield subscription
        finally:
            await _close(channel)


class _Subscription(AsyncIterator[bytes]):
    """Messages as they come. At its end it raises Disconnected, whoever waits then or later."""

    def __init__(self) -> None:
        # Never holds more than the prefetch, because a message is acknowledged when it is taken out.
        self._messages: asyncio.Queue[AbstractIncomingMessage | str] = asyncio.Queue()

    async def put(self, message: AbstractIncomingMessage) -> None:
        self._messages.put_nowait(message)

    def end(self, why: str) -> None:
        self._messages.put_nowait(why)

    async def __anext__(self) -> bytes:
        message = await self._messages.get()
        if isinstance(message, str):
            self.end(message)
            raise Disconnected(f"The connection to the broker is closed: {message}.")
        with _told_as_ours(None):
            await message.ack()
        return message.body


@asynccontextmanager
async def connected(url: str, timeout_s: float) -> AsyncIterator[Link]:
    """Connect to a broker. Raises CannotConnect."""
    address = _address(url)
    try:
        async with asyncio.timeout(timeout_s):
            connection = await aio_pika.connect(url)
    except TimeoutError as error:
        raise CannotConnect(f"The broker at {address} does not answer within {timeout_s} s.") from error
    except ProbableAuthenticationError as error:
        raise CannotConnect(f"The broker at {address} refuses this user and password.") from error
    except InvalidFrameError as error:
        # The broker closes the connection where it should open it, and aiormq does not say why.
        raise CannotConnect(f"The broker at {address} does not open the virtual host of the AMQP URL.") from error
    except (*CONNECTION_EXCEPTIONS, ValueError) as error:
        raise CannotConnect(f"The broker at {address} cannot be reached: {_reason(error)}.") from error
    try:
        link = Link(connection, timeout_s)
        await link.listen()
        yield link
    finally:
        await _close(connection)


def _address(url: str) -> str:
    """Return the host and port of an AMQP URL, which unlike the URL hold no secret."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port else ""
    except ValueError as error:
        # The error may quote a piece of a password.
        raise CannotConnect(_URL_ADVICE) from error
    if parts.scheme not in ("amqp", "amqps") or not parts.hostname:
        raise CannotConnect(_URL_ADVICE)
    return f"{parts.hostname}{port}"


async def _close(what: AbstractConnection | AbstractChannel) -> None:
    # What cannot be closed properly is as good as closed: the broker forgets it with the connection.
    with suppress(TimeoutError, *CONNECTION_EXCEPTIONS):
        async with asyncio.timeout(CLOSE_TIMEOUT_S):
            await what.close()


async def _on_end(channel: AbstractChannel, tell: Callable[[str], None]) -> None:
    """Have `tell` called with the reason once nothing will be delivered on a channel any more.

    That is when the channel or its connection is closed, or when the broker ends a consumer and leaves the channel
    open, which it does when the queue is gone.
    """
    channel.close_callbacks.add(lambda _channel, error: tell(_reason(error)))
    underlay = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(lambda _frame: tell("the broker has removed the queue"))


@contextmanager
def _told_as_ours(message_id: str | None) -> Iterator[None]:
    """Turn what aio-pika raises into our errors."""
    try:
        yield
    except PublishError as error:
        raise Unroutable("Nothing takes messages here: has Genlock run in this namespace?", message_id) from error
    except DeliveryError as error:
        raise Refused("The broker refuses the message: the inbox is full.", message_id) from error
    except ChannelNotFoundEntity as error:
        raise Unroutable(f"Has Genlock run in this namespace? The broker says: {error}.", message_id) from error
    except TimeoutError as error:
        raise NoAnswer("There is no answer in time.", message_id) from error
    except CONNECTION_EXCEPTIONS as error:
        raise Disconnected(f"The connection to the broker is closed: {_reason(error)}.", message_id) from error
    except asyncio.CancelledError as error:
        # aiormq ends what waits on a connection that is closed with this exception too. Nobody has cancelled this
        # task then, and if nobody says so its caller ends without a word.
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        raise Disconnected("The connection to the broker is closed.", message_id) from error


def _reason(error: BaseException | None) -> str:
    return (str(error) or type(error).__name__).rstrip(".") if error else "this client has closed it"
