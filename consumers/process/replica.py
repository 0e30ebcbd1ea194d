"""A replica: the one place that builds pools, consumers and what watches over them, and that starts and ends them."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from datetime import timedelta
from functools import partial
from typing import Any

import structlog
from prometheus_client import CollectorRegistry

from genlock.consumers.amqp.session import Session
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.overlap import AT_ONCE
from genlock.consumers.health.activity import ProcessActivity
from genlock.consumers.health.monitor import Monitor, Status
from genlock.consumers.process.probes import Probes
from genlock.consumers.process.session_loop import SessionLoop
from genlock.consumers.process.starting import Starting
from genlock.consumers.process.stopping import Stop, StoppedError
from genlock.consumers.queries.direct_replies import DirectReplies
from genlock.service.database.poolers import PoolerError
from genlock.service.database.steady import SteadyClock
from genlock.service.database.transactions import DECIDING_PLANS, READING_PLANS, Pool, closing, open_pool
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Failpoint, ignore
from genlock.service.deciding.kind import Kinds
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.retention import Retention
from genlock.service.reading.reads import reads_of
from genlock.service.settings import Settings

SHARED_CONNECTIONS = 5
"""For confirmations, the sweep, retention, two held commands, and for moments the outbox and waiting messages. Each
consumer has one more for each of its batches."""

log = structlog.get_logger()


class UnrecoverableError(Exception):
    """The service cannot go on, and waiting does not help. The message is one clear sentence."""


class Service:
    """A replica. `ready` is set while its consumers are registered."""

    def __init__(self, settings: Settings, failpoint: Failpoint = ignore, kinds: Kinds = KINDS) -> None:
        self.ready = asyncio.Event()
        self._settings = settings
        self._failpoint = failpoint
        self._kinds = kinds
        self._stop = Stop()
        self._activity = ProcessActivity(Topology.of(settings, kinds.exchanges).command_queues)
        self._steady = SteadyClock(stepped=self._activity.metrics.clock_stepped)
        self._replies = DirectReplies(settings, self._activity.metrics)
        self._monitor: Monitor | None = None
        self._probes: Probes | None = None
        self._refusal: PoolerError | None = None

    @property
    def status(self) -> Status:
        """What this replica says of itself."""
        return self._monitor.status if self._monitor else Status()

    @property
    def registry(self) -> CollectorRegistry:
        """The registry of its metrics."""
        return self._activity.metrics.registry

    @property
    def session(self) -> Session | None:
        """The session with the broker that its consumers work in; None between two."""
        return self._probes.session if self._probes else None

    @property
    def stopping(self) -> bool:
        """Tell whether `stop` was called."""
        return self._stop.requested

    def stop(self) -> None:
        """Settle the held messages, then let `run` return."""
        self._stop.request()

    async def run(self) -> None:
        """Serve until `stop`. Raises StartError if the servers cannot be used in time; later outages are waited out.

        Raises UnrecoverableError if a later connection leads to a pooler that keeps no sessions. Settles the held
        messages first if it can.
        """
        starting = Starting(self._settings, self._stop, self._kinds.exchanges)
        with contextlib.suppress(StoppedError):
            identity = await starting.check_database()
            async with (
                closing(await starting.open_pool(partial(self._open_deciding, identity))) as deciding,
                closing(await starting.open_pool(partial(self._open_reading, identity))) as reading,
            ):
                await starting.check_broker(identity)
                await self._serve(deciding, reading, identity)
        if self._refusal:
            raise UnrecoverableError(str(self._refusal)) from self._refusal
        log.info("stopped", action="stop")

    async def _serve(self, deciding: Pool, reading: Pool, identity: str) -> None:
        """Consume, with what watches over it and cleans up beside it."""
        settings, retention = self._settings, timedelta(days=self._settings.ledger_retention_days)
        self._probes = probes = Probes(settings, self._activity, reading, self._steady)
        self._monitor = monitor = Monitor(
            self._activity,
            unconfirmed=probes.count_unconfirmed,
            waiting=probes.count_waiting,
            committing=probes.commit,
            progress_timeout_s=settings.progress_timeout_s,
            starved=probes.give_up_session,
        )
        decider, resumer = (
            Decider(
                deciding,
                self._kinds,
                source=settings.source,
                retention=retention,
                timeout_s=settings.decide_timeout_s,
                steady=self._steady,
                failpoint=failpoint,
                heed_held=heed_held,
            )
            for failpoint, heed_held in ((self._failpoint, True), (ignore, False))
        )
        sessions = SessionLoop(
            settings,
            self._activity,
            decider=decider,
            resumer=resumer,
            deciding=deciding,
            reading=reading,
            reads=reads_of(self._kinds),
            replies=self._replies,
            monitor=monitor,
            probes=probes,
            identity=identity,
            ready=self.ready,
            stop=self._stop,
            failpoint=self._failpoint,
        )
        purging = Retention(deciding, retention, settings.decide_timeout_s, steady=self._steady)
        async with _beside(monitor.run()), _beside(purging.run()), self._replies.running():
            await sessions.run()

    async def _open_deciding(self, identity: str) -> Pool:
        size = len(self._activity.queues) * AT_ONCE + SHARED_CONNECTIONS
        return await self._open_pool(size, DECIDING_PLANS, identity)

    async def _open_reading(self, identity: str) -> Pool:
        return await self._open_pool(self._settings.read_connections, READING_PLANS, identity)

    async def _open_pool(self, size: int, plans: dict[str, str], identity: str) -> Pool:
        url = self._settings.database
        timeout_s = self._settings.decide_timeout_s
        return await open_pool(
            url, size=size, timeout_s=timeout_s, plans=plans, refused=self._refuse, identity=identity
        )

    def _refuse(self, error: PoolerError) -> None:
        """End: no pause mends a wrong setting. Other replicas get the held messages."""
        if self._refusal is None:
            self._refusal = error
            log.error("database refused", action="refuse_database", why=str(error))
        self.stop()


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Work in a task of its own while the context lasts."""
    working = asyncio.create_task(work)
    try:
        yield
    finally:
        working.cancel()
