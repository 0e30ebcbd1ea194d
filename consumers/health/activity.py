"""The activity of a process: what it counts, what its consumers hold and wait for, and when one last moved."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import monotonic

from genlock.consumers.amqp.topology import CommandQueue
from genlock.consumers.health.metrics import Metrics
from genlock.service.database.clocks import Clocks

Clock = Callable[[], float]
"""Tells seconds, and only goes forward."""

MARGIN_S = 2.0
"""How much longer than its limit a wait may last on a busy machine."""


class Progress:
    """What a part of the process is doing: for which servers it waits, and when it last did anything.

    A wait explains why nothing happens, but only until its limit. A wait that lasts longer, and was not given up, is a
    fault of this program.
    """

    def __init__(self, clock: Clock = monotonic) -> None:
        self._clock = clock
        self._waits: dict[object, float] = {}
        """Until when each may last."""
        self._moved_at = self._clock()

    def moved(self) -> None:
        """Note that something has happened."""
        self._moved_at = self._clock()

    @contextlib.contextmanager
    def waiting(self, at_most_s: float = float("inf")) -> Iterator[None]:
        """Wait for a server, or until it is time to ask it again, while the context lasts."""
        wait = object()
        self._waits[wait] = self._clock() + at_most_s + MARGIN_S
        try:
            yield
        finally:
            del self._waits[wait]
            self.moved()

    def still_s(self) -> float:
        """For how many seconds nothing has happened, and no server explains it; 0 while one does."""
        now = self._clock()
        return 0.0 if any(until > now for until in self._waits.values()) else now - self._moved_at


@dataclass(slots=True)
class Trouble:
    """A batch that the database cannot decide now: since when, and its last error; none before the first error."""

    since: float
    why: str = ""

    def met(self, why: str) -> None:
        """Note that the database could not do it."""
        self.why = why


@dataclass(slots=True)
class Activity:
    """Kept by one command consumer, over all its sessions."""

    metrics: Metrics
    clock: Clock = monotonic
    progress: Progress = field(init=False)
    registered: bool = False
    leaving: bool = False
    """Whether it must not register any more in this session."""
    active: bool = False
    """Whether it was delivered anything in this session. Only one consumer of a lane is active."""
    batches: int = 0
    """How many batches were settled."""
    brought: int = 0
    """How many deliveries there were."""
    held: int = 0
    """How many deliveries are not settled."""
    message_bytes: int = 0
    """About how many bytes a message had lately; 0 while it is unknown."""
    _held_since: float = 0.0
    _publishing: list[float] = field(default_factory=list)
    """Since when each batch is being published, the oldest first."""
    _troubles: list[Trouble] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.progress = Progress(self.clock)

    def took(self, *, again: bool) -> None:
        """Note a delivery; `again` if its message has been delivered before."""
        if again:
            self.metrics.redelivered()
        if not self.held:
            self._held_since = self.clock()
            self.progress.moved()
        self.held += 1
        self.brought += 1
        self.active = True

    def settled(self, deliveries: int) -> None:
        """Note that the oldest deliveries were acknowledged."""
        self.batches += 1
        self.held -= deliveries
        self._held_since = self.clock()
        self.progress.moved()

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Note that messages are on their way to the broker while the context lasts, without a limit."""
        since = self.clock()
        self._publishing.append(since)
        try:
            with self.progress.waiting():
                yield
        finally:
            self._publishing.remove(since)

    def publishing_s(self) -> float:
        """How many seconds the oldest unfinished publishing has taken; 0 if there is none."""
        return self.clock() - self._publishing[0] if self._publishing else 0.0

    @contextlib.contextmanager
    def asking(self) -> Iterator[Trouble]:
        """Ask the database for one thing until it can do it; the context yields where to note each failure."""
        trouble = Trouble(self.clock())
        self._troubles.append(trouble)
        try:
            yield trouble
        finally:
            self._troubles.remove(trouble)

    def trouble(self) -> tuple[float, str] | None:
        """For how many seconds the database has not been able to do something, and why; None if it can do all."""
        met = [trouble for trouble in self._troubles if trouble.why]
        return (self.clock() - met[0].since, met[0].why) if met else None

    def joined(self) -> None:
        """Note that the consumer is registered."""
        self.registered, self.leaving = True, False
        self.progress.moved()

    def left(self) -> None:
        """Note that the consumer is not registered any more; it still holds its deliveries."""
        self.registered = self.active = False
        self.progress.moved()

    def lost(self) -> None:
        """Note that the session ended: the broker redelivers the held messages."""
        self.held = 0
        self.left()
        self.leaving = False

    def held_s(self) -> float:
        """For how many seconds no held delivery has been settled; 0 when nothing is held."""
        return self.clock() - self._held_since if self.held else 0.0

    def stuck_s(self) -> float:
        """For how many seconds it has had something to do, and has done nothing though it waits for no server."""
        busy = self.held or not (self.registered or self.leaving)
        return self.progress.still_s() if busy else 0.0


