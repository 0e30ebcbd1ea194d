"""The vital signs of a process: what it counts, what its consumers hold, and when something last moved."""

import contextlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from time import monotonic

from genlock.consumers.metrics import Metrics
from genlock.consumers.topology import CommandQueue


@dataclass(slots=True)
class Vitals:
    """Kept by one command consumer, over all its sessions."""

    metrics: Metrics
    registered: bool = False
    active: bool = False
    """Whether it has been brought something in this session. Of a lane's consumers that is one alone."""
    batches: int = 0
    """How many batches were settled."""
    held: int = 0
    """How many deliveries are not settled."""
    _held_since: float = 0.0
    _publishing: list[float] = field(default_factory=list)
    """Since when each batch is being published, the oldest first."""
    _moved_at: float = field(default_factory=monotonic)

    def took(self, *, again: bool) -> None:
        """Note a delivery; `again` if its message has been delivered before."""
        if again:
            self.metrics.redelivered()
        if not self.held:
            self._held_since = monotonic()
        self.held += 1
        self.active = True

    def settled(self, deliveries: int) -> None:
        """Note that the oldest deliveries were acknowledged."""
        self.batches += 1
        self.held -= deliveries
        self._held_since = self._moved_at = monotonic()

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Note that outcomes are on their way to the broker while the context lasts."""
        since = monotonic()
        self._publishing.append(since)
        try:
            yield
        finally:
            self._publishing.remove(since)

    def publishing_s(self) -> float:
        """For how many seconds the broker has not taken what is published; 0 when nothing is."""
        return monotonic() - self._publishing[0] if self._publishing else 0.0

    def left(self) -> None:
        """Note that nothing more comes; what is held is held on."""
        self.registered = self.active = False

    def lost(self) -> None:
        """Note that the session ended: what it held is the broker's again."""
        self.held = 0
        self.left()

    def held_s(self) -> float:
        """For how many seconds nothing of what is held has been settled; 0 when nothing is held."""
        return monotonic() - self._held_since if self.held else 0.0

    def still_s(self) -> float:
        """For how many seconds nothing has been settled."""
        return monotonic() - self._moved_at


class ProcessVitals:
    """The vitals of all command consumers of a process, read by the monitor."""

    def __init__(self, queues: Iterable[CommandQueue]) -> None:
        self.metrics = Metrics()
        self._consumers = {queue: Vitals(self.metrics) for queue in queues}

    def of(self, queue: CommandQueue) -> Vitals:
        """The vitals of the consumer of a queue."""
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

    def lost(self) -> None:
        """Note that the session ended."""
        for consumer in self._consumers.values():
            consumer.lost()

    def publishing_s(self) -> float:
        """For how many seconds the broker has not taken what some consumer publishes; 0 when nothing is."""
        return max(consumer.publishing_s() for consumer in self._consumers.values())

    def held_s(self) -> float:
        """For how many seconds some consumer has not settled anything of what it holds; 0 when nothing is held."""
        return max(consumer.held_s() for consumer in self._consumers.values())

    def still_s(self) -> float:
        """For how many seconds some consumer that holds something has settled nothing; any, where none does."""
        if holding := [consumer.still_s() for consumer in self._consumers.values() if consumer.held]:
            return max(holding)
        return min(consumer.still_s() for consumer in self._consumers.values())
