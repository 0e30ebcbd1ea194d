"""The session loop: the consumers work in one session with the broker after another, through outages, until the end."""

import asyncio
import contextlib
from collections.abc import Container, Mapping, Sequence
from random import SystemRandom

import structlog

from genlock.consumers.amqp.declare import TopologyError
from genlock.consumers.amqp.session import BROKER_ERRORS, Session, SessionLostError, open_session
from genlock.consumers.amqp.topology import CommandQueue
from genlock.consumers.backoff import growing_pauses
from genlock.consumers.commands.consumer import CommandConsumer
from genlock.consumers.commands.refusals import Refusals
from genlock.consumers.commands.resuming import Resuming
from genlock.consumers.commands.sweep import Sweep
from genlock.consumers.health.activity import ProcessActivity
from genlock.consumers.health.monitor import Monitor
from genlock.consumers.process.probes import Probes
from genlock.consumers.process.stopping import Stop
from genlock.consumers.queries.consumer import QueryConsumer
from genlock.consumers.queries.direct_replies import DirectReplies
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Failpoint, ignore
from genlock.service.ledger.ages import Ages
from genlock.service.ledger.held import HeldTable
from genlock.service.ledger.outbox import Outbox
from genlock.service.ledger.waiting import WaitingTable
from genlock.service.reading.answers import Read
from genlock.service.settings import Settings

STEPS_OF_A_START = 3
"""How often a consumer that starts asks the broker for something: two channels, and to be registered."""

RENEWAL_POLL_S = 0.1

log = structlog.get_logger()


