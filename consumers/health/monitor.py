"""Health: whether this process can work, and whether it does.

Ready: PostgreSQL and the broker answer, the consumers are registered, and no held delivery is too old. An idle service
is ready. Live: fails only if a restart helps: a part of this process has work, waits for no server, and does
nothing. A faulty server is no reason to restart this process.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from genlock.consumers.amqp.session import SessionLostError
from genlock.consumers.health.activity import ProcessActivity
from genlock.consumers.health.metrics import Hot
from genlock.service.database.identity import OtherDatabaseError

CHECK_EVERY_S = 1.0

CHECKS_LATE = 4
"""After how many times the time for an answer a check is given up as stuck: it asks once or twice for one."""

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Status:
    """What one process says of itself. `unready` and `dead` hold the reasons; empty is well."""

    unready: list[str] = field(default_factory=lambda: ["starting"])
    dead: list[str] = field(default_factory=list)
    unconfirmed: int = 0
    lanes: list[str] = field(default_factory=list)
    hottest: list[Hot] = field(default_factory=list)
    waiting: int = 0
    """How many messages wait for a queue to take them."""
    clock_skew_s: float = 0.0
    """By how much this machine is ahead of the database."""
    clock_step_s: float = 0.0
    """By how much the database's clock was set."""
    held: int = 0
    """How many commands the database holds."""
    held_s: float = 0.0
    """For how many seconds the oldest of them has been held."""


Check = Callable[[], Awaitable[int]]
"""Asks a server something that tells a number: it raises if the server does not answer."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """The number that a server answered, or complaints if it did not; `session_lost` if it could not even be asked."""

    number: int = 0
    complaints: tuple[str, ...] = ()
    session_lost: bool = False


class Monitor:
    """Checks one process, and keeps its last status.

    `starved` is called when messages have waited for too long and the broker has delivered none. A new session brings
    them, if anything does (docs/production.md, "What a broker forgets"); a restart would do no more.
    """

    def __init__(
        self,
        activity: ProcessActivity,
        *,
        unconfirmed: Check,
        waiting: Check,
        committing: Check,
        progress_timeout_s: float,
        starved: Callable[[str], None] = lambda _why: None,
    ) -> None:
        self._status = Status()
        self._activity = activity
        self._unconfirmed = unconfirmed
        self._waiting = waiting
        self._committing = committing
        self._timeout_s = progress_timeout_s
        self._starved = starved
        self._checked_at = self._activity.clock()
        self._stuck_s: float | None = None
        """For how long every check has found a part of the process stuck, in seconds during which checks were made.

        It is 0 at the first of these checks, and None if the last check found no part stuck."""
        self._hungry: tuple[float, int] | None = None
        """Since when messages wait and nothing is held, and how many deliveries there had been by then."""

    @property
    def status(self) -> Status:
        """The last status; a process whose checks do not end is stuck itself."""
        late_s = self._activity.clock() - self._checked_at
        if late_s < CHECKS_LATE * (self._timeout_s + CHECK_EVERY_S):
            return self._status
        why = f"no check of the health has ended for {late_s:.0f} s"
        return Status([why], [why])

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(CHECK_EVERY_S)

    async def look(self) -> None:
        """Check, and keep the status."""
        try:
            status = await self.check()
        except Exception:
            # Without a check after this one nothing would be noticed any more.
            log.exception("check failed", action="check")
            return
        if status.dead and not self._status.dead:
            log.error("stuck", action="check", why=status.dead[0], held=self._activity.held)
        self._status = status

    async def check(self) -> Status:
        """Ask both servers, and judge."""
        database, broker = await asyncio.gather(
            self._ask(self._unconfirmed, "PostgreSQL does not answer"),
            self._ask(self._waiting, "the broker does not answer"),
        )
        unready = [*database.complaints, *broker.complaints, *self._own_complaints()]
        if self._activity.held_s() > CHECK_EVERY_S:
            # A primary whose synchronous standby is away answers reads, and no COMMIT.
            unready += (await self._ask(self._committing, "PostgreSQL does not commit")).complaints
        if reason := self._starvation(broker.number):
            unready.append(reason)
        outage = bool(database.complaints or (broker.complaints and not broker.session_lost))
        dead = self._dead(outage=outage, session_usable=not broker.session_lost)
        clocks = self._activity.clocks
        skew_s, step_s = (clocks.ahead_s, clocks.stepped_s) if clocks else (0.0, 0.0)
        hottest = self._activity.metrics.hottest()
        waiting, held = self._activity.waiting, self._activity.held_in_database
        return Status(unready, dead, database.number, self._activity.lanes, hottest, waiting, skew_s, step_s, *held)

    def _own_complaints(self) -> list[str]:
        activity, complaints = self._activity, []
        if not activity.registered:
            complaints.append("a consumer is not registered")
        if activity.clocks and not activity.clocks.agree:
            complaints.append(activity.clocks.difference)
        trouble_s, why = activity.trouble() or (0.0, "")
        if trouble_s > CHECK_EVERY_S:
            complaints.append(f"PostgreSQL cannot decide the held commands: {why}")
        if activity.held_s() > self._timeout_s:
            complaints.append(f"a delivery is held for {activity.held_s():.0f} s")
        if activity.publishing_s() > self._timeout_s:
            complaints.append(f"the broker has not taken outcomes for {activity.publishing_s():.0f} s")
        return complaints

    def _dead(self, *, outage: bool, session_usable: bool) -> list[str]:
        """Judge whether a part of the process has been stuck for too long.

        At every check, so that a process that was stopped for a while and goes on is not taken for one that is stuck.
        """
        now = self._activity.clock()
        since_s = min(now - self._checked_at, 2 * CHECK_EVERY_S)
        self._checked_at = now
        stuck_s = 0.0 if outage else self._activity.stuck_s(session_usable=session_usable)
        if stuck_s <= CHECK_EVERY_S:
            self._stuck_s = None
            return []
        # The time before the first such check does not count: perhaps the whole process stood still.
        self._stuck_s = 0.0 if self._stuck_s is None else self._stuck_s + since_s
        if min(self._stuck_s, stuck_s) < self._timeout_s:
            return []
        return [f"nothing has moved for {stuck_s:.0f} s, though there is work and no server is waited for"]

    def _starvation(self, waiting: int) -> str | None:
        """Ask for another session, and say why, if messages wait for this process and the broker delivers none."""
        if not waiting or self._activity.held or not self._activity.registered:
            self._hungry = None
            return None
        now, brought = self._activity.clock(), self._activity.brought
        if self._hungry is None or self._hungry[1] != brought:
            self._hungry = now, brought
        if now - self._hungry[0] < self._timeout_s:
            return None
        self._hungry = None
        why = f"messages wait, and the broker has brought none for {self._timeout_s:g} s"
        self._starved(why)
        return why

    async def _ask(self, check: Check, complaint: str) -> _Asked:
        try:
            async with asyncio.timeout(self._timeout_s):
                return _Asked(await check())
        except OtherDatabaseError as error:
            return _Asked(complaints=(str(error),))
        except Exception as error:  # noqa: BLE001 - whatever it is, the server did not answer
            log.debug("no answer", action="check", complaint=complaint, why=repr(error))
            return _Asked(complaints=(complaint,), session_lost=isinstance(error, SessionLostError))
