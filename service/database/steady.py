"""The database's clock as this machine's monotonic clock continues it: a witness that nothing can set.

It starts at the time that the database tells first, goes on with the monotonic clock, and follows what the database
tells later only slowly: as far as clocks that are right may drift. So a clock of the database that is set, or that
another server has after a failover, is told from one that goes.
"""

import time
from collections.abc import Callable
from datetime import datetime

import structlog

DRIFT_MAX = 0.01
"""How fast it follows the database's clock, in seconds a second. An unattended quartz drifts by a hundredth of that."""

STEP_S = 60.0
"""From which distance on the database's clock counts as set, in seconds. Time servers set clocks by less."""

log = structlog.get_logger()


class SteadyClock:
    """Compares what the database tells with what the monotonic clock makes of it. One for a process.

    `monotonic` tells seconds. `stepped` is called when the database's clock turns out to be set.
    """

    def __init__(
        self, monotonic: Callable[[], float] = time.monotonic, stepped: Callable[[], None] = lambda: None
    ) -> None:
        self.monotonic = monotonic
        self._stepped = stepped
        self._ahead_s: float | None = None
        """By how much the database's clock is ahead of the monotonic one, as far as it is followed."""
        self._noted_s = 0.0
        self._away = False

    def note(self, asked_s: float, told: datetime) -> float:
        """Note what the database told just now, asked at `asked_s` of the monotonic clock.

        Returns by how many seconds its clock is away from where it would be if it had not been set: more than 0 if it
        was put forward, and 0 where the duration of the question explains the difference.
        """
        answered_s, told_s = self.monotonic(), told.timestamp()
        least_s, most_s = told_s - answered_s, told_s - asked_s
        if self._ahead_s is None:
            self._ahead_s, self._noted_s = (least_s + most_s) / 2, answered_s
        distance_s = max(least_s - self._ahead_s, 0.0) or min(most_s - self._ahead_s, 0.0)
        drift_s = max(answered_s - self._noted_s, 0.0) * DRIFT_MAX
        followed_s = max(-drift_s, min(distance_s, drift_s))
        self._ahead_s += followed_s
        self._noted_s = answered_s
        away_s = distance_s - followed_s
        self._tell(away_s)
        return away_s

    def _tell(self, away_s: float) -> None:
        """Log where the database's clock turns out to be set, and where it is right again."""
        away = abs(away_s) > STEP_S
        if away and not self._away:
            log.error("the database's clock was set", action="clock", by_s=round(away_s))
            self._stepped()
        elif self._away and not away:
            log.info("the database's clock goes as before", action="clock")
        self._away = away
