"""Contention: how long the losers of a contended record should wait, so that they come back one after the other.

Losers that all wait equally long meet again, and all but one lose again. So each is given a turn of its own, one for
each change that the record is likely to see. A loser with more attempts than the contended has on average gets a nearer
turn, so that none loses for ever; if all of them have many attempts, none gets a nearer one, or they would all come at
once. This is advice, kept in the memory of one process: a client that comes early, or to another process, is decided
all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from genlock.schemas.outcomes import ConflictData, SucceededData, Verdict
from genlock.service.deciding.verdicts import RETRY_AFTER_MS

PACE_FIRST_S = 0.01
"""How long a change is taken to take before it is known: about what a client needs to read, to send and to be told."""
PACE_MIN_S, PACE_MAX_S = 0.005, 1.0
WEIGHT = 0.2
"""How much of the pace the last change tells, and of the usual number of attempts the last loser."""

WAIT_MAX_S = 2.0

LINGER_S = 1.0
"""How long after its last turn a contended record is remembered, so that late losers count as its own."""

CONTENDED_RECORDS_MAX = 10_000
"""How many may be remembered before those that no command waits for are dropped."""

Wanted = tuple[str | None, str | None]
"""A record's kind and id."""


@dataclass(slots=True)
class ContendedRecord:
    """The commands that wait for a record. Moments are in seconds, on a clock that only goes forward."""

    taken_until: float
    changed_at: float
    pace_s: float = PACE_FIRST_S
    """The time between two changes of the record, lately."""
    attempts: float = 1.0
    """How many attempts its losers have had, on average, lately."""

    def waits(self, now: float) -> bool:
        """Tell whether a command may still come."""
        return now < self.taken_until + LINGER_S

    def next_turn_s(self, now: float, attempt: int) -> float:
        """Take the next free turn, or the nearer one of a loser with more attempts than usual; how long until then."""
        turn = max(self.taken_until, now) + self.pace_s
        self.taken_until = min(turn, now + WAIT_MAX_S)
        nearer = max(1.0, attempt / self.attempts)
        self.attempts += (attempt - self.attempts) * WEIGHT
        return (self.taken_until - now) / nearer

    def changed(self, now: float) -> None:
        """Learn from a change how fast they come."""
        took_s = min(max(now - self.changed_at, PACE_MIN_S), PACE_MAX_S)
        self.pace_s += (took_s - self.pace_s) * WEIGHT
        self.changed_at = now


class Contention:
    """All contention that this process has turned away."""

    def __init__(self, records_max: int = CONTENDED_RECORDS_MAX) -> None:
        self._records_max = records_max
        self._contended: dict[Wanted, ContendedRecord] = {}

    def advise(self, verdicts: Sequence[Verdict], now: float) -> list[Verdict]:
        """The verdicts of a batch, with a turn for each conflict that may be tried again."""
        return [self._advised(verdict, now) for verdict in verdicts]

    def _advised(self, verdict: Verdict, now: float) -> Verdict:
        wanted = (verdict.kind, verdict.id)
        match verdict:
            case SucceededData() if contended := self._known(wanted, now):
                contended.changed(now)
            case ConflictData() if verdict.retry.allowed:
                contended = self._known(wanted, now) or self._new(wanted, now)
                after_ms = max(round(contended.next_turn_s(now, verdict.retry.attempt) * 1000), RETRY_AFTER_MS)
                return verdict.model_copy(update={"retry": verdict.retry.model_copy(update={"after_ms": after_ms})})
        return verdict

    def _known(self, wanted: Wanted, now: float) -> ContendedRecord | None:
        contended = self._contended.get(wanted)
        return contended if contended and contended.waits(now) else None

    def _new(self, wanted: Wanted, now: float) -> ContendedRecord:
        if len(self._contended) >= self._records_max:
            self._contended = {
                record: contended for record, contended in self._contended.items() if contended.waits(now)
            }
        contended = self._contended[wanted] = ContendedRecord(now, now)
        return contended
