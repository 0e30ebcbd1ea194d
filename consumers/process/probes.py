"""Probes: what the monitor asks both servers while the service works."""

import contextlib
from collections.abc import Iterator

from aio_pika.abc import AbstractChannel

from genlock.consumers.amqp.session import Session, SessionLostError
from genlock.consumers.health.activity import ProcessActivity
from genlock.service.database.clocks import compare
from genlock.service.database.steady import SteadyClock
from genlock.service.database.transactions import Pool, await_standby
from genlock.service.ledger import held, ledger, waiting
from genlock.service.settings import Settings


class Probes:
    """The probes of one process. Those of the broker go through the session that its consumers work in."""

    def __init__(self, settings: Settings, activity: ProcessActivity, pool: Pool, steady: SteadyClock) -> None:
        self._settings = settings
        self._activity = activity
        self._pool = pool
        self._steady = steady
        self._session: Session | None = None
        self._channel: AbstractChannel | None = None

    @property
    def session(self) -> Session | None:
        """The session that the consumers work in; None between two."""
        return self._session

    @contextlib.contextmanager
    def within(self, session: Session) -> Iterator[None]:
        """Ask through a session while the context lasts."""
        self._session = session
        try:
            yield
        finally:
            self._session = self._channel = None

    def give_up_session(self, why: str) -> None:
        """End the session, so that the next one begins."""
        if self._session:
            self._session.lose(why)

    async def count_waiting(self) -> int:
        """Ask the broker how many messages wait for this process. Raises SessionLostError between two sessions.

        Messages in a lane that another process consumes do not count: this one cannot be blamed for them.
        """
        if self._session is None or self._session.is_lost:
            raise SessionLostError("there is no connection to the broker")
        if self._channel is None or self._channel.is_closed:
            self._channel = await self._session.channel(essential=False)
        messages = 0
        for queue in self._activity.queues:
            if not queue.in_order or self._activity.of(queue).active:
                asked = await self._channel.declare_queue(queue.name, passive=True)
                messages += asked.declaration_result.message_count or 0
        return messages

    async def count_unconfirmed(self) -> int:
        """Count the batches that the broker has not confirmed, and the waiting messages, and compare the clocks."""
        async with self._pool.acquire() as connection:
            self._activity.clocks = await compare(connection, steady=self._steady)
        self._activity.waiting = await waiting.count(self._pool)
        self._activity.held_in_database = await held.count(self._pool)
        return await ledger.count_unconfirmed(self._pool)

    async def commit(self) -> int:
        """Return 0 if a COMMIT is answered, by the synchronous standby too. Raises DecideAgainError if it is not."""
        async with self._pool.acquire() as connection:
            await await_standby(connection, self._settings.decide_timeout_s)
        return 0
