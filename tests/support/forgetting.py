"""Retention without its precautions: every age counts as seen, and expired rows are purged at once."""

from datetime import UTC, datetime, timedelta
from itertools import count

from genlock.service.database.clocks import Clocks
from genlock.service.ledger.horizon import Horizon

LONG_S = 10**10
"""The seconds that pass between two passes by the clock of such a horizon."""


def at_once(retention: timedelta) -> Horizon:
    """Return a horizon that has seen every age pass, and makes no pauses."""
    horizon = Horizon(retention, seen_s=0, monotonic=count(0, LONG_S).__next__)
    now = datetime.now(UTC)
    horizon.of(Clocks(now, now, now), now - timedelta(days=10_000))
    return horizon
