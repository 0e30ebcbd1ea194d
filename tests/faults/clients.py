"""Publishers that send on until the broker has confirmed, and a subscriber that misses nothing."""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractConnection, AbstractIncomingMessage

from genlock._net.broker_urls import brokers
from genlock.consumers.amqp.declare import declare_topology, delete_topology
from genlock.consumers.amqp.session import BROKER_ERRORS
from genlock.consumers.amqp.topology import Topology
from genlock.schemas.outcomes import BULK_CONTENT_TYPE
from tests.faults.journal import Journal
from tests.faults.messages import OutgoingMessage
from tests.faults.workload import World
from tests.support.factories import Json

PUBLISH_TIMEOUT_S = 3.0
CONNECT_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 1.0
HEARTBEAT_S = 60
RETRY_S = 0.2
SESSION_S = 20.0
"""How long a subscriber keeps its channel."""

AT_ONCE_MAX = 12
COPY_SHARE = 0.05
REUSE_SHARE = 0.02
GIVE_UP_SHARE = 0.1
REMEMBERED = 300

BULK_SHARE = 0.3
"""Of the times that a publisher sends."""

QUORUM: dict[str, Any] = {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}


@dataclass
class Post:
    """Shared by the publishers: the source of their messages, and the unsent rest of earlier ones."""

    world: World
    chance: random.Random
    journal: Journal
    copy_share: float = COPY_SHARE
    """The share of copies among the messages sent."""
    recent: deque[OutgoingMessage] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """Sent since the last check."""
    old: list[OutgoingMessage] = field(default_factory=list)
    """Some that were sent before it."""
    urgent: list[OutgoingMessage] = field(default_factory=list)
    """To be sent next."""

    def draw(self) -> list[OutgoingMessage]:
        """Messages to be sent at once: new ones, copies of others, and ids that are used again, in any order."""
        messages, self.urgent = self.urgent, []
        self.journal.fresh.update(messages)
        for _ in range(self.chance.randint(1, AT_ONCE_MAX)):
            outgoing = self._next()
            messages.append(outgoing)
            if self.chance.random() < self.copy_share:
                messages.append(outgoing)
        self.chance.shuffle(messages)
        return messages

    def _next(self) -> OutgoingMessage:
        drawn = self.chance.random()
        earlier = [*self.recent, *self.old]
        if earlier and drawn < self.copy_share:
            return self.chance.choice(earlier)
        outgoing = self.world.draw()
        if self.recent and drawn < self.copy_share + REUSE_SHARE:
            used = self.chance.choice(self.recent)
            if used.command is not None and used.code is None:
                outgoing = self.world.reuse(used)
        self.recent.append(outgoing)
        self.journal.fresh.add(outgoing)
        return outgoing

    def turn_page(self) -> None:
        """Keep a few checked messages, to send copies of them much later; go on with new records."""
        self.world.renew()
        self.old = self.chance.sample(list(self.recent), min(len(self.recent), REMEMBERED // 10))
        self.recent.clear()


class Publisher:
    """Sends messages with confirms, and sends unconfirmed ones again, on connection after connection."""

    def __init__(self, url: str, topology: Topology, post: Post, pause_s: float) -> None:
        self._url = url
        self._topology = topology
        self._post = post
        self._pause_s = pause_s
        self._open: list[OutgoingMessage] = []
        """Not confirmed yet; a copy is there twice."""
        self._drawing = asyncio.Event()
        self.idle = asyncio.Event()
        """Set while there is nothing left to send."""

    def draw(self) -> None:
        """Take new messages from now on."""
        self.idle.clear()
        self._drawing.set()

    def pause(self) -> None:
        """Take no new messages; open ones are still sent."""
        self._drawing.clear()

    async def run(self) -> None:
        """Publish until cancelled."""
        while True:
            with suppress(*BROKER_ERRORS):
                await self._publish()
            self._give_some_up()
            await asyncio.sleep(RETRY_S)

    async def _publish(self) -> None:
        connection = await connect(self._url)
        try:
            channel = await connection.channel(publisher_confirms=True)
            commands = await channel.get_exchange(self._topology.commands, ensure=False)
            while True:
                if not self._open:
                    if not self._drawing.is_set():
                        self.idle.set()
                        await self._drawing.wait()
                    self._open = self._post.draw()
                await self._send(commands)
                await asyncio.sleep(self._pause_s)
        finally:
            await close(connection)

    async def _send(self, commands: aio_pika.abc.AbstractExchange) -> None:
        """Send the open messages; a message is open until the broker confirms it."""
        groups = self._groups(self._open)
        self._open = []
        sending = [asyncio.create_task(self._send_group(commands, group)) for group in groups]
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await asyncio.wait(sending)
        finally:
            for group, task in zip(groups, sending, strict=True):
                if not task.done() or task.cancelled() or task.exception():
                    task.cancel()
                    self._open += group
        if self._open:
            raise ConnectionError(f"{len(self._open)} messages were not confirmed")

    def _groups(self, messages: Sequence[OutgoingMessage]) -> list[list[OutgoingMessage]]:
        """What makes a message each: mostly one letter, now and then in bulk all those of a type that can be."""
        if self._post.chance.random() >= BULK_SHARE:
            return [[outgoing] for outgoing in messages]
        bulky = [outgoing for outgoing in messages if outgoing.fits_into_bulk]
        by_key = groupby(sorted(bulky, key=_routing_key), _routing_key)
        return [
            *(list(group) for _, group in by_key),
            *([outgoing] for outgoing in messages if not outgoing.fits_into_bulk),
        ]

    async def _send_group(self, commands: aio_pika.abc.AbstractExchange, group: Sequence[OutgoingMessage]) -> None:
        await commands.publish(self._bulk(group) if len(group) > 1 else self._single(group[0]), group[0].routing_key)
        for outgoing in group:
            self._post.journal.was_confirmed(outgoing)

    def _single(self, outgoing: OutgoingMessage) -> aio_pika.Message:
        return aio_pika.Message(
            outgoing.body,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            headers=outgoing.headers,
            reply_to=replies_of(self._topology) if outgoing.wants_reply else None,
            correlation_id=outgoing.id if outgoing.wants_reply else None,
        )

    def _bulk(self, group: Sequence[OutgoingMessage]) -> aio_pika.Message:
        self._post.journal.total["sent in bulk"] += len(group)
        return aio_pika.Message(
            b"[" + b",".join(outgoing.body for outgoing in group) + b"]",
            content_type=BULK_CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )

    def _give_some_up(self) -> None:
        """Forget some that were not confirmed, as publishers do that are ended."""
        kept = []
        for outgoing in self._open:
            if self._post.chance.random() < GIVE_UP_SHARE and not outgoing.urgent:
                self._post.journal.given_up.add(outgoing)
            else:
                kept.append(outgoing)
        self._open = kept


def _routing_key(outgoing: OutgoingMessage) -> str:
    return outgoing.routing_key


def events_of(topology: Topology) -> str:
    """The queue of the subscriber, outside of the namespace."""
    return f"watcher of {topology.namespace}"


def replies_of(topology: Topology) -> str:
    """The queue that replies go to, outside of the namespace."""
    return f"replies for {topology.namespace}"


async def declare(channel: AbstractChannel, topology: Topology) -> None:
    """Declare what the service declares, and the queues of the clients."""
    await declare_topology(topology, channel)
    watched = await channel.declare_queue(events_of(topology), durable=True, arguments=QUORUM)
    await watched.bind(topology.events, routing_key="#")
    await channel.declare_queue(replies_of(topology), durable=True, arguments=QUORUM)


async def remove(channel: AbstractChannel, topology: Topology) -> None:
    """Remove all of it from the broker."""
    await delete_topology(topology, channel)
    for queue in (events_of(topology), replies_of(topology)):
        await channel.queue_delete(queue)


class Subscriber:
    """Reads durable queues of all events and replies, on connection after connection, into the journal."""

    def __init__(self, url: str, topology: Topology, journal: Journal, learn: Callable[[Json], None]) -> None:
        self._url = url
        self._topology = topology
        self._journal = journal
        self._learn = learn

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            with suppress(*BROKER_ERRORS):
                await self._read()
            await asyncio.sleep(RETRY_S)

    async def _read(self) -> None:
        connection = await connect(self._url)
        closed = asyncio.Event()
        connection.close_callbacks.add(lambda *_: closed.set())
        try:
            channel = await connection.channel()
            channel.close_callbacks.add(lambda *_: closed.set())
            await channel.set_qos(prefetch_count=500)
            events = await channel.get_queue(events_of(self._topology), ensure=False)
            await events.consume(self._on_event)
            replies = await channel.get_queue(replies_of(self._topology), ensure=False)
            await replies.consume(self._on_reply)
            # After a change of a queue's leader the broker may count messages as delivered that no client received.
            with suppress(TimeoutError):
                await asyncio.wait_for(closed.wait(), SESSION_S)
        finally:
            await close(connection)

    async def _on_event(self, message: AbstractIncomingMessage) -> None:
        self._learn(self._journal.was_seen(message.body, again=bool(message.redelivered)))
        with suppress(*BROKER_ERRORS):
            await message.ack()

    async def _on_reply(self, message: AbstractIncomingMessage) -> None:
        self._journal.was_answered(message.correlation_id, message.body)
        with suppress(*BROKER_ERRORS):
            await message.ack()


class _Tried(aio_pika.Connection):
    """One that is dropped where it cannot be opened: aio-pika would begin to close it, which needs an event loop."""

    def __del__(self) -> None:
        """Do nothing."""


async def connect(url: str) -> AbstractConnection:
    """Connect to any of the brokers that a URL names. Raises what aio-pika raises."""
    *others, last = brokers(url, HEARTBEAT_S)
    for one in others:
        with suppress(*BROKER_ERRORS):
            return await aio_pika.connect(one, timeout=CONNECT_TIMEOUT_S, connection_class=_Tried)
    return await aio_pika.connect(last, timeout=CONNECT_TIMEOUT_S, connection_class=_Tried)


async def close(connection: AbstractConnection) -> None:
    """Close a connection that may be half dead."""
    with suppress(*BROKER_ERRORS):
        await asyncio.wait_for(connection.close(), CLOSE_TIMEOUT_S)
