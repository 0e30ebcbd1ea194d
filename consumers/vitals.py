"""The vital signs of a process: what it counts, what it holds, and when something last moved."""

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
    _held: int = 0
    _held_since: float = 0.0
    _moved_at: float = field(default_factory=monotonic)

    def took(self, *, again: bool) -> None:
        """Note a delivery; `again` if its message has been delivered before."""
        if again:
            self.metrics.redelivered()
        if not self._held:
            self._held_since = monotonic()
        self._held += 1

    def settled(self, deliveries: int) -> None:
        """Note that the oldest deliveries were acknowledged."""
        self.batches += 1
        self._held -= deliveries
        self._held_since = self._moved_at = monotonic()

    def lost(self) -> None:
        """Note that the session ended: what it held is the broker's again."""
        self._held = 0
        self.registered = False

    def held_s(self) -> float:
        """For how many seconds nothing of what is held has been settled; 0 when nothing is held."""
        return monotonic() - self._held_since if self._held else 0.0

    def still_s(self) -> float:
        """For how many seconds nothing has been settled."""
        return monotonic() - self._moved_at
