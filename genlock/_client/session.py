"""A client session: one connection to the broker, from its opening to its loss.

It is a plain connection: with one that restores itself, a caller would wait for an answer that went to a deleted queue.
The loss of any part ends the session, and the next session starts from nothing.
"""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage
from aio_pika.exceptions import (
    CONNECTION_EXCEPTIONS,
    ChannelClosed,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    DeliveryError,
    PublishError,
)
from aiormq.exceptions import ChannelAccessRefused, ChannelPreconditionFailed

from genlock._client.absence import AbsenceWatch, IsLast, ServiceAbsent, Waiting, only_one
from genlock._client.bulk import OutgoingBulk
from genlock._client.outgoing import OutgoingMessage
from genlock._net.amqp import CLOSE_TIMEOUT_S, Connection, connect
from genlock._net.broker_urls import brokers, login_of, read
from genlock._net.refusals import AccessRefusedError, naming_missing_permission, told_user
from genlock._net.urls import InvalidUrl, PasswordFileError
from genlock.errors import CannotConnect, NoService, Refused, Unroutable

AnyOutgoingMessage = OutgoingMessage | OutgoingBulk

HEARTBEAT_S = 10
"""A silent connection counts as lost after about three heartbeats. The URL may set another heartbeat."""

REFUSED_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)
"""The pauses after refusals by the broker: a queue that has lost its leader takes nothing until it has another."""

UNKNOWN_USER = "?"
"""Stands for a login whose name only the broker knows. The broker refuses the first message for it, and tells the name.
"""

_WHERE = "the URL (GENLOCK_AMQP_URL) and the namespace (GENLOCK_NAMESPACE)"


class ClientSessionLostError(Exception):
    """The connection was lost during an operation."""


