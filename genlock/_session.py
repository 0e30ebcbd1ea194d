"""One connection to the broker, from its opening to its loss: publish with confirms, ask and get the answer.

It is a plain connection, because one that restores itself leaves a caller waiting for an answer that went to a queue
which is no more. When anything of it is lost, all of it is, and the next session starts from nothing.
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
from aiormq.exceptions import ChannelAccessRefused

from genlock._absence import Absent, Waiting, Watch
from genlock._broker_urls import brokers, read
from genlock._bulk import BulkLetter
from genlock._connection import CLOSE_TIMEOUT_S, Connection, connect
from genlock._letters import Letter
from genlock._refusals import NotLetInError, needing
from genlock._urls import InvalidUrl, PasswordFileError
from genlock.errors import CannotConnect, NoService, Refused, Unroutable

AnyLetter = Letter | BulkLetter

HEARTBEAT_S = 10
"""A connection that is dead without a word is noticed after about three of them; the URL may say otherwise."""

REFUSED_PAUSES_S = (0.1, 0.2, 0.4, 0.8, 1.6)
"""Between tries of what the broker refuses: a queue whose leader is lost takes nothing until it has another one."""

_WHERE = "the URL (GENLOCK_AMQP_URL) and the namespace (GENLOCK_NAMESPACE)"


class SessionLostError(Exception):
    """The connection went away in the middle of something."""


class Session:
    """A connection with one channel to publish on and one on which the answers come. Made by `open_session()`."""

    def __init__(
        self, connection: AbstractConnection, address: str = "", *, absence_s: float = 3.0, reopened: bool = False
    ) -> None:
        self._address = address
        self.lost = asyncio.Event()
        self.why = ""
        self._connection = connection
        self._publishing: AbstractChannel | None = None
        self._opening = asyncio.Lock()
        self._answer_queue = ""
        self._numbers = count(1)
        self._pending: dict[str, Waiting] = {}
        self._watch = Watch(connection, self._pending, absence_s, reopened=reopened)
        self._watching: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Declare the queue for answers and consume it. Raises what aio-pika raises."""
        channel = await self._connection.channel()
        # The channel ends with the connection, so that this one tells of both.
        await on_end(channel, self.lose)
        with needing(queue="configure"):
            queue = await channel.declare_queue(exclusive=True, auto_delete=True)
        with needing(queue="read"):
            await queue.consume(self._take_answer, no_ack=True)
        self._answer_queue = queue.name
        self._watching = asyncio.create_task(self._watch.run(), name="genlock: look for a service")

    def lose(self, why: str) -> None:
        """Give it up: whoever waits in it is told so, and nobody starts anything in it any more."""
        if self.lost.is_set():
            return
        self.why = why
        self.lost.set()
        if self._watching is not None:
            self._watching.cancel()
        for waiting in self._pending.values():
            waiting.tell(None)

    async def close(self) -> None:
        """Close the connection, however far gone it is."""
        self.lose("this client has closed it")
        await close(self._connection)

    async def publish(self, letter: AnyLetter, message: aio_pika.Message) -> None:
        """Publish, and wait until the broker has confirmed it. Raises NotTaken and SessionLostError."""
        with self.faults(letter.command_id):
            for pause_s in REFUSED_PAUSES_S:
                channel = await self._publishing_channel()
                try:
                    await self._publish_alone_if_closed(channel, letter, message)
                except PublishError:
                    raise
                except DeliveryError:
                    await self._leave(channel)
                    await asyncio.sleep(pause_s)
                else:
                    return
            await self._publish_alone_if_closed(await self._publishing_channel(), letter, message)

    async def _publish_alone_if_closed(
        self, channel: AbstractChannel, letter: AnyLetter, message: aio_pika.Message
    ) -> None:
        try:
            await self._publish_on(channel, letter, message)
        except (ChannelClosed, ChannelInvalidStateError):
            if self.lost.is_set():
                raise
            # The broker closes a channel for the fault of one message, and all that wait for their confirm share
            # that fate. Whose fault it was shows when each is published again on a channel of its own.
            alone = await self._connection.channel(on_return_raises=True)
            try:
                await self._publish_on(alone, letter, message)
            finally:
                await close(alone)

    async def ask(self, letter: AnyLetter, message: aio_pika.Message) -> bytes:
        """Publish and wait for the answer: its body. Raises as `publish` does, and NoService."""
        # The id would not do as the correlation id, since the same command may be sent twice at the same time.
        number = str(next(self._numbers))
        message.reply_to, message.correlation_id = self._answer_queue, number
        waiting = Waiting(letter.queue, asyncio.get_running_loop().create_future())
        self._pending[number] = waiting
        self._watch.need()
        try:
            await self.publish(letter, message)
            waiting.taken_at = asyncio.get_running_loop().time()
            answer = await waiting.answer
        finally:
            del self._pending[number]
        if answer is None:
            raise SessionLostError(self.why)
        if isinstance(answer, Absent):
            raise NoService(_absence(answer, letter), letter.command_id)
        return answer

    async def channel(self) -> AbstractChannel:
        """Open a channel, for a subscription. Raises SessionLostError and what aio-pika raises."""
        if self.lost.is_set():
            raise SessionLostError(self.why)
        return await self._connection.channel()

    @staticmethod
    async def _publish_on(channel: AbstractChannel, letter: AnyLetter, message: aio_pika.Message) -> None:
        exchange = await channel.get_exchange(letter.exchange, ensure=False)
        with needing(exchange="write"):
            await exchange.publish(message, letter.routing_key, mandatory=True)

    async def _publishing_channel(self) -> AbstractChannel:
        if self.lost.is_set():
            raise SessionLostError(self.why)
        async with self._opening:
            if self._publishing is None or self._publishing.is_closed:
                self._publishing = await self._connection.channel(on_return_raises=True)
            return self._publishing

    async def _leave(self, channel: AbstractChannel) -> None:
        """Have the next one publish on a channel that knows who leads the queue by now."""
        if self._publishing is channel:
            self._publishing = None
            await close(channel)

    async def _take_answer(self, message: AbstractIncomingMessage) -> None:
        waiting = self._pending.get(message.correlation_id or "")
        # Nobody waits any more for an answer that is late or comes twice.
        if waiting is not None:
            self._watch.answered(waiting.queue)
            waiting.tell(message.body)

    @contextmanager
    def faults(self, message_id: str | None = None) -> Iterator[None]:
        """Turn what aio-pika raises into our errors. A fault of the connection ends the session: SessionLostError."""
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
            raise SessionLostError(self.why) from error
        except asyncio.CancelledError as error:
            if _is_cancelled():
                raise
            self.lose("it was closed")
            raise SessionLostError(self.why) from error


