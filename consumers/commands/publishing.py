"""Publishing a batch: all its messages at once and one wait for their confirms, however long the broker takes.

Nothing waits for a queue that refuses: a dead letter that no queue takes holds its own delivery, and any other message
waits in the database by itself.
"""

from collections.abc import Awaitable, Callable, Sequence
from time import monotonic

from genlock.consumers.amqp.publisher import Outgoing, Publisher, RefusedError
from genlock.consumers.health.activity import Activity

RENEW_EVERY_S = 1.0
"""How often a channel that refuses is replaced at most: each time all that is under way on it is waited for."""


class BatchPublisher:
    """Publishes the batches of one consumer. `keep` stores what the broker refused, however long that takes."""

    def __init__(
        self,
        publisher: Publisher,
        activity: Activity,
        keep: Callable[[Sequence[Outgoing]], Awaitable[None]],
        *,
        renew_every_s: float = RENEW_EVERY_S,
    ) -> None:
        self._publisher = publisher
        self._activity = activity
        self._keep = keep
        self._renew_every_s = renew_every_s
        self._renewed_at = float("-inf")

    async def publish(self, outgoing: Sequence[Outgoing]) -> list[Outgoing]:
        """Publish messages; return the dead letters that no queue took.

        The deliveries stay held meanwhile, and the prefetch limits how many there are. When it returns, the broker or
        the database has each message that is no dead letter.
        """
        try:
            with self._activity.publishing():
                await self._publisher.publish(outgoing, patient=True)
        except RefusedError as refusal:
            dead_letters = [message for message in refusal.messages if message.tag]
            if refused := [message for message in refusal.messages if not message.tag]:
                await self._keep(refused)
                await self._renew()
            return dead_letters
        return []

    async def _renew(self) -> None:
        """Take another channel: one that was opened at a bad moment may go on refusing (`Publisher.renew`)."""
        if monotonic() - self._renewed_at >= self._renew_every_s:
            self._renewed_at = monotonic()
            await self._publisher.renew()
