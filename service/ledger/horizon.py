"""The horizon of the ledger: what was decided before it is forgotten.

It follows the clocks only as far as this process has seen time pass. An age counts that several passes have found, by
clocks that agreed in all of them, and the horizon goes no further in an hour than a bound. So a clock that jumps, even
together with all others, costs nothing if it is put right soon, and little for as long as it is wrong.
"""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from genlock.service.database.clocks import Clocks

SEEN_S = 300.0
"""For how long an age has to be found before it counts, in seconds of the monotonic clock."""

PACE = 4.0
"""How many hours of the ledger may be forgotten in an hour, at most. What is left behind is caught up with."""


class Horizon:
    """How far back the ledger may be forgotten. One for a process; `monotonic` tells seconds."""

    def __init__(
        self,
        retention: timedelta,
        *,
        seen_s: float = SEEN_S,
        pace: float = PACE,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._retention = retention
        self._seen_s = seen_s
        self._pace = pace
        self._monotonic = monotonic
        self._begun: tuple[float, float] | None = None
        """When the first pass was, and the time of the oldest batch by then, in seconds since 1970."""
        self._found: deque[tuple[float, float]] = deque()
        """When passes were, and before which time what was decided was past the retention by then."""

    def of(self, clocks: Clocks, oldest: datetime) -> datetime | None:
        """Before which time decisions are forgotten now; None as long as too little has been seen.

        `oldest` is the time of the oldest batch in the ledger.
        """
        now_s = self._monotonic()
        if self._begun is None:
            self._begun = now_s, oldest.timestamp()
        if not clocks.trusted:
            self._found.clear()
            return None
        self._found.append((now_s, (clocks.earliest - self._retention).timestamp()))
        # One pass is kept that is old enough, and all that came after it.
        while len(self._found) > 1 and self._found[1][0] <= now_s - self._seen_s:
            self._found.popleft()
        if self._found[0][0] > now_s - self._seen_s:
            return None
        begun_s, begun = self._begun
        before = min(begun + (now_s - begun_s) * self._pace, *(past for _, past in self._found))
        return datetime.fromtimestamp(before, UTC)