class ClientSession:
    """A connection with one channel for publishing and one for answers. Made by `open_client_session()`."""

    def __init__(
        self,
        connection: AbstractConnection,
        address: str = "",
        *,
        absence_s: float = 3.0,
        reopened: bool = False,
        user: str | None = None,
    ) -> None:
        self._address = address
        self._user = user
        """The user of the connection, which the broker compares with the `user_id` of each message."""
        self.lost = asyncio.Event()
        self.why = ""
        self._connection = connection
        self._publishing: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self._answer_queue = ""
        self._numbers = count(1)
        self._pending: dict[str, Waiting] = {}
        self._watch = AbsenceWatch(connection, self._pending, absence_s, reopened=reopened)
        self._watching: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Declare and consume the queue for answers. Raises aio-pika's errors."""
        channel = await self._connection.channel()
        # The channel ends with the connection, so its callback covers both.
        await on_end(channel, self.lose)
        with naming_missing_permission(queue="configure"):
            queue = await channel.declare_queue(exclusive=True, auto_delete=True)
        with naming_missing_permission(queue="read"):
            await queue.consume(self._take_answer, no_ack=True)
        self._answer_queue = queue.name
        self._watching = asyncio.create_task(self._watch.run(), name="genlock: look for a service")

    def lose(self, why: str) -> None:
        """End the session: pending calls fail, and no new call may use it."""
        if self.lost.is_set():
            return
        self.why = why
        self.lost.set()
        if self._watching is not None:
            self._watching.cancel()
        for waiting in self._pending.values():
            waiting.tell(None)

    async def close(self) -> None:
        """Close the connection, in whatever state it is."""
        self.lose("this client has closed it")
        await close(self._connection)

    async def publish(self, outgoing: AnyOutgoingMessage, message: aio_pika.Message) -> None:
        """Publish, and wait until the broker has confirmed it. Raises NotTaken and ClientSessionLostError."""
        with self.faults(outgoing.command_id):
            for pause_s in REFUSED_PAUSES_S:
                channel = await self._publishing_channel()
                try:
                    await self._publish_alone_if_closed(channel, outgoing, message)
                except PublishError:
                    raise
                except DeliveryError:
                    await self._leave(channel)
                    await asyncio.sleep(pause_s)
                else:
                    return
            await self._publish_alone_if_closed(await self._publishing_channel(), outgoing, message)

    async def _publish_alone_if_closed(
        self, channel: AbstractChannel, outgoing: AnyOutgoingMessage, message: aio_pika.Message
    ) -> None:
        try:
            await self._publish_on(channel, outgoing, message)
        except (ChannelClosed, ChannelInvalidStateError) as error:
            if self.lost.is_set():
                raise
            self._learn_user(error)
            # The broker closes the channel because of one message, and all messages that wait for confirms fail with
            # it. Publishing each again on a channel of its own shows which message was at fault.
            try:
                await self._publish_alone(outgoing, message)
            except ChannelPreconditionFailed as again:
                if not self._learn_user(again):
                    raise
                await self._publish_alone(outgoing, message)

    async def _publish_alone(self, outgoing: AnyOutgoingMessage, message: aio_pika.Message) -> None:
        alone = await self._connection.channel(on_return_raises=True)
        try:
            await self._publish_on(alone, outgoing, message)
        finally:
            await close(alone)

    def _learn_user(self, error: Exception) -> bool:
        """Take the name that the broker has for this login, by certificate or by token, if it refuses another one."""
        if user := told_user(error):
            self._user = user
        return user is not None

    async def ask(self, outgoing: AnyOutgoingMessage, message: aio_pika.Message, is_last: IsLast = only_one) -> bytes:
        """Publish, wait for the last answer and return its body. Raises as `publish` does, and NoService."""
        # The command's id cannot be the correlation id: the same command may be sent twice concurrently.
        number = str(next(self._numbers))
        message.reply_to, message.correlation_id = self._answer_queue, number
        waiting = Waiting(outgoing.queue, asyncio.get_running_loop().create_future(), is_last)
        self._pending[number] = waiting
        self._watch.need()
        try:
            await self.publish(outgoing, message)
            waiting.taken_at = asyncio.get_running_loop().time()
            answer = await waiting.answer
        finally:
            del self._pending[number]
        if answer is None:
            raise ClientSessionLostError(self.why)
        if isinstance(answer, ServiceAbsent):
            raise NoService(_absence(answer, outgoing), outgoing.command_id)
        return answer

    async def channel(self) -> AbstractChannel:
        """Open a channel for a subscription. Raises ClientSessionLostError and aio-pika's errors."""
        if self.lost.is_set():
            raise ClientSessionLostError(self.why)
        return await self._connection.channel()

    async def _publish_on(
        self, channel: AbstractChannel, outgoing: AnyOutgoingMessage, message: aio_pika.Message
    ) -> None:
        message.user_id = self._user
        exchange = await channel.get_exchange(outgoing.exchange, ensure=False)
        with naming_missing_permission(exchange="write"):
            await exchange.publish(message, outgoing.routing_key, mandatory=True)

    async def _publishing_channel(self) -> AbstractChannel:
        if self.lost.is_set():
            raise ClientSessionLostError(self.why)
        async with self._opening:
            if self._publishing is None or self._publishing.is_closed:
                self._publishing = await self._connection.channel(on_return_raises=True)
            return self._publishing

    async def _leave(self, channel: AbstractChannel) -> None:
        """Drop the channel: a new one finds the current leader of the queue."""
        if self._publishing is channel:
            self._publishing = None
            await close(channel)

    async def _take_answer(self, message: AbstractIncomingMessage) -> None:
        waiting = self._pending.get(message.correlation_id or "")
        # A late or duplicate answer has no waiting call.
        if waiting is not None:
            self._watch.answered(waiting.queue)
            if waiting.is_last(message.body):
                waiting.tell(message.body)

    @contextmanager
    def faults(self, message_id: str | None = None) -> Iterator[None]:
        """Translate aio-pika's errors. A fault of the connection ends the session and raises ClientSessionLostError."""
        try:
            yield
        except PublishError as error:
            raise Unroutable(
                f"The broker at {self._address} has no queue that takes this: start Genlock, or check {_WHERE}.",
                message_id,
            ) from error
        except DeliveryError as error:
            raise Refused("The broker refuses the message: the inbox is full.", message_id) from error
        except ChannelNotFoundEntity as error:
            raise Unroutable(
                f"No Genlock of this namespace is on the broker at {self._address} ({error}): check {_WHERE}.",
                message_id,
            ) from error
        except ChannelClosed as error:
            raise Refused(f"The broker says no: {reason(error)}.", message_id) from error
        except CONNECTION_EXCEPTIONS as error:
            self.lose(reason(error))
            raise ClientSessionLostError(self.why) from error
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            self.lose("it was closed")
            raise ClientSessionLostError(self.why) from error


