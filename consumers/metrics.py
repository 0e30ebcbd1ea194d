"""What the service counts and measures, for Prometheus. A conflict is an outcome like any other, never a failure."""

from collections import Counter as Tally
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram

from genlock.schemas.decode import Command
from genlock.service.ledger.events import Event

HOTTEST = 20
"""How many records are named as the hottest."""

HOT_RECORDS_MAX = 1_000
"""How many records' conflicts are counted at once; then the colder half of them is forgotten."""

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

Hot = tuple[str, str, int]
"""Kind, id, and how many conflicts."""


class Metrics:
    """The instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._commands = Counter(
            "genlock_commands", "Commands with their outcome.", ["type", "outcome"], registry=self.registry
        )
        self._dead_letters = Counter(
            "genlock_dead_letters", "Messages moved to the dead letters.", registry=self.registry
        )
        self._redeliveries = Counter(
            "genlock_redeliveries", "Messages that had been delivered before.", registry=self.registry
        )
        self._queries = Counter(
            "genlock_queries", "Queries that were answered, or dropped.", ["type", "result"], registry=self.registry
        )
        self._replies_dropped = Counter(
            "genlock_direct_replies_dropped", "Direct replies that could not be sent.", registry=self.registry
        )
        self._held = Counter(
            "genlock_database_trouble", "Batches held because the database could not work.", registry=self.registry
        )
        self._batch_size = Histogram(
            "genlock_batch_size", "Commands in a batch.", buckets=SIZES, registry=self.registry
        )
        self._decide = Histogram(
            "genlock_decide_seconds",
            "From the begin of a batch to its commit.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._outcome = Histogram(
            "genlock_publish_to_outcome_seconds",
            "From the time in a command to the publishing of its outcome, by the clocks of both.",
            buckets=SECONDS,
            registry=self.registry,
        )
        self._conflicts: Tally[tuple[str, str]] = Tally()

    def redelivered(self) -> None:
        """Count a delivery that is not the first of its message."""
        self._redeliveries.inc()

    def query(self, query_type: str, result: str) -> None:
        """Count a query: `answered`, answered with an `error`, or `dropped`. Its type is one that there is."""
        self._queries.labels(query_type, result).inc()

    def replies_dropped(self, count: int) -> None:
        """Count direct replies that will not be sent."""
        self._replies_dropped.inc(count)

    def held(self) -> None:
        """Count a batch that waits for the database."""
        self._held.inc()

    def decided(self, commands: int, seconds: float) -> None:
        """Measure a batch that was committed."""
        self._batch_size.observe(commands)
        self._decide.observe(seconds)

    def dead_letter(self) -> None:
        """Count a message that went to the dead letters."""
        self._dead_letters.inc()

    def answered(self, commands: Iterable[Command], events: Sequence[Event]) -> None:
        """Count the outcomes of a batch that are about to be published."""
        for event_type, count in Tally(event.type for event in events).items():
            command_type, _, outcome = event_type.rpartition(".")
            self._commands.labels(command_type, outcome).inc(count)
        now = datetime.now(UTC)
        for command, event in zip(commands, events, strict=True):
            if command.time is not None:
                self._outcome.observe(max(0.0, (now - command.time).total_seconds()))
            if command.kind and event.type.endswith(".conflict"):
                self._conflicts[command.kind, command.subject] += 1
        if len(self._conflicts) > HOT_RECORDS_MAX:
            self._conflicts = Tally(dict(self._conflicts.most_common(HOT_RECORDS_MAX // 2)))

    def hottest(self) -> list[Hot]:
        """The records with the most conflicts, most first; approximate where many records are hot."""
        return [(kind, record_id, count) for (kind, record_id), count in self._conflicts.most_common(HOTTEST)]
