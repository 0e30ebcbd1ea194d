"""A replica: one bootstrap that builds pools, session and consumers, and keeps them going through outages."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Container, Coroutine, Sequence
from datetime import timedelta
from random import SystemRandom
from typing import Any, TypeVar

import asyncpg
import structlog
from aio_pika.abc import AbstractChannel
from prometheus_client import CollectorRegistry

from genlock.consumers.abreast import AT_ONCE
from genlock.consumers.commands import CommandConsumer
from genlock.consumers.direct_replies import DirectReplies
from genlock.consumers.health import Monitor, Status
from genlock.consumers.queries import QueryConsumer
from genlock.consumers.session import BROKER_ERRORS, Session, SessionLostError, open_session
from genlock.consumers.sweep import Sweep
from genlock.consumers.topology import CommandQueue, Topology, TopologyError
from genlock.consumers.vitals import ProcessVitals
from genlock.service.database.clocks import WrongClockError, check_clocks, compare
from genlock.service.database.connecting import RefusedSettingError
from genlock.service.database.durability import UnsafeDatabaseError, check_safety
from genlock.service.database.lock_waits import LockedError
from genlock.service.database.migrate import SchemaError, check_schema
from genlock.service.database.sessions import PoolerError
from genlock.service.database.transactions import DECIDING_PLANS, READING_PLANS, Pool, await_standby, closing, open_pool
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Reached, ignore
from genlock.service.ledger import ledger
from genlock.service.ledger.retention import Upkeep
from genlock.service.settings import Settings

T = TypeVar("T")

SHARED_CONNECTIONS = 3
"""For confirmations, for the sweep, and for the upkeep. Beside them each consumer has one for each of its batches."""

RETRY_DELAY_FIRST_S = 0.1

STEPS_OF_A_START = 3
"""How often a consumer that starts asks the broker for something: two channels, and to be registered."""

RENEWAL_POLL_S = 0.1

CLEAN_UP_TIMEOUT_S = 1.0
"""How long a start that is given up may take to close what it has opened."""

DATABASE_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, LockedError)

log = structlog.get_logger()


class StartError(Exception):
    """The service cannot start; the message is one clear sentence."""


class RefusedError(Exception):
    """The service cannot go on, for no outage that would end by itself; the message is one clear sentence."""


class _StoppedError(Exception):
    """Somebody wants the end before the start was over."""


class Service:
    """A replica. `ready` is set while its consumers are registered."""

    def __init__(self, settings: Settings, reached: Reached = ignore) -> None:
        self.ready = asyncio.Event()
        self._settings = settings
        self._reached = reached
        self._stopping = asyncio.Event()
        self._queues = Topology.of(settings).command_queues
        self._vitals = ProcessVitals(self._queues)
        self._replies = DirectReplies(settings, self._vitals.metrics)
        self._monitor: Monitor | None = None
        self._session: Session | None = None
        self._refusal: PoolerError | None = None
        self._questions: AbstractChannel | None = None

    @property
    def status(self) -> Status:
        """What this replica says of itself."""
        return self._monitor.status if self._monitor else Status()

    @property
    def registry(self) -> CollectorRegistry:
        """The registry of its metrics."""
        return self._vitals.metrics.registry

    @property
    def stopping(self) -> bool:
        """Tell whether `stop` was called."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Settle what is held, then let `run` return."""
        self._stopping.set()

    async def run(self) -> None:
        """Serve until `stop`. Raises StartError if the servers cannot be used in time; later outages are waited out.

        Raises RefusedError where a connection of later leads to a pooler that keeps no sessions, once all is settled
        that can be.
        """
        with contextlib.suppress(_StoppedError):
            await self._start("PostgreSQL", DATABASE_ERRORS, self._check_database)
            async with (
                closing(await self._start("PostgreSQL", DATABASE_ERRORS, self._open_deciding)) as deciding,
                closing(await self._start("PostgreSQL", DATABASE_ERRORS, self._open_reading)) as reading,
            ):
                await self._start("RabbitMQ", BROKER_ERRORS, self._try_session)
                async with self._monitoring(reading), self._keeping_up(deciding), self._replies.running():
                    await self._serve(self._decider(deciding), deciding, reading)
        if self._refusal:
            raise RefusedError(str(self._refusal)) from self._refusal
        log.info("stopped", action="stop")

    @contextlib.asynccontextmanager
    async def _monitoring(self, reading: Pool) -> AsyncIterator[None]:
        self._monitor = Monitor(
            self._vitals,
            unconfirmed=lambda: self._look_at(reading),
            waiting=self._count_waiting,
            committing=lambda: self._commit(reading),
            progress_timeout_s=self._settings.progress_timeout_s,
            starved=self._begin_anew,
        )
        monitoring = asyncio.create_task(self._monitor.run())
        try:
            yield
        finally:
            monitoring.cancel()

    @contextlib.asynccontextmanager
    async def _keeping_up(self, pool: Pool) -> AsyncIterator[None]:
        upkeep = Upkeep(pool, self._retention, self._settings.decide_timeout_s)
        keeping_up = asyncio.create_task(upkeep.run())
        try:
            yield
        finally:
            keeping_up.cancel()

    @property
    def _retention(self) -> timedelta:
        return timedelta(days=self._settings.ledger_retention_days)

    def _decider(self, pool: Pool) -> Decider:
        return Decider(
            pool,
            source=self._settings.source,
            retention=self._retention,
            timeout_s=self._settings.decide_timeout_s,
            reached=self._reached,
        )

    async def _open_deciding(self) -> Pool:
        return await self._open_pool(len(self._queues) * AT_ONCE + SHARED_CONNECTIONS, DECIDING_PLANS)

    async def _open_reading(self) -> Pool:
        return await self._open_pool(self._settings.read_connections, READING_PLANS)

    async def _open_pool(self, size: int, plans: dict[str, str]) -> Pool:
        url = self._settings.database
        timeout_s = self._settings.decide_timeout_s
        return await open_pool(url, size=size, timeout_s=timeout_s, plans=plans, refused=self._refuse)

    def _refuse(self, error: PoolerError) -> None:
        """End: no pause mends a wrong setting, and what is held is given back to other replicas."""
        if self._refusal is None:
            self._refusal = error
            log.error("database refused", action="refuse_database", why=str(error))
        self.stop()

    async def _check_database(self) -> None:
        url = self._settings.database
        await check_safety(url, accept_unsafe=self._settings.accept_unsafe_database)
        await check_clocks(url)
        await check_schema(url)

    async def _serve(self, decider: Decider, deciding: Pool, reading: Pool) -> None:
        """Work in one session after another."""
        delay_s = RETRY_DELAY_FIRST_S
        cautious: set[CommandQueue] = set()
        while not self._stopping.is_set():
            settled = {queue: self._vitals.of(queue).batches for queue in self._queues}
            lost = True
            try:
                async with contextlib.AsyncExitStack() as opened:
                    with self._asking_broker():
                        session = await opened.enter_async_context(open_session(self._settings))
                    await self._work(session, decider, deciding, reading, cautious=cautious)
                lost = False
            except* (SessionLostError, TopologyError, *BROKER_ERRORS) as errors:
                log.warning(
                    "session lost", action="reconnect", why=_why(errors), held=self._vitals.held, again_in_s=delay_s
                )
            except* Exception:
                # A fault of ours with one of the messages: the next session finds out which, and the others go on.
                log.exception("session failed", action="reconnect", again_in_s=delay_s)
            finally:
                self.ready.clear()
                self._session = self._questions = None
                self._vitals.lost()
            if not lost:
                cautious, delay_s = set(), RETRY_DELAY_FIRST_S
                continue
            # A session that settles nothing costs what it holds one of the returns that the broker counts, so the next
            # one holds little, and begins later and later.
            cautious = {queue for queue in self._queues if self._vitals.of(queue).batches == settled[queue]}
            delay_s = delay_s if len(cautious) == len(self._queues) else RETRY_DELAY_FIRST_S
            with self._vitals.sessions.waiting(delay_s):
                await self._pause(delay_s)
            delay_s = min(2 * delay_s, self._settings.retry_delay_max_s)

    async def _work(
        self, session: Session, decider: Decider, deciding: Pool, reading: Pool, *, cautious: Container[CommandQueue]
    ) -> None:
        """Consume within a session until it is lost, or until it is time to stop or to begin another one.

        Then everything is settled before it returns.
        """
        settings = self._settings
        share = settings.model_copy(update={"prefetch": max(1, settings.prefetch // len(self._queues))})
        consumers = [
            CommandConsumer(
                session,
                decider,
                share,
                self._vitals.of(queue),
                replies=self._replies,
                reached=self._reached,
                queue=queue,
                cautious=queue in cautious,
            )
            for queue in self._queues
        ]
        queries = QueryConsumer(session, reading, settings, self._vitals.metrics, self._replies)
        self._session = session
        try:
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(session.wait_lost())
                sweeping = group.create_task(Sweep(session, deciding, settings).run())
                for start in (*(consumer.start for consumer in consumers), queries.start):
                    with self._asking_broker():
                        await start()
                consuming = [group.create_task(consumer.run()) for consumer in consumers]
                self._vitals.in_session = True
                self.ready.set()
                if self._monitor:
                    await self._monitor.look()
                log.info("ready", action="ready", namespace=settings.namespace)
                await self._until_renewal()
                await self._settle(consumers, queries, consuming)
                sweeping.cancel()
                watching.cancel()
        finally:
            await decider.suspects.withdraw_attempts()

    async def _until_renewal(self) -> None:
        """Wait for `stop`, or until the session has lasted for long enough and nothing keeps it from being settled.

        RabbitMQ forgets at times, when a queue gets another leader, that it has not delivered a message, and gives it
        back only when the channel is closed (rabbitmq-server issue 15473). Replicas do not leave all at once.

        What is held while the session ends is at risk too (docs/production.md, "What a broker forgets"), so a moment
        is waited for in which nothing is, for as long again.
        """
        await self._pause(self._settings.session_s * SystemRandom().uniform(1, 1.5))
        loop = asyncio.get_running_loop()
        busy_until = loop.time() + self._settings.session_s
        while not self.stopping and (self.status.unready or (self._vitals.held and loop.time() < busy_until)):
            await self._pause(RENEWAL_POLL_S)

    async def _settle(
        self, consumers: Sequence[CommandConsumer], queries: QueryConsumer, consuming: Sequence[asyncio.Task[None]]
    ) -> None:
        """Take nothing more, and settle what is held as far as the time for it goes."""
        log.info("settling", action="settle")
        try:
            async with asyncio.timeout(self._settings.shutdown_timeout_s):
                for consumer in consumers:
                    await consumer.stop()
                await queries.stop()
                await asyncio.gather(*consuming)
        except TimeoutError:
            log.warning("not settled in time; the broker delivers it again", action="settle", held=self._vitals.held)
            for task in consuming:
                task.cancel()

    async def _count_waiting(self) -> int:
        """Ask the broker how many messages wait for this process. Raises SessionLostError between two sessions.

        What waits in the lane of another process does not count, so that nobody is blamed for it.
        """
        if self._session is None or self._session.is_lost:
            raise SessionLostError("there is no connection to the broker")
        if self._questions is None or self._questions.is_closed:
            self._questions = await self._session.channel(vital=False)
        waiting = 0
        for queue in self._queues:
            if not queue.in_order or self._vitals.of(queue).active:
                asked = await self._questions.declare_queue(queue.name, passive=True)
                waiting += asked.declaration_result.message_count or 0
        return waiting

    def _asking_broker(self) -> contextlib.AbstractContextManager[None]:
        """Tell the monitor that a session begins, as far as the broker answers."""
        return self._vitals.sessions.waiting(STEPS_OF_A_START * self._settings.publish_timeout_s)

    def _begin_anew(self, why: str) -> None:
        """Give up a session that brings nothing."""
        if self._session:
            self._session.lose(why)

    async def _look_at(self, pool: Pool) -> int:
        """Compare the clocks, and count what the broker has not confirmed."""
        async with pool.acquire() as connection:
            self._vitals.clocks = await compare(connection)
        return await ledger.count_unconfirmed(pool)

    async def _commit(self, pool: Pool) -> int:
        """See that a COMMIT is answered, as far as the synchronous standby. Raises DecideAgainError where it is not."""
        async with pool.acquire() as connection:
            await await_standby(connection, self._settings.decide_timeout_s)
        return 0

    async def _try_session(self) -> None:
        async with open_session(self._settings):
            pass

    async def _start(
        self, server: str, faults: tuple[type[BaseException], ...], attempt: Callable[[], Coroutine[Any, Any, T]]
    ) -> T:
        """Try until it works or the time for a start is over. Raises _StoppedError as soon as `stop` is called."""
        deadline = asyncio.get_running_loop().time() + self._settings.start_timeout_s
        why = ""
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    return await self._unless_stopped(attempt())
            except (SchemaError, TopologyError, UnsafeDatabaseError, WrongClockError, PoolerError) as error:
                raise StartError(str(error)) from error
            except RefusedSettingError as error:
                raise StartError(f"PostgreSQL cannot be used: {error}") from error
            except faults as error:
                # The last try ends when the time is over, which says less than what the one before has met.
                why = str(error) or why or type(error).__name__
                if asyncio.get_running_loop().time() >= deadline:
                    waited = self._settings.start_timeout_s
                    raise StartError(f"{server} could not be used within {waited:g} seconds: {why}") from error
                log.info("waiting", action="wait_for_server", server=server, why=why)
                await self._pause(1.0)

    async def _unless_stopped(self, work: Coroutine[Any, Any, T]) -> T:
        working, stopping = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        try:
            await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise _StoppedError
            return working.result()
        finally:
            stopping.cancel()
            working.cancel()
            # What it has opened is closed before the process ends, if that can be done at all.
            await asyncio.wait({working}, timeout=CLEAN_UP_TIMEOUT_S)

    async def _pause(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return


def _why(errors: BaseExceptionGroup[BaseException]) -> str:
    inner = errors.exceptions[0]
    return _why(inner) if isinstance(inner, BaseExceptionGroup) else str(inner) or type(inner).__name__
