"""A command consumer's registration with the broker: when it is registered, and with which prefetch.

The broker counts messages, and the setting `prefetch` means commands. So the prefetch follows how many commands a
message has had lately, and a consumer that is to have another one is cancelled and registered anew.
"""

import asyncio
from collections.abc import Callable

from aio_pika.abc import AbstractChannel

from genlock.consumers import wire
from genlock.consumers.session import asking_broker
from genlock.consumers.topology import CommandQueue
from genlock.consumers.vitals import Vitals
from genlock.service.settings import Settings

FIRST_MESSAGES = 16
"""How many messages are taken before it is known how many commands each has."""

TOO_MUCH = 4
"""How many times the prefetch that is wanted may be held, because messages have become larger."""


class Registration:
    """Registers one consumer of a channel, and cancels it.

    A lane must never be left while something of it is held and not decided: the broker would bring what comes after
    to the next consumer at once. So a lane's consumer stays registered until its session ends, and the broker gives
    what is left to the next one, in order (tests/e2e/test_lanes_handover.py).
    """

    def __init__(
        self,
        channel: AbstractChannel,
        queue: CommandQueue,
        settings: Settings,
        vitals: Vitals,
        late: Callable[[], int],
        *,
        cautious: bool,
    ) -> None:
        self.cautious = cautious
        """Whether to hold one delivery alone until one is settled or parked: a lost session costs each that is held."""
        self.stopping = False
        """Whether it is not to register any more."""
        self._channel = channel
        self._queue = queue
        self._settings = settings
        self._vitals = vitals
        self._late = late
        """How many of the held deliveries others have overtaken."""
        self._consumer_tag: str | None = None
        self._prefetch = 0
        self._taking = asyncio.Lock()
        self._commands_per_message = 1 if queue.in_order else 0
        """About the most that a message has had lately. 0 while it is not known; a lane, which is not left easily,
        supposes that there is no bulk."""

    def note_size(self, commands: int) -> None:
        """Keep up with how many commands a message has: in powers of two, and back in steps."""
        self._commands_per_message = max(1 << (commands - 1).bit_length(), self._commands_per_message // 2)

    async def take(self) -> None:
        """Register the consumer, unless it is or must not be.

        Not while something is held: if this process dies, the broker may bring what it has delivered to a later
        consumer of a channel before what it had delivered to an earlier one. What others have overtaken has lost its
        order, and counts in the prefetch alone.
        """
        async with self._taking:
            if self._holds_in_order or self.stopping:
                return
            prefetch = self._messages_wanted() - self._late()
            if self._prefetch != prefetch and not self._queue.in_order and not self._late():
                await self.cancel()
            if self._consumer_tag is None and prefetch > 0 and not self._holds_in_order:
                underlay = await self._channel.get_underlay_channel()
                async with asking_broker(self._vitals.activity, self._settings):
                    await self._channel.set_qos(prefetch)
                    consumed = await underlay.basic_consume(self._queue.name, wire.not_called)
                self._consumer_tag, self._prefetch = consumed.consumer_tag, prefetch
                self._vitals.joined()
                if self.stopping:
                    await self.stop()

    async def leave_in_haste(self) -> None:
        """Cancel a consumer that holds too little or far too much, though it holds something.

        It keeps the prefetch that it was registered with. What it holds is at risk meanwhile (docs/production.md,
        "What a broker forgets"), so all else waits until nothing is held.
        """
        wanted = self._messages_wanted()
        little = self._prefetch < wanted and self._prefetch <= FIRST_MESSAGES
        much = wanted * TOO_MUCH <= self._prefetch
        if (little or much) and self._may_leave():
            await self.cancel()

    async def stop(self) -> None:
        """Have nothing more brought before the end, and keep what was: no redelivery is counted on an open channel.

        A lane's consumer stays: what it is brought from now on goes back unread.
        """
        self.stopping = self._vitals.leaving = True
        if not self._queue.in_order:
            await self.cancel()

    async def cancel(self) -> None:
        """Cancel the consumer, if it is registered."""
        if self._consumer_tag is not None:
            tag, self._consumer_tag = self._consumer_tag, None
            underlay = await self._channel.get_underlay_channel()
            async with asking_broker(self._vitals.activity, self._settings):
                await underlay.basic_cancel(tag)
            self._vitals.left()

    @property
    def _holds_in_order(self) -> bool:
        """Tell whether anything is held that no other delivery has overtaken."""
        return self._vitals.held > self._late()

    def _messages_wanted(self) -> int:
        """The prefetch: how many messages have about so many commands as may be held."""
        if self.cautious:
            return 1
        if self._commands_per_message:
            return max(1, self._settings.prefetch // self._commands_per_message)
        return min(FIRST_MESSAGES, self._settings.prefetch)

    def _may_leave(self) -> bool:
        """Tell whether the order survives it when another consumer gets what comes next.

        In a lane it does where one delivery is held and no other can come: this is asked when that one is decided.
        """
        return not self._queue.in_order or self._prefetch == 1
