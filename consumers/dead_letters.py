"""Reading the dead letters: page by page, each letter once; what is not removed goes back in its order.

A page is a consumer with a small prefetch that is cancelled once it is full. What it brought stays unacknowledged on
the channel, so that the next page has other letters; only its number is remembered here. To give letters back as one
goes would not do: RabbitMQ puts them at the head of the queue, and the next page would be the same again.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator

from aiormq.abc import AbstractChannel, DeliveredMessage
from aiormq.exceptions import ChannelLockedResource

from genlock._refusals import owning
from genlock.consumers.deliveries import read
from genlock.consumers.letters import Letter, letter_of
from genlock.consumers.session import BROKER_ERRORS, Session
from genlock.consumers.topology import Topology
from genlock.service.settings import Settings

PAGE = 100
"""How many letters are fetched, and their bodies in memory, at once."""

SLICE = 32
"""How many letters are given back at once: of no more than these does RabbitMQ 3.10 keep the order, because Erlang
sorts the keys of maps up to that size."""

SLICES_UNDER_WAY = 16
"""After so many the broker must have them back: past 32 it gathers what it is told, without an order."""

QUIET_S = 1.0
"""After so long without a letter, those that were counted may be gone: somebody else has taken them."""

ORDER_TIMEOUT_S = 1.0
"""How long to wait for the order's sake; it is no more than a courtesy."""

POLL_S = 0.01

LOCK_TRIES, LOCK_PAUSE_S = 25, 0.2
"""The broker needs a moment to notice that the reader before has gone."""


class BeingReadError(Exception):
    """Somebody else reads the dead letters, and holds them meanwhile."""


class DeadLetters:
    """The queue of dead letters, in the hands of one reader. Made by `opened()`."""

    def __init__(self, channel: AbstractChannel, queue: str, timeout_s: float) -> None:
        self._channel = channel
        self._queue = queue
        self._timeout_s = timeout_s
        self._pages: list[range] = []
        """The delivery tags of each page."""
        self._removed: set[int] = set()

    async def count(self) -> int:
        """How many letters wait in the queue; those that are held here are not among them."""
        declared = await self._channel.queue_declare(self._queue, passive=True, timeout=self._timeout_s)
        return declared.message_count or 0

    async def read(self) -> AsyncIterator[Letter]:
        """Read the letters that are there now, each once, however many come meanwhile."""
        left = await self.count()
        while left > 0 and (page := await self._fetch(min(left, PAGE))):
            left -= len(page)
            while page:
                # Its body is let go as soon as the next letter is asked for.
                message = page.pop(0)
                yield letter_of(await read(message), message.body)

    async def remove(self, tag: int) -> None:
        """Take a letter out of the queue for good; `settle` tells when that is done."""
        await self._channel.basic_ack(tag)
        self._removed.add(tag)

    async def settle(self) -> None:
        """Return when all removals are done.

        The broker answers a consumer only after what was asked of the queue before. What it had put off it does by
        the first, and has done by the second.
        """
        for _ in range(2):
            consumed = await self._channel.basic_consume(self._queue, _hold, timeout=self._timeout_s)
            await self._channel.basic_cancel(str(consumed.consumer_tag), timeout=self._timeout_s)

    async def give_back(self) -> None:
        """Give back what was not removed, in slices, so that it keeps its order; if this fails, no more is lost."""
        with contextlib.suppress(*BROKER_ERRORS):
            expected = await self.count()
            for number, held in enumerate(self._held(), 1):
                await self._channel.basic_nack(held[-1], multiple=True, requeue=True)
                expected += len(held)
                if number % SLICES_UNDER_WAY == 0:
                    await self._wait_for(expected)

    def _held(self) -> Iterator[list[int]]:
        """The tags of what was not removed, in slices of no more than one page."""
        for page in self._pages:
            held = [tag for tag in page if tag not in self._removed]
            for start in range(0, len(held), SLICE):
                yield held[start : start + SLICE]

    async def _wait_for(self, expected: int) -> None:
        time = asyncio.get_running_loop().time
        deadline = time() + ORDER_TIMEOUT_S
        while await self.count() < expected and time() < deadline:  # noqa: ASYNC110 - the broker tells only who asks
            await asyncio.sleep(POLL_S)

    async def _fetch(self, size: int) -> list[DeliveredMessage]:
        """Fetch the next letters, fewer only where there are no more."""
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
async def opened(session: Session, settings: Settings) -> AsyncIterator[DeadLetters]:
    """Be the one reader of the dead letters for the time of the context. Raises BeingReadError and BROKER_ERRORS."""
    topology = Topology(settings.namespace)
    with owning(topology.namespace):
        await _become_reader(session, topology.dead_letters_reader, settings.publish_timeout_s)
    channel = await session.channel(prefetch=PAGE)
    underlay = await channel.get_underlay_channel()
    letters = DeadLetters(underlay, topology.dead_letters, settings.publish_timeout_s)
    try:
        yield letters
    finally:
        await letters.give_back()
        with contextlib.suppress(*BROKER_ERRORS):
            await channel.close()


async def _become_reader(session: Session, lock: str, timeout_s: float) -> None:
    """Have the exclusive queue, for as long as the session lasts."""
    for _ in range(LOCK_TRIES):
        channel = await session.channel()
        underlay = await channel.get_underlay_channel()
        try:
            await underlay.queue_declare(lock, exclusive=True, timeout=timeout_s)
        except ChannelLockedResource:
            await asyncio.sleep(LOCK_PAUSE_S)
        else:
            await channel.close()
            return
    raise BeingReadError("Somebody else reads the dead letters now, and holds them meanwhile: try again later.")
