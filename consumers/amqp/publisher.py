"""Publishing with confirms: a batch is written at once, and its confirms are awaited together."""

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from itertools import takewhile

import structlog
from aio_pika.abc import AbstractChannel
from aiormq.abc import ChannelFrame
from aiormq.channel import Channel
from aiormq.exceptions import AMQPError
from pamqp.commands import Basic

from genlock.consumers.amqp import wire
from genlock.consumers.amqp.session import Session
from genlock.consumers.amqp.topology import Topology
from genlock.schemas.outcomes import BULK_CONTENT_TYPE, CONTENT_TYPE
from genlock.schemas.values import value
from genlock.service.ledger.events import Event
from genlock.service.ledger.messages import StoredMessage

PERSISTENT = 2

log = structlog.get_logger()


@value
class Outgoing:
    """A message on its way to the broker; its properties are as they travel."""

    exchange: str
    routing_key: str
    body: bytes
    properties: bytes
    optional: bool = False
    """Whether a refusal, as by a full queue, is only logged."""
    mandatory: bool = False
    """Whether it counts as refused if no queue takes it. The broker confirms such a message all the same."""
    tag: int = 0
    """The delivery that must not be acknowledged before this dead letter of it is in a queue."""
    message_id: str = ""
    """Its id, if it is its own: by that it is known again where the broker returns it."""
    command_id: str | None = None
    """The command whose outcome it is, or a copy of that."""
    outbox: tuple[int, int] | None = None
    """Batch and position of a further message."""


class RefusedError(AMQPError):
    """The broker refused these messages, and took the others that were published with them."""

    def __init__(self, messages: Sequence[Outgoing], *, unrouted: bool = False) -> None:
        super().__init__()
        self.messages = messages
        self.unrouted = unrouted
        """Whether some of them were to reach a queue, and no queue took them."""

    def __str__(self) -> str:
        return f"{'no queue takes' if self.unrouted else 'the broker refuses'} {len(self.messages)} of the messages"


@dataclass(slots=True)
class _Unconfirmed:
    """A batch of which some confirms are still to come; `all_there` is done after the last one."""

    left: int
    all_there: "asyncio.Future[None]"
    refused: list[Outgoing] = field(default_factory=list)
    returned: bool = False
    """Whether the broker returned some message of the batch because no queue took it."""
    returned_ids: set[str] = field(default_factory=set)
    """The ids of those messages that came back, of those that have one."""

    def confirmed(self, confirm: wire.Confirm, message: Outgoing) -> None:
        """Count a confirm, and remember the refusal of a message that matters."""
        if message.message_id in self.returned_ids:
            self.refused.append(message)
        elif isinstance(confirm, Basic.Nack):
            if message.optional:
                log.warning("refused by the broker", action="drop_reply", routing_key=message.routing_key)
            else:
                self.refused.append(message)
        self.left -= 1
        if self.left == 0 and not self.all_there.done():
            self.all_there.set_result(None)


