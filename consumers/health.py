"""Health: whether this process can work, and whether it does.

Ready: PostgreSQL and the broker answer, the consumer is registered, and nothing that is held is too old. An idle
service is ready. Live: fails only for what a restart mends, a part of this process that has something to do, waits for
no server, and does nothing. Whatever is wrong with a server is no reason to restart anything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic

import structlog

from genlock.consumers.metrics import Hot
from genlock.consumers.session import SessionLostError
from genlock.consumers.vitals import ProcessVitals

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
    clock_skew_s: float = 0.0
    """By how much this machine is ahead of the database."""


Check = Callable[[], Awaitable[int]]
"""Asks a server something that tells a number: it raises if the server does not answer."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """What a server told, or the complaint that it did not; `session_lost` where it could not even be asked."""

    number: int = 0
    complaints: tuple[str, ...] = ()
    session_lost: bool = False


class Monitor:
    """Looks after one process, and keeps its last status.

    `starved` is called where messages have waited for too long and the broker has brought none: a new session brings
    them, if anything does (docs/production.md, "What a broker forgets"), and a restart would do no more.
    """

    def __init__(
        self,
        vitals: ProcessVitals,
        *,
        unconfirmed: Check,
        waiting: Check,
        committing: Check,
        progress_timeout_s: float,
        starved: Callable[[str], None] = lambda _why: None,
    ) -> None:
        self._status = Status()
        self._vitals = vitals
        self._unconfirmed = unconfirmed
        self._waiting = waiting
        self._committing = committing
        self._timeout_s = progress_timeout_s
        self._starved = starved
        self._checked_at = monotonic()
        self._stuck_s = 0.0
        """For how long every check has found a part of the process stuck, in seconds during which checks were made."""
        self._hungry: tuple[float, int] | None = None
        """Since when messages wait and nothing is held, and how many deliveries there had been by then."""

    @property
    def status(self) -> Status:
        """The last status; a process whose checks do not end is stuck itself."""
        late_s = monotonic() - self._checked_at
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
        """Check, and keep what was found."""
        try:
            status = await self.check()
        except Exception:
            # Without a check after this one nothing would be noticed any more.
            log.exception("check failed", action="check")
            return
        if status.dead and not self._status.dead:
            log.error("stuck", action="check", why=status.dead[0], held=self._vitals.held)
        self._status = status

    async def check(self) -> Status:
        """Ask both servers, and judge."""
        database, broker = await asyncio.gather(
            self._ask(self._unconfirmed, "PostgreSQL does not answer"),
            self._ask(self._waiting, "the broker does not answer"),
        )
        unready = [*database.complaints, *broker.complaints, *self._own_complaints()]
        if self._vitals.held_s() > CHECK_EVERY_S:
            # A primary whose synchronous standby is away answers reads, and no COMMIT.
            unready += (await self._ask(self._committing, "PostgreSQL does not commit")).complaints
        if reason := self._starvation(broker.number):
            unready.append(reason)
        outage = bool(database.complaints or (broker.complaints and not broker.session_lost))
        dead = self._dead(outage=outage, session_usable=not broker.session_lost)
        skew_s = self._vitals.clocks.ahead_s if self._vitals.clocks else 0.0
        hottest = self._vitals.metrics.hottest()
        return Status(unready, dead, database.number, self._vitals.lanes, hottest, skew_s)

    def _own_complaints(self) -> list[str]:
        vitals, complaints = self._vitals, []
        if not vitals.registered:
            complaints.append("a consumer is not registered")
        if vitals.clocks and not vitals.clocks.agree:
            complaints.append(vitals.clocks.difference)
        trouble_s, why = vitals.trouble() or (0.0, "")
        if trouble_s > CHECK_EVERY_S:
            complaints.append(f"PostgreSQL cannot decide what is held: {why}")
        if vitals.held_s() > self._timeout_s:
            complaints.append(f"a delivery is held for {vitals.held_s():.0f} s")
        if vitals.publishing_s() > self._timeout_s:
            complaints.append(f"the broker has not taken outcomes for {vitals.publishing_s():.0f} s")
        return complaints

    def _dead(self, *, outage: bool, session_usable: bool) -> list[str]:
        """Judge whether a part of the process has been stuck for too long.

        At every check, so that a process that was stopped for a while and goes on is not taken for one that is stuck.
        """
        now = monotonic()
        since_s = min(now - self._checked_at, 2 * CHECK_EVERY_S)
        self._checked_at = now
        stuck_s = 0.0 if outage else self._vitals.stuck_s(session_usable=session_usable)
        self._stuck_s = self._stuck_s + since_s if stuck_s > CHECK_EVERY_S else 0.0
        if min(self._stuck_s, stuck_s) < self._timeout_s:
            return []
        return [f"nothing has moved for {stuck_s:.0f} s, though there is work and no server is waited for"]

    def _starvation(self, waiting: int) -> str | None:
        """Say so, and ask for another session, where messages wait for this process and none is brought."""
        if not waiting or self._vitals.held or not self._vitals.registered:
            self._hungry = None
            return None
        now, brought = monotonic(), self._vitals.brought
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
        except Exception as error:  # noqa: BLE001 - whatever it is, the server did not answer
            log.debug("no answer", action="check", complaint=complaint, why=repr(error))
            return _Asked(complaints=(complaint,), session_lost=isinstance(error, SessionLostError))
