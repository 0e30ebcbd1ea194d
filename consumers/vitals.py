"""The vital signs of a process: what it counts, what it holds, and when something last moved."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic

from genlock.consumers.metrics import Metrics


@dataclass(slots=True)
class Vitals:
    """Kept by the command consumer, over all its sessions, and read by the monitor."""

    metrics: Metrics = field(default_factory=Metrics)
    registered: bool = False
    batches: int = 0
    """How many batches were settled."""
    held: int = 0
    """How many deliveries are not settled."""
    _held_since: float = 0.0
    _publishing_since: float | None = None
    _moved_at: float = field(default_factory=monotonic)

    def took(self, *, again: bool) -> None:
        """Note a delivery; `again` if its message has been delivered before."""
        if again:
            self.metrics.redelivered()
        if not self.held:
            self._held_since = monotonic()
        self.held += 1

    def settled(self, deliveries: int) -> None:
        """Note that the oldest deliveries were acknowledged."""
        self.batches += 1
        self.held -= deliveries
        self._held_since = self._moved_at = monotonic()

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Note that outcomes are on their way to the broker while the context lasts."""
        self._publishing_since = monotonic()
        try:
            yield
        finally:
            self._publishing_since = None

    def publishing_s(self) -> float:
        """For how many seconds the broker has not taken what is published; 0 when nothing is."""
        return monotonic() - self._publishing_since if self._publishing_since is not None else 0.0

    def lost(self) -> None:
        """Note that the session ended: what it held is the broker's again."""
        self.held = 0
        self.registered = False

    def held_s(self) -> float:
        """For how many seconds nothing of what is held has been settled; 0 when nothing is held."""
        return monotonic() - self._held_since if self.held else 0.0

    def still_s(self) -> float:
        """For how many seconds nothing has been settled."""
        return monotonic() - self._moved_at
