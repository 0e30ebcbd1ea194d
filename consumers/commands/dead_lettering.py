"""Dead letters that no queue takes are held and published again, while everything else goes on.

The delivery of such a message is not acknowledged, and counts in the prefetch, until a queue has taken the dead letter.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Container, Sequence

import structlog

from genlock.consumers.amqp.declare import declare_dead_letters
from genlock.consumers.amqp.publisher import Outgoing, Publisher, RefusedError
from genlock.consumers.amqp.session import BROKER_ERRORS, Session, answer_deadline
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.backoff import growing_pauses
from genlock.consumers.health.activity import Activity
from genlock.service.settings import Settings

log = structlog.get_logger()


def by_tag(dead_letters: Sequence[Outgoing], settled: Container[int]) -> tuple[list[Outgoing], list[Outgoing]]:
    """Dead letters of these deliveries, and those of others: of these something is left to decide."""
    now = [dead_letter for dead_letter in dead_letters if dead_letter.tag in settled]
    return now, [dead_letter for dead_letter in dead_letters if dead_letter.tag not in settled]


class DeadLettering:
    """The held dead letters of one consumer. `acknowledge` settles the deliveries of those that a queue has taken."""

    def __init__(
        self,
        session: Session,
        publisher: Publisher,
        settings: Settings,
        activity: Activity,
        acknowledge: Callable[[Collection[int]], Awaitable[None]],
    ) -> None:
        self._session = session
        self._publisher = publisher
        self._settings = settings
        self._activity = activity
        self._acknowledge = acknowledge
        self._topology = Topology(settings.namespace)
        self._held: list[Outgoing] = []
        self._added = asyncio.Event()

    def hold(self, dead_letters: Sequence[Outgoing]) -> None:
        """Take dead letters that no queue has taken."""
        if dead_letters:
            self._held += dead_letters
            self._added.set()

    async def run(self) -> None:
        """Publish the held dead letters, again and again, until cancelled."""
        while True:
            await self._added.wait()
            with self._activity.publishing():
                await self._publish_held()
            self._added.clear()

    async def _publish_held(self) -> None:
        """Publish until nothing is held."""
        pauses = growing_pauses(self._settings.retry_delay_max_s)
        await self._declare()
        while trying := self._held:
            self._held = []
            refusal: RefusedError | None = None
            try:
                await self._publisher.publish(trying, patient=True)
            except RefusedError as error:
                refusal = error
                self._held += error.messages
            # A bulk message has a dead letter for each part that cannot be decided.
            still = {dead_letter.tag for dead_letter in self._held}
            if done := {dead_letter.tag for dead_letter in trying} - still:
                await self._acknowledge(done)
            if refusal:
                pause_s = next(pauses)
                log.warning("dead letters held", action="dead_letter", why=str(refusal), again_in_s=pause_s)
                await asyncio.sleep(pause_s)
                await self._publisher.renew()
                await self._declare()

    async def _declare(self) -> None:
        """Declare the queue of the dead letters again, which may have been deleted or unbound.

        If the broker does not permit that, an operator has to; the dead letters are held until then.
        """
        try:
            channel = await self._session.channel(essential=False)
            async with answer_deadline(self._settings):
                await declare_dead_letters(self._topology, channel)
            await self._session.leave(channel)
        except BROKER_ERRORS as error:
            queue, why = self._topology.dead_letters, str(error)
            log.error("no queue for dead letters", action="dead_letter", queue=queue, why=why)  # noqa: TRY400 - `why` says it