class ProcessActivity:
    """The activity of all command consumers of a process, read by the monitor."""

    def __init__(self, queues: Iterable[CommandQueue], clock: Clock = monotonic) -> None:
        self.clock = clock
        self.metrics = Metrics()
        self.sessions = Progress(clock)
        """What begins one session after another."""
        self.in_session = False
        self.clocks: Clocks | None = None
        """What both clocks said last."""
        self.waiting = 0
        """How many messages that the broker refused waited at the last count."""
        self.held_in_database: tuple[int, float] = (0, 0.0)
        """How many commands the database held at the last count, and for how many seconds the oldest."""
        self._consumers = {queue: Activity(self.metrics, clock) for queue in queues}

    @property
    def queues(self) -> list[CommandQueue]:
        """The queues that its consumers consume."""
        return list(self._consumers)

    def of(self, queue: CommandQueue) -> Activity:
        """The activity of the consumer of a queue."""
        return self._consumers[queue]

    @property
    def registered(self) -> bool:
        """Tell whether all consumers are."""
        return all(consumer.registered for consumer in self._consumers.values())

    @property
    def lanes(self) -> list[str]:
        """The lanes whose commands come here, and to no other process."""
        return [queue.name for queue, consumer in self._consumers.items() if queue.in_order and consumer.active]

    @property
    def held(self) -> int:
        """How many deliveries are not settled."""
        return sum(consumer.held for consumer in self._consumers.values())

    @property
    def brought(self) -> int:
        """How many deliveries there were in all."""
        return sum(consumer.brought for consumer in self._consumers.values())

    def lost(self) -> None:
        """Note that the session ended."""
        self.in_session = False
        self.sessions.moved()
        for consumer in self._consumers.values():
            consumer.lost()

    def publishing_s(self) -> float:
        """For how many seconds the broker has not taken what some consumer publishes; 0 when nothing is."""
        return max(consumer.publishing_s() for consumer in self._consumers.values())

    def held_s(self) -> float:
        """For how many seconds some consumer has not settled anything of what it holds; 0 when nothing is held."""
        return max(consumer.held_s() for consumer in self._consumers.values())

    def trouble(self) -> tuple[float, str] | None:
        """For how many seconds the database has not been able to do something, and why; None where it has."""
        met = [trouble for consumer in self._consumers.values() if (trouble := consumer.trouble())]
        return max(met) if met else None

    def stuck_s(self, *, session_usable: bool) -> float:
        """For how many seconds some part has had something to do, has waited for no server, and has done nothing.

        A session that is lost ends at once, unless something in it waits for a server.
        """
        if self.in_session and session_usable:
            return max(consumer.stuck_s() for consumer in self._consumers.values())
        parts = (self.sessions.still_s, *(consumer.progress.still_s for consumer in self._consumers.values()))
        return min(still_s() for still_s in parts)