def _absence(absent: ServiceAbsent, outgoing: AnyOutgoingMessage) -> str:
    """The error message for a message without a service."""
    if not outgoing.persistent:
        return f"No service consumes {absent.queue}: start one, with genlock serve."
    what = (
        "its commands wait on the broker, and are" if outgoing.id is None else "the command waits on the broker, and is"
    )
    return f"No service consumes {absent.queue}: {what} decided as soon as a service runs."


async def open_client_session(url: str, timeout_s: float, absence_s: float, *, reopened: bool = False) -> ClientSession:
    """Connect to a broker. Raises CannotConnect.

    A call that waits for an answer raises NoService once no service has been there for `absence_s`.
    """
    address = _address(url)
    try:
        async with asyncio.timeout(timeout_s):
            return await _open(url, timeout_s, address, absence_s, reopened=reopened)
    except TimeoutError as error:
        raise CannotConnect(f"The broker at {address} does not answer within {timeout_s:g} s.") from error
    except AccessRefusedError as error:
        raise CannotConnect(f"The broker at {address} {error.predicate}.", lasting=error.lasting) from error
    except ChannelAccessRefused as error:
        raise CannotConnect(f"The broker at {address} gives no queue for answers: {error}.", lasting=True) from error
    except PasswordFileError as error:
        raise CannotConnect(f"The broker at {address} is not asked: {error}.", lasting=True) from error
    except (*CONNECTION_EXCEPTIONS, ValueError) as error:
        raise CannotConnect(f"The broker at {address} cannot be reached: {reason(error)}.") from error
    except asyncio.CancelledError as error:
        if _is_cancelled():
            raise
        raise CannotConnect(f"The broker at {address} has closed the connection at once.") from error


async def _open(url: str, timeout_s: float, address: str, absence_s: float, *, reopened: bool) -> ClientSession:
    connection = await connect(brokers(url, HEARTBEAT_S), timeout_s)
    user = login_of(url) or UNKNOWN_USER
    session = ClientSession(connection, address, absence_s=absence_s, reopened=reopened, user=user)
    try:
        await session.listen()
    except BaseException:
        await close(connection)
        raise
    return session


def _address(url: str) -> str:
    """The hosts and ports of an AMQP URL. Unlike the URL they contain no secret."""
    try:
        return read(url).addresses
    except InvalidUrl as error:
        raise CannotConnect(f"The AMQP URL is not valid: {error}.", lasting=True) from None


async def close(what: AbstractConnection | AbstractChannel) -> None:
    """Close in order if possible. The broker drops the rest with the connection."""
    try:
        # A connection limits the time of its close itself.
        async with asyncio.timeout(3 * CLOSE_TIMEOUT_S if isinstance(what, Connection) else CLOSE_TIMEOUT_S):
            await what.close()
    except CONNECTION_EXCEPTIONS:
        return
    except asyncio.CancelledError:
        if _is_cancelled():
            raise


async def on_end(channel: AbstractChannel, tell: Callable[[str], None]) -> None:
    """Have `tell` called with the reason once a channel delivers nothing any more.

    That happens when the channel or its connection is closed, and when the broker cancels a consumer on an open
    channel because the queue was deleted.
    """
    channel.close_callbacks.add(lambda _channel, error: tell(reason(error)))
    underlay = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(lambda _frame: tell("the broker has removed the queue"))


def _is_cancelled() -> bool:
    """Tell whether the current task was really cancelled.

    aiormq raises CancelledError in waits on a closed connection too. Passed on, it would end the caller silently.
    """
    task = asyncio.current_task()
    return task is None or bool(task.cancelling())


def reason(error: BaseException | None) -> str:
    """The text of an error, as a clause."""
    return (str(error) or type(error).__name__).rstrip(".") if error else "this client has closed it"