class Publisher:
    """Publishes on a channel of its own, in confirm mode."""

    def __init__(self, session: Session, timeout_s: float) -> None:
        self._session = session
        self._timeout_s = timeout_s
        self._open: AbstractChannel
        self._channel: Channel
        self._unconfirmed: dict[int, tuple[_Unconfirmed, Outgoing]]
        """By delivery tag, in their order."""
        self._writing = asyncio.Lock()
        self._to_route: dict[tuple[str, str], _Unconfirmed] = {}
        """Mandatory messages that are not confirmed yet, by their exchange and id."""
        self._asking = asyncio.Lock()
        self._asked: _Unconfirmed | None = None

    @classmethod
    async def on(cls, session: Session, timeout_s: float) -> "Publisher":
        """Open a channel of a session to publish on; the broker may take `timeout_s` seconds to confirm a batch."""
        publisher = cls(session, timeout_s)
        await publisher._take_channel()
        return publisher

    async def renew(self) -> None:
        """Go on with another channel, once all that is under way on this one is answered.

        A channel that was opened while a queue had no leader may refuse all that goes there until the last leader is
        back (rabbitmq-server pull request 9241).
        """
        async with self._writing:
            while self._unconfirmed:
                await asyncio.wait({batch.all_there for batch, _ in self._unconfirmed.values()})
            left = self._open
            await self._take_channel()
            await self._session.leave(left)

    async def _take_channel(self) -> None:
        self._open = await self._session.channel(confirms=True)
        underlay = await self._open.get_underlay_channel()
        assert isinstance(underlay, Channel)  # noqa: S101 - the one class of channels that aiormq has
        self._channel, self._unconfirmed, self._to_route = underlay, {}, {}
        wire.TakeConfirms(underlay, self._confirm, self._returned)

    async def publish(self, messages: Iterable[Outgoing], *, patient: bool = False) -> None:
        """Publish the messages in their order and return when the broker has confirmed every one.

        Raises RefusedError, TimeoutError, and aiormq's errors if the channel is gone. A `patient` call waits for as
        long as the session lives and logs that it waits: a broker that is short of memory or disk, or that lacks the
        majority of a subscriber's queue, confirms when it can. Publishing again would only add to its load.
        """
        anywhere: list[Outgoing] = []
        mandatory: list[Outgoing] = []
        for message in messages:
            (mandatory if message.mandatory and not message.message_id else anywhere).append(message)
        count = len(anywhere) + len(mandatory)
        loop = asyncio.get_running_loop()
        telling = loop.call_later(self._timeout_s, self._tell_late, count) if patient else None
        try:
            async with asyncio.timeout(None if patient else self._timeout_s):
                came_back, refused = await self._publish_anywhere(anywhere) if anywhere else (False, [])
                unrouted, again = await self._publish_mandatory(mandatory) if mandatory else (False, [])
        finally:
            if telling:
                telling.cancel()
        if refused or again:
            raise RefusedError([*refused, *again], unrouted=unrouted or came_back)

    async def _publish_anywhere(self, messages: Sequence[Outgoing]) -> tuple[bool, list[Outgoing]]:
        """Publish messages; return whether one came back, and those that the broker refuses.

        They are for whatever queues there are, or are known by their ids where they come back.
        """
        batch = await self._write(messages)
        await batch.all_there
        return bool(batch.returned_ids), batch.refused

    async def _publish_mandatory(self, messages: Sequence[Outgoing]) -> tuple[bool, Sequence[Outgoing]]:
        """Publish messages that a queue has to take; return whether one came back, and those to publish again.

        A returned message has no delivery tag, and the ids of these are not our own. So only one such batch is under
        way at a time, and all of it is published again if some of it came back: a second copy does less harm than none.
        """
        async with self._asking:
            self._asked = batch = await self._write(messages)
            await batch.all_there
        return batch.returned, messages if batch.returned else batch.refused

    def _tell_late(self, messages: int) -> None:
        log.warning("not confirmed yet", action="publish", messages=messages, after_s=self._timeout_s)

    async def reaches_queue(self, message: Outgoing) -> bool:
        """Publish one message, and tell once the broker has confirmed it whether any queue got it.

        Raises as `publish` does.
        """
        try:
            await self.publish([replace(message, mandatory=True)])
        except RefusedError as refusal:
            if not refusal.unrouted:
                raise
            return False
        return True

    async def _write(self, messages: Sequence[Outgoing]) -> _Unconfirmed:
        """Write all messages at once.

        What Channel.basic_publish does for one message, without a task, a lock, a future and a system call for each
        of them.
        """
        async with self._writing, self._channel.lock:
            channel = self._channel
            frames = b"".join(
                wire.publish(
                    channel,
                    message.exchange,
                    message.routing_key,
                    message.properties,
                    message.body,
                    mandatory=message.mandatory,
                )
                for message in messages
            )
            await channel.write_queue.put(ChannelFrame(payload=frames, should_close=False))
            # Counted only now, so that a call which is cancelled while it waits for room leaves no gap in the tags. No
            # other task has run since the frames were queued. The channel rejects this future when it is closed.
            batch = _Unconfirmed(len(messages), channel.create_future())
            for message in messages:
                channel.delivery_tag += 1
                self._unconfirmed[channel.delivery_tag] = (batch, message)
                if message.mandatory and message.message_id:
                    self._to_route[message.exchange, message.message_id] = batch
        return batch

    def _confirm(self, confirm: wire.Confirm) -> None:
        for tag in self._confirmed_by(confirm):
            batch, message = self._unconfirmed.pop(tag)
            batch.confirmed(confirm, message)
            if message.mandatory:
                self._to_route.pop((message.exchange, message.message_id), None)

    def _returned(self, exchange: str, message_id: str | None) -> None:
        if batch := self._to_route.get((exchange, message_id or "")):
            batch.returned_ids.add(message_id or "")
        elif self._asked:
            self._asked.returned = True

    def _confirmed_by(self, confirm: wire.Confirm) -> list[int]:
        tag = confirm.delivery_tag or 0
        if confirm.multiple:
            return list(takewhile(lambda unconfirmed: unconfirmed <= tag, self._unconfirmed))
        return [tag] if tag in self._unconfirmed else []


def event_message(event: Event, exchange: str, source: str) -> Outgoing:
    """An outcome event for the events exchange; its AMQP properties repeat the envelope for tools."""
    body, properties = event.body.encode(), _properties(event, source, None)
    return Outgoing(exchange, event.type, body, properties, message_id=event.id, command_id=event.command_id)


def further_message(stored: StoredMessage, topology: Topology, source: str) -> Outgoing:
    """A further message of a decision."""
    message = stored.message
    properties = wire.properties(
        content_type=CONTENT_TYPE,
        subject=message.subject,
        delivery_mode=PERSISTENT,
        correlation_id=message.correlation_id,
        message_id=message.id,
        timestamp=_seconds(message.time),
        message_type=message.type,
        app_id=source,
    )
    return Outgoing(
        topology.exchange(message.exchange),
        message.routing_key,
        message.body,
        properties,
        mandatory=message.mandatory,
        message_id=message.id,
        outbox=(stored.batch_id, stored.position),
    )


def reply_message(event: Event, reply_to: str, correlation_id: str | None, source: str) -> Outgoing:
    """The copy of an outcome event for the publisher of its command, through the default exchange."""
    properties = _properties(event, source, correlation_id)
    return Outgoing("", reply_to, event.body.encode(), properties, command_id=event.command_id or None)


def bulk_reply(bodies: Sequence[str], reply_to: str, correlation_id: str | None, source: str) -> Outgoing:
    """The copies of several outcome events, as one CloudEvents batch, for the publisher of a bulk message."""
    properties = Basic.Properties(
        content_type=BULK_CONTENT_TYPE, delivery_mode=PERSISTENT, correlation_id=correlation_id, app_id=source
    )
    return Outgoing("", reply_to, f"[{','.join(bodies)}]".encode(), properties.marshal())


def _properties(event: Event, source: str, correlation_id: str | None) -> bytes:
    return wire.properties(
        content_type=CONTENT_TYPE,
        subject=event.subject,
        delivery_mode=PERSISTENT,
        correlation_id=correlation_id,
        message_id=event.id,
        timestamp=_seconds(event.time),
        message_type=event.type,
        app_id=source,
    )


@lru_cache(maxsize=16)
def _seconds(time: str) -> int:
    """Seconds since 1970. The events of a batch have one time."""
    return int(datetime.fromisoformat(time).timestamp())
