"""Health: whether this process can work, and whether it does.

Ready: PostgreSQL and the broker answer, the consumer is registered, and nothing that is held is too old. An idle
service is ready. Live: fails only when messages wait and nothing moves although PostgreSQL and the broker answer;
an outage is no reason to restart anything.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic

import structlog

from genlock.consumers.metrics import Hot
from genlock.consumers.vitals import ProcessVitals

CHECK_EVERY_S = 1.0

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Status:
    """What one process says of itself. `unready` and `dead` hold the reasons; empty is well."""

    unready: list[str] = field(default_factory=lambda: ["starting"])
    dead: list[str] = field(default_factory=list)
    unconfirmed: int = 0
    lanes: list[str] = field(default_factory=list)
    hottest: list[Hot] = field(default_factory=list)


Check = Callable[[], Awaitable[int]]
"""Asks a server something that tells a number: it raises if the server does not answer."""


class Monitor:
    """Looks after one process, and keeps its last status."""

    def __init__(
        self,
        vitals: ProcessVitals,
        *,
        unconfirmed: Check,
        waiting: Check,
        committing: Check,
        progress_timeout_s: float,
    ) -> None:
        self.status = Status()
        self._vitals = vitals
        self._unconfirmed = unconfirmed
        self._waiting = waiting
        self._committing = committing
        self._timeout_s = progress_timeout_s
        self._work_since: float | None = None
        """Since when there has been work at every check, and servers to do it with."""

    async def run(self) -> None:
        """Check until cancelled."""
        while True:
            self.status = await self.check()
            await asyncio.sleep(CHECK_EVERY_S)

    async def check(self) -> Status:
        """Ask both servers, and judge."""
        (unconfirmed, no_database), (waiting, no_broker) = await asyncio.gather(
            self._ask(self._unconfirmed, "PostgreSQL does not answer"),
            self._ask(self._waiting, "the broker does not answer"),
        )
        if self._vitals.held_s() > CHECK_EVERY_S:
            # A primary whose synchronous standby is away answers reads, and no COMMIT.
            _, no_commit = await self._ask(self._committing, "PostgreSQL does not commit")
            no_database += no_commit
        unready = [*no_database, *no_broker]
        if not self._vitals.registered:
            unready.append("a consumer is not registered")
        if self._vitals.held_s() > self._timeout_s:
            unready.append(f"a delivery is held for {self._vitals.held_s():.0f} s")
        if self._vitals.publishing_s() > self._timeout_s:
            unready.append(f"the broker has not taken outcomes for {self._vitals.publishing_s():.0f} s")
        work = bool(waiting or self._vitals.held_s())
        dead = self._dead(work=work, servers_answer=not no_database and not no_broker)
        return Status(unready, dead, unconfirmed, self._vitals.lanes, self._vitals.metrics.hottest())

    def _dead(self, *, work: bool, servers_answer: bool) -> list[str]:
        """Judge whether there has been work for too long, and servers to do it with, and nothing has moved."""
        # A broker that does not take what it is given, or a subscriber's queue that is full, is an outage too.
        servers_work = servers_answer and self._vitals.publishing_s() <= CHECK_EVERY_S
        if not servers_work or not work:
            self._work_since = None
            return []
        self._work_since = self._work_since or monotonic()
        if min(monotonic() - self._work_since, self._vitals.still_s()) < self._timeout_s:
            return []
        return ["messages wait and nothing moves, although PostgreSQL and the broker answer"]

    async def _ask(self, check: Check, complaint: str) -> tuple[int, list[str]]:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await check(), []
        except Exception as error:  # noqa: BLE001 - whatever it is, the server did not answer
            log.debug("no answer", action="check", complaint=complaint, why=repr(error))
            return 0, [complaint]
