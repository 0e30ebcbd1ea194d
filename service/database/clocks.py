"""The clocks of this machine and of the database. Decisions about age rely on no clock alone.

There are three witnesses: both wall clocks, and the database's as this machine's monotonic clock continues it
(steady.py). The third tells that a clock was set where both were, as on one machine.
"""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from genlock.schemas.values import value
from genlock.service.database.connecting import LoneConnection, short_connection
from genlock.service.database.statements import statement
from genlock.service.database.steady import STEP_S, SteadyClock
from genlock.service.database.transactions import Connection, DatabaseTroubleError

APART_MAX = timedelta(seconds=60)
"""How far the clocks may be apart. Machines that use a time server differ by milliseconds."""

Clock = Callable[[], datetime]


def now() -> datetime:
    """Tell the time by the clock of this machine."""
    return datetime.now(UTC)


class WrongClockError(Exception):
    """The clocks differ too much for a replica to start. The message gives the difference and the remedy."""


class ClocksDifferError(DatabaseTroubleError):
    """Commands are expired by some of the clocks, and not by all: hold them until the clocks agree."""

    def __init__(self, command_ids: frozenset[str], clocks: "Clocks") -> None:
        super().__init__(clocks.difference)
        self.command_ids = command_ids


@value
class Clocks:
    """Readings of both clocks: the database's, and this machine's before and after that query.

    `stepped_s` is by how many seconds the database's has been set, as SteadyClock.note tells.
    """

    before: datetime
    database: datetime
    after: datetime
    stepped_s: float = 0.0

    @property
    def ahead_s(self) -> float:
        """The least number of seconds by which this machine is ahead of the database; negative if it is behind.

        0 if the difference is less than the duration of the query.
        """
        if self.before > self.database:
            return (self.before - self.database).total_seconds()
        return min(0.0, (self.after - self.database).total_seconds())

    @property
    def agree(self) -> bool:
        """Tell whether the clocks may differ by no more than APART_MAX."""
        return abs(self.ahead_s) <= APART_MAX.total_seconds()

    @property
    def trusted(self) -> bool:
        """Tell whether the clocks agree, and none of them was set."""
        return self.agree and abs(self.stepped_s) <= STEP_S

    @property
    def earliest(self) -> datetime:
        """The time that the slowest of the clocks tells."""
        return min(self.before, self.database, self._steady)

    @property
    def latest(self) -> datetime:
        """The time that the fastest of the clocks tells."""
        return max(self.after, self.database, self._steady)

    @property
    def _steady(self) -> datetime:
        return self.database - timedelta(seconds=self.stepped_s)

    @property
    def difference(self) -> str:
        """What differs, in words."""
        if self.agree and not self.trusted:
            way, by = "forward" if self.stepped_s > 0 else "back", timedelta(seconds=round(abs(self.stepped_s)))
            return f"the clock of the database was set {way} by {by} ({abs(self.stepped_s):.0f} s)"
        way = "ahead of" if self.ahead_s > 0 else "behind"
        apart = timedelta(seconds=round(abs(self.ahead_s)))
        return f"the clock of this machine is {apart} ({abs(self.ahead_s):.0f} s) {way} that of the database"


async def compare(
    connection: Connection | LoneConnection, clock: Clock = now, steady: SteadyClock | None = None
) -> Clocks:
    """Read both clocks; with `steady` tell whether the database's was set."""
    before, asked_s = clock(), steady.monotonic() if steady else 0.0
    database: datetime = await connection.fetchval(statement("read_clock"))
    return Clocks(before, database, clock(), steady.note(asked_s, database) if steady else 0.0)


async def check_clocks(database_url: str, clock: Clock = now) -> None:
    """Refuse clocks that are too far apart. Raises WrongClockError, and asyncpg's errors."""
    async with short_connection(database_url) as connection:
        clocks = await compare(connection, clock)
    if not clocks.agree:
        raise WrongClockError(
            f"{clocks.difference.capitalize()}, and may be {APART_MAX.total_seconds():.0f} s: set the wrong one right, "
            "and let a time server keep both."
        )
