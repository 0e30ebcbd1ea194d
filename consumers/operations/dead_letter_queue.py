"""Reading the dead letters: page by page, each dead letter once; those that are not removed go back in their order.

A page is a consumer with a small prefetch that is cancelled once it is full. What it brought stays unacknowledged on
the channel, so that the next page has other dead letters; only its number is remembered here. To give dead letters back
as one goes would not do: RabbitMQ puts them at the head of the queue, and the next page would be the same again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelLockedResource

from genlock._net.refusals import naming_owner_permissions
from genlock.consumers.amqp.session import BROKER_ERRORS, Session
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.authors import Reader
from genlock.consumers.commands.deliveries import read
from genlock.consumers.operations.dead_letters import DeadLetter, read_dead_letter
from genlock.service.settings import Settings

PAGE = 100
"""How many dead letters are fetched, and their bodies in memory, at once."""

SLICE = 32
"""How many dead letters are given back at once: RabbitMQ 3.10 keeps the order of no more than these, because Erlang
sorts the keys of maps up to that size."""

SLICES_UNDER_WAY = 16
"""After so many the broker must have them back: past 32 it gathers what it is told, without an order."""

QUIET_S = 1.0
"""After so long without a dead letter, those that were counted are taken to be gone: another reader has taken them."""

ORDER_TIMEOUT_S = 1.0
"""How long to wait so that the order is kept, which is not promised."""

POLL_S = 0.01

LOCK_TRIES, LOCK_PAUSE_S = 25, 0.2
"""The broker needs a moment to notice that the reader before has gone."""


class DeadLettersInUseError(Exception):
    """Another reader holds the dead letters."""


class DeadLetterQueue:
    """The queue of dead letters, in the hands of one reader. Made by `opened()`."""

    def __init__(self, channel: AbstractChannel, queue: str, reader: Reader, timeout_s: float) -> None:
        self._channel = channel
        self._queue = queue
        self._reader = reader
        self._timeout_s = timeout_s
        self._pages: list[range] = []
        """The delivery tags of each page."""
        self._removed: set[int] = set()

    async def count(self) -> int:
        """How many dead letters wait in the queue; those that are held here are not among them."""
        declared = await self._channel.queue_declare(self._queue, passive=True, timeout=self._timeout_s)
        return declared.message_count or 0

    async def read(self) -> AsyncIterator[DeadLetter]:
        """Read the dead letters that are there now, each once, however many come meanwhile."""
        left = await self.count()
        while left > 0 and (page := await self._fetch(min(left, PAGE))):
            left -= len(page)
            while page:
                # Its body is released as soon as the next dead letter is asked for.
                message = page.pop(0)
                yield read_dead_letter(await read(message, self._reader), message.body)

    async def remove(self, tag: int) -> None:
        """Take a dead letter out of the queue for good; `settle` tells when that is done."""
        await self._channel.basic_ack(tag)
        self._removed.add(tag)

    async def settle(self) -> None:
        """Return when all removals are done.

        The broker registers a consumer only after the queue's earlier requests. The first consumer makes it carry out
        the removals that it had put off; when the second is registered, they are done.
        """
        for _ in range(2):
            consumed = await self._channel.basic_consume(self._queue, _hold, timeout=self._timeout_s)
            await self._channel.basic_cancel(str(consumed.consumer_tag), timeout=self._timeout_s)

    async def give_back(self) -> None:
        """Give back the remaining dead letters in slices, to keep their order. If it fails, only the order is lost."""
        with contextlib.suppress(*BROKER_ERRORS):
            expected = await self.count()
            for number, held in enumerate(self._held(), 1):
                await self._channel.basic_nack(held[-1], multiple=True, requeue=True)
                expected += len(held)
                if number % SLICES_UNDER_WAY == 0:
                    await self._wait_for(expected)

    def _held(self) -> Iterator[list[int]]:
        """The tags of the remaining dead letters, in slices of at most one page."""
        for page in self._pages:
            held = [tag for tag in page if tag not in self._removed]
            for start in range(0, len(held), SLICE):
                yield held[start : start + SLICE]

    async def _wait_for(self, expected: int) -> None:
        time = asyncio.get_running_loop().time
        deadline = time() + ORDER_TIMEOUT_S
        while await self.count() < expected and time() < deadline:  # noqa: ASYNC110 - the broker sends no signal for it
            await asyncio.sleep(POLL_S)

    async def _fetch(self, size: int) -> list[DeliveredMessage]:
        """Fetch the next dead letters, fewer only where there are no more."""
        arrived: asyncio.Queue[DeliveredMessage] = asyncio.Queue()

        async def arrive(message: DeliveredMessage) -> None:
            arrived.put_nowait(message)

        consumed = await self._channel.basic_consume(self._queue, arrive, timeout=self._timeout_s)
        page: list[DeliveredMessage] = []
        async with asyncio.timeout(self._timeout_s):
            while len(page) < size and (message := await self._next(arrived)):
                page.append(message)
        await self._channel.basic_cancel(str(consumed.consumer_tag), timeout=self._timeout_s)
        # Nothing else is delivered on this channel, so the tags of a page follow those of the page before.
        first = self._pages[-1].stop if self._pages else 1
        self._pages.append(range(first, first + len(page)))
        return page

    async def _next(self, arrived: "asyncio.Queue[DeliveredMessage]") -> DeliveredMessage | None:
        while True:
            try:
                return await asyncio.wait_for(arrived.get(), QUIET_S)
            except TimeoutError:
                if await self.count() == 0 and arrived.empty():
                    return None


async def _hold(_message: DeliveredMessage) -> None:
    """Hold what comes, unread, until the channel is closed."""


@contextlib.asynccontextmanager
async def opened(session: Session, settings: Settings) -> AsyncIterator[DeadLetterQueue]:
    """Hold the dead letters as their one reader. Raises DeadLettersInUseError and BROKER_ERRORS."""
    topology = Topology(settings.namespace)
    with naming_owner_permissions(topology.namespace):
        await _become_reader(session, topology.dead_letters_reader, settings.publish_timeout_s)
    channel = await session.channel(prefetch=PAGE)
    underlay = await channel.get_underlay_channel()
    reader = Reader(settings.source, session.user, settings.require_user)
    queue = DeadLetterQueue(underlay, topology.dead_letters, reader, settings.publish_timeout_s)
    try:
        yield queue
    finally:
        await queue.give_back()
        with contextlib.suppress(*BROKER_ERRORS):
            await session.leave(channel)


async def _become_reader(session: Session, lock: str, timeout_s: float) -> None:
    """Hold the exclusive queue while the session lasts."""
    for _ in range(LOCK_TRIES):
        channel = await session.channel()
        underlay = await channel.get_underlay_channel()
        try:
            await underlay.queue_declare(lock, exclusive=True, timeout=timeout_s)
        except ChannelLockedResource:
            await asyncio.sleep(LOCK_PAUSE_S)
        else:
            await session.leave(channel)
            return
    raise DeadLettersInUseError("Another program is reading the dead letters and holds them: try again later.")
