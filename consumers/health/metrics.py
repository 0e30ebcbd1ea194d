"""What the service counts and measures, for Prometheus. A conflict is an outcome like any other, never a failure."""

from collections import Counter as Tally
from collections.abc import Sequence
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry

from genlock.consumers.health import instruments
from genlock.service.deciding.batch_outcomes import CommandOutcome

HOTTEST = 20
"""How many records are named as the hottest."""

HOT_RECORDS_MAX = 1_000
"""How many records' conflicts are counted at once; then the colder half of them is forgotten."""

Hot = tuple[str, str, int]
"""Kind, id, and how many conflicts."""


class Metrics:
    """The instruments of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._commands = instruments.COMMANDS.counter(self.registry)
        self._dead_letters = instruments.DEAD_LETTERS.counter(self.registry)
        self._redeliveries = instruments.REDELIVERIES.counter(self.registry)
        self._queries = instruments.QUERIES.counter(self.registry)
        self._replies_dropped = instruments.DIRECT_REPLIES_DROPPED.counter(self.registry)
        self._held = instruments.DATABASE_TROUBLE.counter(self.registry)
        self._clock_steps = instruments.CLOCK_STEPS.counter(self.registry)
        self._batch_size = instruments.BATCH_SIZE.histogram(self.registry)
        self._decide = instruments.DECIDE_SECONDS.histogram(self.registry)
        self._outcome = instruments.PUBLISH_TO_OUTCOME_SECONDS.histogram(self.registry)
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

    def clock_stepped(self) -> None:
        """Count a clock of the database that was set."""
        self._clock_steps.inc()

    def decided(self, commands: int, seconds: float) -> None:
        """Measure a batch that was committed."""
        self._batch_size.observe(commands)
        self._decide.observe(seconds)

    def dead_letter(self) -> None:
        """Count a message that went to the dead letters."""
        self._dead_letters.inc()

    def answered(self, outcomes: Sequence[CommandOutcome]) -> None:
        """Count the outcomes of a batch that are about to be published."""
        for event_type, count in Tally(outcome.event.type for outcome in outcomes).items():
            command_type, _, verdict = event_type.rpartition(".")
            self._commands.labels(command_type, verdict).inc(count)
        now = datetime.now(UTC)
        for outcome in outcomes:
            command = outcome.command
            if command.time is not None:
                self._outcome.observe(max(0.0, (now - command.time).total_seconds()))
            if command.kind and outcome.event.type.endswith(".conflict"):
                self._conflicts[command.kind, command.subject] += 1
        if len(self._conflicts) > HOT_RECORDS_MAX:
            self._conflicts = Tally(dict(self._conflicts.most_common(HOT_RECORDS_MAX // 2)))

    def hottest(self) -> list[Hot]:
        """The records with the most conflicts, most first; approximate where many records are hot."""
        return [(kind, record_id, count) for (kind, record_id), count in self._conflicts.most_common(HOTTEST)]
