"""Crowds: how long the losers of a record that many want had better wait, so that they come back one after the other.

Losers who all wait equally long meet again, and all but one lose again. So each is given a turn of its own, one for
each change that the record is likely to see. A loser with more attempts than the crowd has on average gets a nearer
turn, so that none loses for ever; if all of them have many attempts, none gets a nearer one, or they would all come at
once. This is advice, kept in the memory of one process: a client that comes early, or to another process, is decided
all the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from genlock.schemas.base import Kind
from genlock.schemas.outcomes import ConflictData, SucceededData, Verdict
from genlock.service.deciding.verdicts import RETRY_AFTER_MS

PACE_FIRST_S = 0.01
"""How long a change is taken to take before it is known: about what a client needs to read, to send and to be told."""
PACE_MIN_S, PACE_MAX_S = 0.005, 1.0
WEIGHT = 0.2
"""How much of the pace the last change tells, and of the usual number of attempts the last loser."""

WAIT_MAX_S = 2.0

LINGER_S = 1.0
"""How long after its last turn a crowd is remembered: those who come late and lose belong to it."""

CROWDS_MAX = 10_000
"""How many may be remembered before those are dropped in which nobody waits any more."""

Wanted = tuple[Kind | None, str | None]
"""A record's kind and id."""


@dataclass(slots=True)
class Crowd:
    """Those who wait for a record. Moments are in seconds, on a clock that only goes forward."""

    taken_until: float
    changed_at: float
    pace_s: float = PACE_FIRST_S
    """The time between two changes of the record, lately."""
    attempts: float = 1.0
    """How many attempts its losers have had, on average, lately."""

    def waits(self, now: float) -> bool:
        """Tell whether somebody may still come."""
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


class Crowds:
    """All crowds that this process has turned away."""

    def __init__(self) -> None:
        self._crowds: dict[Wanted, Crowd] = {}

    def advise(self, verdicts: Sequence[Verdict], now: float) -> list[Verdict]:
        """The verdicts of a batch, with a turn for each conflict that may be tried again."""
        return [self._advised(verdict, now) for verdict in verdicts]

    def _advised(self, verdict: Verdict, now: float) -> Verdict:
        wanted = (verdict.kind, verdict.id)
        match verdict:
            case SucceededData() if crowd := self._known(wanted, now):
                crowd.changed(now)
            case ConflictData() if verdict.retry.allowed:
                crowd = self._known(wanted, now) or self._new(wanted, now)
                after_ms = max(round(crowd.next_turn_s(now, verdict.retry.attempt) * 1000), RETRY_AFTER_MS)
                return verdict.model_copy(update={"retry": verdict.retry.model_copy(update={"after_ms": after_ms})})
        return verdict

    def _known(self, wanted: Wanted, now: float) -> Crowd | None:
        crowd = self._crowds.get(wanted)
        return crowd if crowd and crowd.waits(now) else None

    def _new(self, wanted: Wanted, now: float) -> Crowd:
        if len(self._crowds) >= CROWDS_MAX:
            self._crowds = {record: crowd for record, crowd in self._crowds.items() if crowd.waits(now)}
        crowd = self._crowds[wanted] = Crowd(now, now)
        return crowd
