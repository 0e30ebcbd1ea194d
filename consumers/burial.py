"""Burial: dead letters that no queue takes are held and published again, while everything else goes on.

The delivery that a letter is of stays with this process, and counts in the prefetch, until the letter is in a queue.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence

import structlog

from genlock.consumers.publisher import Outgoing, Publisher, RefusedError
from genlock.consumers.session import BROKER_ERRORS, Session, answering
from genlock.consumers.topology import Topology
from genlock.consumers.vitals import Vitals
from genlock.service.settings import Settings

RETRY_DELAY_FIRST_S = 0.1

log = structlog.get_logger()


class Burial:
    """The held letters of one consumer. `buried` acknowledges the deliveries of those that a queue has taken."""

    def __init__(
        self,
        session: Session,
        publisher: Publisher,
        settings: Settings,
        vitals: Vitals,
        buried: Callable[[Collection[int]], Awaitable[None]],
    ) -> None:
        self._session = session
        self._publisher = publisher
        self._settings = settings
        self._vitals = vitals
        self._buried = buried
        self._topology = Topology(settings.namespace)
        self._held: list[Outgoing] = []
        self._added = asyncio.Event()

    def hold(self, letters: Sequence[Outgoing]) -> None:
        """Take letters that no queue has taken."""
        if letters:
            self._held += letters
            self._added.set()

    async def run(self) -> None:
        """Publish what is held, again and again, until cancelled."""
        while True:
            await self._added.wait()
            with self._vitals.publishing():
                await self._bury()
            self._added.clear()

    async def _bury(self) -> None:
        """Publish until nothing is held."""
        delay_s = RETRY_DELAY_FIRST_S
        await self._declare()
        while trying := self._held:
            self._held = []
            try:
                await self._publisher.publish(trying, patient=True)
                left: Sequence[Outgoing] = ()
            except RefusedError as refusal:
                left = refusal.messages
                log.warning("dead letters held", action="dead_letter", why=str(refusal), again_in_s=delay_s)
            self._held += left
            # Of a bulk message each part that cannot be decided has a letter.
            still = {letter.tag for letter in self._held}
            if done := {letter.tag for letter in trying} - still:
                await self._buried(done)
            if left:
                await asyncio.sleep(delay_s)
                delay_s = min(2 * delay_s, self._settings.retry_delay_max_s)
                await self._publisher.renew()
                await self._declare()

    async def _declare(self) -> None:
        """Declare the queue of the dead letters again, which somebody may have deleted or unbound.

        Where the broker does not let us, an operator has to; the letters are held until then.
        """
        try:
            channel = await self._session.channel(vital=False)
            async with answering(self._settings):
                await self._topology.declare_dead_letters(channel)
            await self._session.leave(channel)
        except BROKER_ERRORS as error:
            queue, why = self._topology.dead_letters, str(error)
            log.error("no queue for dead letters", action="dead_letter", queue=queue, why=why)  # noqa: TRY400 - `why` says it
