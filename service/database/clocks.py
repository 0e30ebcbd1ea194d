"""Two clocks, this machine's and the database's: what depends on how old something is trusts neither of them alone."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from genlock.schemas.values import value
from genlock.service.database.connecting import LoneConnection, looking
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Connection, DatabaseTroubleError

APART_MAX = timedelta(seconds=60)
"""How far the clocks may be apart. Machines that ask a time server differ by milliseconds."""

Clock = Callable[[], datetime]


def now() -> datetime:
    """Tell the time by the clock of this machine."""
    return datetime.now(UTC)


class WrongClockError(Exception):
    """The clocks are so far apart that a replica must not start; the message says how far, and what to do."""


class ClocksDifferError(DatabaseTroubleError):
    """Commands are too old by one of the clocks alone: hold them until the clocks agree."""

    def __init__(self, command_ids: frozenset[str], clocks: "Clocks") -> None:
        super().__init__(clocks.difference)
        self.command_ids = command_ids


@value
class Clocks:
    """What both clocks said: the database's, and this machine's before and after it was asked."""

    before: datetime
    database: datetime
    after: datetime

    @property
    def ahead_s(self) -> float:
        """By how many seconds at least this machine is ahead of the database; negative if it is behind.

        0 where the difference is less than what the question took.
        """
        if self.before > self.database:
            return (self.before - self.database).total_seconds()
        return min(0.0, (self.after - self.database).total_seconds())

    @property
    def agree(self) -> bool:
        """Tell whether they may be less apart than they must be."""
        return abs(self.ahead_s) <= APART_MAX.total_seconds()

    @property
    def earlier(self) -> datetime:
        """The time by the clock that is behind."""
        return min(self.before, self.database)

    @property
    def later(self) -> datetime:
        """The time by the clock that is ahead."""
        return max(self.after, self.database)

    @property
    def difference(self) -> str:
        """How far they are apart, in words."""
        way = "ahead of" if self.ahead_s > 0 else "behind"
        apart = timedelta(seconds=round(abs(self.ahead_s)))
        return f"the clock of this machine is {apart} ({abs(self.ahead_s):.0f} s) {way} that of the database"


async def compare(connection: Connection | LoneConnection, clock: Clock = now) -> Clocks:
    """Ask the database for its time."""
    before = clock()
    database: datetime = await connection.fetchval(statement("tell_time"))
    return Clocks(before, database, clock())


async def check_clocks(database_url: str, clock: Clock = now) -> None:
    """Refuse clocks that are too far apart. Raises WrongClockError, and asyncpg's errors."""
    async with looking(database_url) as connection:
        clocks = await compare(connection, clock)
    if not clocks.agree:
        raise WrongClockError(
            f"{clocks.difference.capitalize()}, and may be {APART_MAX.total_seconds():.0f} s: set the wrong one right, "
            "and let a time server keep both."
        )
