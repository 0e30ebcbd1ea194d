"""The ages of rows by their ids: how long a process has known that there are ids so high, by its monotonic clock."""

import time
from collections import deque
from collections.abc import Callable


class Ages:
    """Tells which ids have been there for an age, in seconds. Rows get rising ids, so no clock has to date them."""

    def __init__(self, age_s: float, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._age_s = age_s
        self._monotonic = monotonic
        self._seen: deque[tuple[float, int]] = deque()
        """When each newest id was seen first, but of those that are old enough only the last."""

    def up_to(self, newest: int) -> int:
        """Note the newest id that there is, and return the newest that has been there for the age; 0 if none has."""
        now_s = self._monotonic()
        if not self._seen or newest > self._seen[-1][1]:
            self._seen.append((now_s, newest))
        while len(self._seen) > 1 and self._seen[1][0] <= now_s - self._age_s:
            self._seen.popleft()
        since_s, oldest = self._seen[0]
        return oldest if since_s <= now_s - self._age_s else 0
