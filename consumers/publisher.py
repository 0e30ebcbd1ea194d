"""Publishing with confirms: a whole batch is written at once, then its confirms are awaited together."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from aio_pika.abc import AbstractChannel
from aiormq.channel import Channel
from pamqp.commands import Basic

from genlock.schemas.outcomes import CONTENT_TYPE
from genlock.service.events import Event

PERSISTENT = 2


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way to the broker."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Basic.Properties


class Publisher:
    """Publishes on one channel that is in confirm mode."""

    def __init__(self, channel: Channel, timeout_s: float) -> None:
        self._channel = channel
        self._timeout_s = timeout_s

    @classmethod
    async def on(cls, channel: AbstractChannel, timeout_s: float) -> "Publisher":
        """Publish on this channel; a batch may take `timeout_s` seconds to be confirmed."""
        underlay = await channel.get_underlay_channel()
        assert isinstance(underlay, Channel)  # noqa: S101 - the one class of channels that aiormq has
        return cls(underlay, timeout_s)

    async def publish(self, messages: Iterable[Outgoing]) -> None:
        """Publish the messages in their order and return when the broker has confirmed every one.

        Raises TimeoutError, and aiormq's errors where the broker refused one or the channel is gone.
        """
        async with asyncio.timeout(self._timeout_s):
            await asyncio.gather(*map(self._publish, messages))

    async def _publish(self, message: Outgoing) -> None:
        await self._channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=message.properties,
            wait=False,
        )


def event_message(event: Event, exchange: str, source: str) -> Outgoing:
    """An outcome event for the events exchange; its AMQP properties repeat the envelope for tools."""
    return Outgoing(exchange, event.type, event.body.encode(), _properties(event, source, None))


def reply_message(event: Event, reply_to: str, correlation_id: str | None, source: str) -> Outgoing:
    """The copy of an outcome event for whoever asked for one, through the default exchange."""
    return Outgoing("", reply_to, event.body.encode(), _properties(event, source, correlation_id))


def _properties(event: Event, source: str, correlation_id: str | None) -> Basic.Properties:
    return Basic.Properties(
        content_type=CONTENT_TYPE,
        headers={"subject": event.subject} if event.subject else None,
        delivery_mode=PERSISTENT,
        correlation_id=correlation_id,
        message_id=event.id,
        timestamp=datetime.fromisoformat(event.time),
        message_type=event.type,
        app_id=source,
    )