class SessionLoop:
    """Consumes within one session after another. `ready` is set while all consumers are registered."""

    def __init__(
        self,
        settings: Settings,
        activity: ProcessActivity,
        *,
        decider: Decider,
        resumer: Decider,
        deciding: Pool,
        reading: Pool,
        reads: Mapping[str, Read],
        replies: DirectReplies,
        monitor: Monitor,
        probes: Probes,
        identity: str,
        ready: asyncio.Event,
        stop: Stop,
        failpoint: Failpoint = ignore,
    ) -> None:
        self._settings = settings
        self._activity = activity
        self._queues = activity.queues
        self._decider = decider
        self._resumer = resumer
        self._deciding = deciding
        self._reading = reading
        self._reads = reads
        self._replies = replies
        self._monitor = monitor
        self._probes = probes
        self._identity = identity
        self._ready = ready
        self._stop = stop
        self._failpoint = failpoint
        self._ages = Ages(settings.sweep_after_s)
        """Of batches, which outlive a session."""

    async def run(self) -> None:
        """Work until the end is requested."""
        pauses = growing_pauses(self._settings.retry_delay_max_s)
        cautious: set[CommandQueue] = set()
        while not self._stop.requested:
            pause_s = next(pauses)
            settled = {queue: self._activity.of(queue).batches for queue in self._queues}
            lost = True
            try:
                async with contextlib.AsyncExitStack() as opened:
                    with self._awaiting_broker():
                        session = await opened.enter_async_context(
                            open_session(
                                self._settings, exchanges=self._decider.kinds.exchanges, identity=self._identity
                            )
                        )
                    opened.enter_context(self._probes.within(session))
                    await self._work(session, cautious=cautious)
                lost = False
            except* (SessionLostError, TopologyError, *BROKER_ERRORS) as errors:
                log.warning(
                    "session lost", action="reconnect", why=_why(errors), held=self._activity.held, again_in_s=pause_s
                )
            except* Exception:
                # A fault of ours with one of the messages: the next session finds out which, and the others go on.
                log.exception("session failed", action="reconnect", again_in_s=pause_s)
            finally:
                self._ready.clear()
                self._activity.lost()
            # Each session that settles nothing brings what it holds nearer to the broker's delivery limit. So the next
            # one holds little, and begins later and later.
            cautious = {queue for queue in self._queues if lost and self._activity.of(queue).batches == settled[queue]}
            if len(cautious) < len(self._queues):
                pauses = growing_pauses(self._settings.retry_delay_max_s)
                pause_s = next(pauses) if lost else 0.0
            if lost:
                with self._activity.sessions.waiting(pause_s):
                    await self._stop.pause(pause_s)

    async def _work(self, session: Session, *, cautious: Container[CommandQueue]) -> None:
        """Consume within a session until it is lost, or until it is time to stop or to begin another one.

        Then everything is settled before it returns.
        """
        settings = self._settings
        outbox = Outbox(self._deciding, settings.decide_timeout_s, self._decider.kinds.messages)
        waiting = WaitingTable(self._deciding, settings.decide_timeout_s)
        refusals = Refusals(waiting, outbox, settings, self._failpoint)
        held = HeldTable(self._deciding, settings.decide_timeout_s, settings.retry_delay_max_s)
        resuming = Resuming(
            session,
            self._resumer,
            held,
            settings,
            self._activity.metrics,
            outbox=outbox,
            refusals=refusals,
            replies=self._replies,
            failpoint=self._failpoint,
        )
        sweep = Sweep(session, self._deciding, settings, outbox, refusals, ages=self._ages)
        share = settings.model_copy(update={"prefetch": max(1, settings.prefetch // len(self._queues))})
        consumers = [
            CommandConsumer(
                session,
                self._decider,
                share,
                self._activity.of(queue),
                outbox=outbox,
                held=held,
                refusals=refusals,
                replies=self._replies,
                failpoint=self._failpoint,
                queue=queue,
                cautious=queue in cautious,
            )
            for queue in self._queues
        ]
        queries = QueryConsumer(
            session,
            self._reading,
            self._reads,
            settings=settings,
            metrics=self._activity.metrics,
            replies=self._replies,
        )
        aside = (session.wait_lost(), sweep.run(), refusals.run(), resuming.run())
        try:
            async with asyncio.TaskGroup() as group:
                beside = [group.create_task(work) for work in aside]
                for start in (*(consumer.start for consumer in consumers), queries.start):
                    with self._awaiting_broker():
                        await start()
                consuming = [group.create_task(consumer.run()) for consumer in consumers]
                self._activity.in_session = True
                self._ready.set()
                await self._monitor.look()
                log.info("ready", action="ready", namespace=settings.namespace)
                await self._until_renewal()
                await self._settle(consumers, queries, consuming)
                for task in beside:
                    task.cancel()
        finally:
            await self._decider.suspects.withdraw_attempts()

    def _awaiting_broker(self) -> contextlib.AbstractContextManager[None]:
        """Tell the monitor that a session waits for the broker to answer its first requests."""
        return self._activity.sessions.waiting(STEPS_OF_A_START * self._settings.publish_timeout_s)

    async def _until_renewal(self) -> None:
        """Wait until the end is requested, or until the session is old and nothing keeps it from being settled.

        When a queue gets another leader, RabbitMQ at times forgets that it has not delivered a message. It gives the
        message back only when the channel is closed (rabbitmq-server issue 15473). Replicas do not renew their sessions
        all at once.

        Messages that a session holds when it ends are at risk too (docs/production.md, "What a broker forgets"). So an
        old session waits until it holds nothing, at most for as long again as it has lasted.
        """
        await self._stop.pause(self._settings.session_s * SystemRandom().uniform(1, 1.5))
        loop = asyncio.get_running_loop()
        busy_until = loop.time() + self._settings.session_s
        while not self._stop.requested and (
            self._monitor.status.unready or (self._activity.held and loop.time() < busy_until)
        ):
            await self._stop.pause(RENEWAL_POLL_S)

    async def _settle(
        self, consumers: Sequence[CommandConsumer], queries: QueryConsumer, consuming: Sequence[asyncio.Task[None]]
    ) -> None:
        """Take nothing more, and settle the held messages within the time for a shutdown."""
        log.info("settling", action="settle")
        try:
            async with asyncio.timeout(self._settings.shutdown_timeout_s):
                for consumer in consumers:
                    await consumer.stop()
                await queries.stop()
                await asyncio.gather(*consuming)
        except TimeoutError:
            log.warning("not settled in time; the broker delivers it again", action="settle", held=self._activity.held)
            for task in consuming:
                task.cancel()


def _why(errors: BaseExceptionGroup[BaseException]) -> str:
    inner = errors.exceptions[0]
    return _why(inner) if isinstance(inner, BaseExceptionGroup) else str(inner) or type(inner).__name__
