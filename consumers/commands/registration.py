"""The registration of a command consumer with the broker: when it is registered, and with which prefetch.

The broker counts messages; the setting `prefetch` counts commands, and memory counts bytes. So the prefetch follows the
number of commands and of bytes that messages had lately. To change it, the consumer is cancelled and registered anew.
"""

import asyncio

from aio_pika.abc import AbstractChannel

from genlock.consumers.amqp import wire
from genlock.consumers.amqp.session import awaiting_broker
from genlock.consumers.amqp.topology import CommandQueue
from genlock.consumers.commands.settlement import LateDeliveries
from genlock.consumers.health.activity import Activity
from genlock.service.settings import Settings

FIRST_MESSAGES = 16
"""The prefetch until the number of commands in a message is known."""

TOO_MUCH = 4
"""How many times the wanted prefetch may be held because messages have more commands or bytes than before."""


class Registration:
    """Registers one consumer of a channel, and cancels it.

    A lane's consumer must not be cancelled while it holds deliveries that are not decided: the broker would deliver
    later messages to the next consumer at once. So it stays registered until its session ends, and the broker delivers
    the rest to the next consumer in order (tests/e2e/test_lane_handover.py).
    """

    def __init__(
        self,
        channel: AbstractChannel,
        queue: CommandQueue,
        settings: Settings,
        activity: Activity,
        late: LateDeliveries,
        *,
        cautious: bool,
        bytes_max: int,
    ) -> None:
        self.cautious = cautious
        """Whether to hold only one delivery until one is settled or parked: a lost session costs each held one a
        return."""
        self.stopping = False
        """Whether it must not register any more."""
        self._channel = channel
        self._queue = queue
        self._settings = settings
        self._activity = activity
        self._late = late
        self._bytes_max = bytes_max
        """How many bytes of messages may be held."""
        self._consumer_tag: str | None = None
        self._prefetch = 0
        self._taking = asyncio.Lock()
        self._commands_per_message = 1 if queue.in_order else 0
        """About the largest number lately; 0 while it is unknown. A lane's consumer is seldom cancelled, so it assumes
        no bulk messages."""

    @property
    def registered(self) -> bool:
        """Tell whether the broker may deliver."""
        return self._consumer_tag is not None

    def note_size(self, commands: int, message_bytes: int) -> None:
        """Follow the commands and the bytes of a message: up to a power of two at once, and down by halves."""
        self._commands_per_message = max(1 << (commands - 1).bit_length(), self._commands_per_message // 2)
        self.note_bytes(message_bytes)

    def note_bytes(self, message_bytes: int) -> None:
        """Follow the bytes of a message alone."""
        activity = self._activity
        activity.message_bytes = max(1 << max(message_bytes - 1, 0).bit_length(), activity.message_bytes // 2)

    async def take(self) -> None:
        """Register the consumer, unless it is registered already or must not be.

        It does not register while deliveries are held in order. If the process died then, the broker might redeliver
        those of a channel's later consumer before those of its earlier one. Late deliveries have lost their order
        already, and only reduce the prefetch.
        """
        async with self._taking:
            if self._holds_in_order or self.stopping:
                return
            prefetch = self._messages_wanted() - len(self._late)
            if self._prefetch != prefetch and not self._queue.in_order and not self._late:
                await self.cancel()
            if self._consumer_tag is None and prefetch > 0 and not self._holds_in_order:
                underlay = await self._channel.get_underlay_channel()
                async with awaiting_broker(self._activity.progress, self._settings):
                    await self._channel.set_qos(prefetch)
                    consumed = await underlay.basic_consume(self._queue.name, wire.not_called)
                self._consumer_tag, self._prefetch = consumed.consumer_tag, prefetch
                self._activity.joined()
                if self.stopping:
                    await self.stop()

    async def leave_early(self) -> None:
        """Cancel a consumer whose prefetch is too small or far too large, although it holds deliveries.

        The broker never changes the prefetch of a registered consumer. The held deliveries are at risk meanwhile
        (docs/production.md, "What a broker forgets"), so any other change of the prefetch waits until nothing is held.
        """
        wanted = self._messages_wanted()
        little = self._prefetch < wanted and self._prefetch <= FIRST_MESSAGES
        much = wanted * TOO_MUCH <= self._prefetch
        if (little or much) and self._may_leave():
            await self.cancel()

    async def stop(self) -> None:
        """Ask for no more deliveries, and keep those that are held: an open channel costs them no return.

        A lane's consumer stays registered; what it is delivered from now on goes back unread.
        """
        self.stopping = self._activity.leaving = True
        if not self._queue.in_order:
            await self.cancel()

    async def cancel(self) -> None:
        """Cancel the consumer, if it is registered."""
        if self._consumer_tag is not None:
            tag, self._consumer_tag = self._consumer_tag, None
            underlay = await self._channel.get_underlay_channel()
            async with awaiting_broker(self._activity.progress, self._settings):
                await underlay.basic_cancel(tag)
            self._activity.left()

    @property
    def _holds_in_order(self) -> bool:
        """Tell whether any held delivery is not late."""
        return self._activity.held > len(self._late)

    def _messages_wanted(self) -> int:
        """The prefetch in messages, from the number of commands and of bytes that may be held."""
        if self.cautious:
            return 1
        prefetch = self._settings.prefetch
        commands = (
            prefetch // self._commands_per_message if self._commands_per_message else min(FIRST_MESSAGES, prefetch)
        )
        messages = self._bytes_max // self._activity.message_bytes if self._activity.message_bytes else commands
        return max(1, min(commands, messages))

    def _may_leave(self) -> bool:
        """Tell whether another consumer may get the next deliveries without breaking the order.

        In a lane it may if the only delivery that can be held is decided already, as it is when this is called.
        """
        return not self._queue.in_order or self._prefetch == 1
