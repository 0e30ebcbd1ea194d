"""Whether any service is there to answer.

A broker keeps a message for a service that is away, so that silence alone says nothing. While no answer comes for some
time, the number of the queue's consumers is asked for, by a passive declaration, which takes no permission. If it stays
at zero for long enough, everyone who waits is told. A service that is there and slow is looked for less and less often:
a thousand clients must not keep a broker busy with that.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

SILENT_S = 0.8
"""How long a message waits, and its queue's others with it, before the first look."""

LOOK_FIRST_S = 1.0
LOOK_AGAIN_S = 0.5
"""The pause between looks that find no consumer."""
LOOK_MAX_S = 8.0
"""The longest pause between looks that find one."""
LOOK_TIMEOUT_S = 10.0

RECONNECTING_S = 10.0
"""How long services may take to come back after the broker did: their own pauses are up to 5 s long by default."""

EMPTY_FACTOR = 2.0
"""How much longer zero consumers of an empty queue are doubted: a quorum queue whose leader is lost says so too."""


@dataclass(frozen=True, slots=True)
class Absent:
    """The answer that there is none: no service consumes this queue."""

    queue: str


@dataclass(slots=True)
class Waiting:
    """A message whose answer is waited for, since the moment `taken_at` when the broker confirmed it.

    An answer of None says that the connection was lost. Neither that nor Absent is an exception: asyncio complains
    about exceptions of futures that are never awaited.
    """

    queue: str
    answer: "asyncio.Future[bytes | Absent | None]"
    taken_at: float | None = None

    def tell(self, answer: bytes | Absent | None) -> None:
        """Give the answer, unless there is one."""
        if not self.answer.done():
            self.answer.set_result(answer)


class Watch:
    """Looks for a service as long as something waits for an answer."""

    def __init__(
        self, connection: AbstractConnection, waiting: Mapping[str, Waiting], absence_s: float, *, reopened: bool
    ) -> None:
        self._connection = connection
        self._waiting = waiting
        self._absence_s = absence_s
        self._time = asyncio.get_running_loop().time
        self._begins = self._time() + (RECONNECTING_S if reopened else 0)
        self._needed = asyncio.Event()
        self._channel: AbstractChannel | None = None
        self._absent_since: dict[str, float] = {}
        self._answered_at: dict[str, float] = {}

    def answered(self, queue: str) -> None:
        """Note that a service is there: it has answered something from this queue."""
        self._answered_at[queue] = self._time()
        self._absent_since.pop(queue, None)

    def need(self) -> None:
        """Begin to look, because something waits."""
        self._needed.set()

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self._needed.wait()
            self._needed.clear()
            pause_s = LOOK_FIRST_S
            while self._waiting:
                # First the pause: most answers come within it, and cost no look.
                await asyncio.sleep(pause_s)
                queues = self._silent()
                await self._look(queues)
                if self._absent_since:
                    pause_s = LOOK_AGAIN_S
                else:
                    pause_s = min(2 * pause_s, LOOK_MAX_S) if queues else LOOK_FIRST_S

    def _silent(self) -> set[str]:
        """The queues that nothing has been heard of while something waited."""
        now = self._time()
        if now < self._begins:
            return set()
        return {
            waiting.queue
            for waiting in self._waiting.values()
            if waiting.taken_at is not None
            and now - max(waiting.taken_at, self._answered_at.get(waiting.queue, 0.0)) >= SILENT_S
        }

    async def _look(self, queues: set[str]) -> None:
        # Also while none has waited for long: a caller may ask again and again, each time with a short time-out.
        waited = {waiting.queue for waiting in self._waiting.values()}
        self._absent_since = {queue: since for queue, since in self._absent_since.items() if queue in waited}
        for queue in queues:
            messages, consumers = await self._count(queue)
            if consumers != 0:
                self._absent_since.pop(queue, None)
                continue
            # The silence before the first look counts too.
            since = self._absent_since.setdefault(queue, self._time() - SILENT_S)
            if self._time() - since >= self._absence_s * (1 if messages else EMPTY_FACTOR):
                self._tell(queue)

    def _tell(self, queue: str) -> None:
        for waiting in self._waiting.values():
            if waiting.taken_at is not None and waiting.queue == queue:
                waiting.tell(Absent(queue))

    async def _count(self, queue: str) -> tuple[int | None, int | None]:
        """How many messages and consumers a queue has; None where that is not known."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                if self._channel is None or self._channel.is_closed:
                    self._channel = await self._connection.channel(publisher_confirms=False)
                declared = (await self._channel.declare_queue(queue, passive=True)).declaration_result
        except CONNECTION_EXCEPTIONS:
            return None, None
        return declared.message_count, declared.consumer_count
