"""Detection of an absent service.

A broker keeps a message for a service that is away, so silence alone proves nothing. If no answer comes for some time,
the client reads the number of the queue's consumers by a passive declaration, which needs no permission. If it stays
zero for long enough, all waiting calls fail. If a service is there and slow, the checks become less and less frequent,
because a thousand clients must not keep a broker busy with them.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import CONNECTION_EXCEPTIONS

SILENT_S = 0.8
"""How long no message of a queue is answered before the first look."""

LOOK_FIRST_S = 1.0
LOOK_AGAIN_S = 0.5
"""The pause between looks that find no consumer."""
LOOK_MAX_S = 8.0
"""The longest pause between looks that find one."""
LOOK_TIMEOUT_S = 10.0

RECONNECTING_S = 10.0
"""How long services may take to return after the broker: they pause up to 5 s by default."""

EMPTY_FACTOR = 2.0
"""How much longer an empty queue has to have no consumers: a quorum queue that has lost its leader reports the same."""


IsLast = Callable[[bytes], bool]
"""Takes the body of an answer, and tells whether no further one has to be waited for."""


def only_one(_answer: bytes) -> bool:
    """Tell that the answer is the last one: most messages have only one."""
    return True


@dataclass(frozen=True, slots=True)
class ServiceAbsent:
    """In place of an answer: no service consumes this queue."""

    queue: str


@dataclass(slots=True)
class Waiting:
    """A message without its last answer yet. `taken_at` is the time when the broker confirmed it.

    An answer of None means that the connection was lost. Neither that nor ServiceAbsent is an exception: asyncio logs
    exceptions of futures that are never awaited.
    """

    queue: str
    answer: "asyncio.Future[bytes | ServiceAbsent | None]"
    is_last: IsLast = only_one
    taken_at: float | None = None

    def tell(self, answer: bytes | ServiceAbsent | None) -> None:
        """Set the answer, unless there is one."""
        if not self.answer.done():
            self.answer.set_result(answer)


class AbsenceWatch:
    """Checks for a service while any message waits for an answer."""

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
        """Note an answer to a message of this queue: a service is there."""
        self._answered_at[queue] = self._time()
        self._absent_since.pop(queue, None)

    def need(self) -> None:
        """Start checking, because a message waits."""
        self._needed.set()

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self._needed.wait()
            self._needed.clear()
            pause_s = LOOK_FIRST_S
            while self._waiting:
                # The pause comes first: most answers arrive within it and need no check.
                await asyncio.sleep(pause_s)
                queues = self._silent()
                await self._look(queues)
                if self._absent_since:
                    pause_s = LOOK_AGAIN_S
                else:
                    pause_s = min(2 * pause_s, LOOK_MAX_S) if queues else LOOK_FIRST_S

    def _silent(self) -> set[str]:
        """The queues with waiting messages and without a recent answer."""
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
        # Even if no single message has waited for long: a caller may repeat a call with a short time-out.
        waited = {waiting.queue for waiting in self._waiting.values()}
        self._absent_since = {queue: since for queue, since in self._absent_since.items() if queue in waited}
        for queue in queues:
            messages, consumers = await self._count(queue)
            if consumers != 0:
                self._absent_since.pop(queue, None)
                continue
            # The silence before the first check counts too.
            since = self._absent_since.setdefault(queue, self._time() - SILENT_S)
            if self._time() - since >= self._absence_s * (1 if messages else EMPTY_FACTOR):
                self._tell(queue)

    def _tell(self, queue: str) -> None:
        for waiting in self._waiting.values():
            if waiting.taken_at is not None and waiting.queue == queue:
                waiting.tell(ServiceAbsent(queue))

    async def _count(self, queue: str) -> tuple[int | None, int | None]:
        """The numbers of messages and consumers of a queue; None if they are unknown."""
        try:
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                if self._channel is None or self._channel.is_closed:
                    self._channel = await self._connection.channel(publisher_confirms=False)
                declared = (await self._channel.declare_queue(queue, passive=True)).declaration_result
        except CONNECTION_EXCEPTIONS:
            return None, None
        return declared.message_count, declared.consumer_count