def _absence(absent: Absent, letter: AnyLetter) -> str:
    """What is known of a message that no service is there for."""
    if not letter.persistent:
        return f"No service consumes {absent.queue}: start one, with genlock serve."
    what = (
        "its commands wait on the broker, and are" if letter.id is None else "the command waits on the broker, and is"
    )
    return f"No service consumes {absent.queue}: {what} decided as soon as a service runs."


async def open_session(url: str, timeout_s: float, absence_s: float, *, reopened: bool = False) -> Session:
    """Connect to a broker. Raises CannotConnect.

    A call that waits for an answer raises NoService once no service has been there for `absence_s`.
    """
    address = _address(url)
    try:
        async with asyncio.timeout(timeout_s):
            return await _open(url, timeout_s, address, absence_s, reopened=reopened)
    except TimeoutError as error:
        raise CannotConnect(f"The broker at {address} does not answer within {timeout_s:g} s.") from error
    except NotLetInError as error:
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


async def _open(url: str, timeout_s: float, address: str, absence_s: float, *, reopened: bool) -> Session:
    connection = await connect(brokers(url, HEARTBEAT_S), timeout_s)
    session = Session(connection, address, absence_s=absence_s, reopened=reopened)
    try:
        await session.listen()
    except BaseException:
        await close(connection)
        raise
    return session


def _address(url: str) -> str:
    """Return the hosts and ports of an AMQP URL, which unlike the URL hold no secret."""
    try:
        return read(url).addresses
    except InvalidUrl as error:
        raise CannotConnect(f"The AMQP URL is not valid: {error}.", lasting=True) from None


async def close(what: AbstractConnection | AbstractChannel) -> None:
    """Close properly if that can be done: the broker forgets the rest with the connection."""
    try:
        # A connection keeps its own time.
        async with asyncio.timeout(3 * CLOSE_TIMEOUT_S if isinstance(what, Connection) else CLOSE_TIMEOUT_S):
            await what.close()
    except CONNECTION_EXCEPTIONS:
        return
    except asyncio.CancelledError:
        if _is_cancelled():
            raise


async def on_end(channel: AbstractChannel, tell: Callable[[str], None]) -> None:
    """Have `tell` called with the reason once nothing will be delivered on a channel any more.

    That is when the channel or its connection is closed, or when the broker ends a consumer and leaves the channel
    open, which it does when the queue is gone.
    """
    channel.close_callbacks.add(lambda _channel, error: tell(reason(error)))
    underlay = await channel.get_underlay_channel()
    underlay.on_consumer_cancel_callbacks.add(lambda _frame: tell("the broker has removed the queue"))


def _is_cancelled() -> bool:
    """Tell whether somebody has cancelled the present task.

    aiormq ends what waits on a connection that is closed with CancelledError too. Nobody has cancelled the task then,
    and if nobody says so its caller ends without a word.
    """
    task = asyncio.current_task()
    return task is None or bool(task.cancelling())


def reason(error: BaseException | None) -> str:
    """What an error says, for the middle of a sentence."""
    return (str(error) or type(error).__name__).rstrip(".") if error else "this client has closed it"
