"""Every metric that the service tells Prometheus: its name, its labels, and what they mean."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


@dataclass(frozen=True, slots=True)
class Instrument:
    """A metric. Prometheus adds `_total` to the name of a counter, `_bucket`, `_sum` and `_count` to a histogram's."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    means: str
    """What it counts or measures, as Prometheus is told too."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """By name, what each label tells."""
    note: str = ""
    """What a reader of its values has to know besides, in Markdown."""
    buckets: tuple[float, ...] = ()

    def counter(self, registry: CollectorRegistry) -> Counter:
        return Counter(self.name, self.means, list(self.labels), registry=registry)

    def histogram(self, registry: CollectorRegistry) -> Histogram:
        return Histogram(self.name, self.means, list(self.labels), buckets=self.buckets, registry=registry)

    def family(self, value: float | None = None) -> GaugeMetricFamily:
        """The gauge, with its value if it has no labels."""
        if self.labels:
            return GaugeMetricFamily(self.name, self.means, labels=list(self.labels))
        return GaugeMetricFamily(self.name, self.means, value=value)


COMMANDS = Instrument(
    "genlock_commands",
    "counter",
    "Commands with their outcome.",
    {"type": "the type of the command, or `command.unknown`", "outcome": "`succeeded`, `conflict` or `rejected`"},
    "Counted when the outcome is about to be published, so a command that is delivered twice may count twice.",
)
DEAD_LETTERS = Instrument("genlock_dead_letters", "counter", "Messages moved to the dead letters.")
REDELIVERIES = Instrument("genlock_redeliveries", "counter", "Messages that had been delivered before.")
QUERIES = Instrument(
    "genlock_queries",
    "counter",
    "Queries that were answered, or dropped.",
    {
        "type": "the type of the query, or `unknown`",
        "result": "`answered`, `error` (answered with one) or `dropped` (without `reply_to`, or unreadable and "
        "without `correlation_id`)",
    },
)
DIRECT_REPLIES_DROPPED = Instrument(
    "genlock_direct_replies_dropped",
    "counter",
    "Direct replies that could not be sent.",
    note="The outcome was published as an event all the same.",
)
DATABASE_TROUBLE = Instrument(
    "genlock_database_trouble",
    "counter",
    "Batches held because the database could not work.",
    note="One for each try. The log says why, with the action [`hold`](logs.md#hold).",
)
BATCH_SIZE = Instrument("genlock_batch_size", "histogram", "Commands in a batch.", buckets=_SIZES)
DECIDE_SECONDS = Instrument(
    "genlock_decide_seconds", "histogram", "From the begin of a batch to its commit.", buckets=_SECONDS
)
PUBLISH_TO_OUTCOME_SECONDS = Instrument(
    "genlock_publish_to_outcome_seconds",
    "histogram",
    "From the time in a command to the publishing of its outcome, by the clocks of both.",
    note="Commands without a `time` are left out.",
    buckets=_SECONDS,
)
READY = Instrument("genlock_ready", "gauge", "1 if the service is ready.", note="`/readyz` has the reasons for 0.")
UNCONFIRMED_BATCHES = Instrument(
    "genlock_unconfirmed_batches",
    "gauge",
    "Batches whose events the broker has not confirmed.",
    note="Counted in the database, so each replica tells the same number: take the maximum, not the sum.",
)
WAITING_MESSAGES = Instrument(
    "genlock_waiting_messages",
    "gauge",
    "Messages that the broker refused and that wait to be published again.",
    note="Counted in the database up to 10,000; each replica tells the same number: take the maximum, not the sum.",
)
HELD_COMMANDS = Instrument(
    "genlock_held_commands",
    "gauge",
    "Commands that are held because of a record in trouble.",
    note="Counted in the database up to 10,000, where all commands wait; each replica tells the same number: take the "
    "maximum, not the sum. `genlock held list` shows them.",
)
HELD_SECONDS = Instrument(
    "genlock_held_seconds",
    "gauge",
    "How long the command has been held that has been held for longest.",
)
CLOCK_SKEW_SECONDS = Instrument(
    "genlock_clock_skew_seconds",
    "gauge",
    "By how much this machine's clock is ahead of the database's; negative if it is behind.",
)
CLOCK_STEP_SECONDS = Instrument(
    "genlock_clock_step_seconds",
    "gauge",
    "By how much the database's clock was set, as this machine's monotonic clock tells; negative if it was put back.",
    note="It goes back to 0 with the clock, or by at most a hundredth of the time that passes.",
)
CLOCK_STEPS = Instrument(
    "genlock_clock_steps",
    "counter",
    "How often the database's clock was set by more than 60 s, as this machine's monotonic clock tells.",
)
LANE_ACTIVE = Instrument(
    "genlock_lane_active", "gauge", "1 for each lane that is decided here.", {"lane": "the name of the lane's queue"}
)
RECORD_CONFLICTS = Instrument(
    "genlock_record_conflicts",
    "gauge",
    "Conflicts of the hottest records.",
    {"kind": "the kind of the record", "id": "its id"},
    "The 20 records with the most conflicts since the start; approximate where many records have some.",
)

INSTRUMENTS = (
    COMMANDS,
    PUBLISH_TO_OUTCOME_SECONDS,
    DECIDE_SECONDS,
    BATCH_SIZE,
    READY,
    UNCONFIRMED_BATCHES,
    WAITING_MESSAGES,
    HELD_COMMANDS,
    HELD_SECONDS,
    DATABASE_TROUBLE,
    CLOCK_SKEW_SECONDS,
    CLOCK_STEP_SECONDS,
    CLOCK_STEPS,
    RECORD_CONFLICTS,
    REDELIVERIES,
    DEAD_LETTERS,
    QUERIES,
    DIRECT_REPLIES_DROPPED,
    LANE_ACTIVE,
)
"""All of them, those that an operator looks at first before the others."""
