"""Publishing with confirms: a whole batch is written at once, then its confirms are awaited together."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog
from aio_pika.abc import AbstractChannel
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import DeliveryError
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from genlock.schemas.outcomes import CONTENT_TYPE
from genlock.service.events import Event

PERSISTENT = 2

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way to the broker."""

    exchange: str
    routing_key: str
    body: bytes
    properties: Basic.Properties
    optional: bool = False
    """Whether nothing but a line in the log follows where the broker refuses it, as a full queue does."""


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
            outgoing = list(messages)
            confirms = await asyncio.gather(*await self._write(outgoing), return_exceptions=True)
        for message, confirm in zip(outgoing, confirms, strict=True):
            if isinstance(confirm, DeliveryError) and message.optional:
                log.warning("refused by the broker", action="drop_reply", routing_key=message.routing_key)
            elif isinstance(confirm, BaseException):
                raise confirm

    async def reaches_queue(self, message: Outgoing) -> bool:
        """Publish one message, and tell once the broker has confirmed it whether any queue got it.

        Raises as `publish` does.
        """
        confirm = await self._channel.basic_publish(
            message.body,
            exchange=message.exchange,
            routing_key=message.routing_key,
            properties=message.properties,
            mandatory=True,
            timeout=self._timeout_s,
        )
        return isinstance(confirm, Basic.Ack)

    async def _write(self, messages: Sequence[Outgoing]) -> list[asyncio.Future[object]]:
        """Write all messages at once; return the futures of their confirms.

        What Channel.basic_publish does for one message, without a task, a lock and a system call for each of them: that
        took 29 % of the CPU for a command. Nothing is published as mandatory so, and nothing is kept for returns, and
        a write that is cut short ends the session, so no delivery tag is taken back.
        """
        channel = self._channel
        frames = [frame for message in messages for frame in self._frames(message)]
        batch = ChannelFrame.marshall(channel_number=channel.number, frames=frames)
        async with channel.lock:
            confirms = []
            for _ in messages:
                channel.delivery_tag += 1
                confirms.append(channel.create_future())
                channel.confirmations[channel.delivery_tag] = confirms[-1]
            await channel.write_queue.put(batch)
        return confirms

    def _frames(self, message: Outgoing) -> Iterator[Basic.Publish | ContentHeader | ContentBody]:
        yield Basic.Publish(exchange=message.exchange, routing_key=message.routing_key)
        yield ContentHeader(properties=message.properties, body_size=len(message.body))
        size = self._channel.max_content_size
        for start in range(0, len(message.body), size):
            yield ContentBody(message.body[start : start + size])


def event_message(event: Event, exchange: str, source: str) -> Outgoing:
    """An outcome event for the events exchange; its AMQP properties repeat the envelope for tools."""
    return Outgoing(exchange, event.type, event.body.encode(), _properties(event, source, None))


def reply_message(event: Event, reply_to: str, correlation_id: str | None, source: str) -> Outgoing:
    """The copy of an outcome event for whoever asked for one, through the default exchange."""
    return Outgoing("", reply_to, event.body.encode(), _properties(event, source, correlation_id), optional=True)


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
