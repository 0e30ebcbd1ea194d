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

from genlock._broker_urls import brokers
from genlock.consumers.session import BROKER_ERRORS
from genlock.consumers.topology import Topology
from genlock.schemas.outcomes import BULK_CONTENT_TYPE
from tests.factories import Json
from tests.faults.journal import Journal
from tests.faults.letters import Letter
from tests.faults.workload import World

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
    """What the publishers share: where they take messages from, and what is left of earlier ones."""

    world: World
    chance: random.Random
    journal: Journal
    recent: deque[Letter] = field(default_factory=lambda: deque(maxlen=REMEMBERED))
    """Sent since the last check."""
    old: list[Letter] = field(default_factory=list)
    """Some that were sent before it."""
    urgent: list[Letter] = field(default_factory=list)
    """To be sent next."""

    def draw(self) -> list[Letter]:
        """Messages to be sent at once: new ones, copies of others, and ids that are used again, in any order."""
        letters, self.urgent = self.urgent, []
        self.journal.fresh.update(letters)
        for _ in range(self.chance.randint(1, AT_ONCE_MAX)):
            letter = self._next()
            letters.append(letter)
            if self.chance.random() < COPY_SHARE:
                letters.append(letter)
        self.chance.shuffle(letters)
        return letters

    def _next(self) -> Letter:
        drawn = self.chance.random()
        earlier = [*self.recent, *self.old]
        if earlier and drawn < COPY_SHARE:
            return self.chance.choice(earlier)
        letter = self.world.draw()
        if self.recent and drawn < COPY_SHARE + REUSE_SHARE:
            used = self.chance.choice(self.recent)
            if used.command is not None and used.code is None:
                letter = self.world.reuse(used)
        self.recent.append(letter)
        self.journal.fresh.add(letter)
        return letter

    def turn_page(self) -> None:
        """Keep a few messages of what has been checked, to send copies of them much later; go on with new records."""
        self.world.renew()
        self.old = self.chance.sample(list(self.recent), min(len(self.recent), REMEMBERED // 10))
        self.recent.clear()


class Publisher:
    """Sends messages with confirms, and what was not confirmed again, on connection after connection."""

    def __init__(self, url: str, topology: Topology, post: Post, pause_s: float) -> None:
        self._url = url
        self._topology = topology
        self._post = post
        self._pause_s = pause_s
        self._open: list[Letter] = []
        """Not confirmed yet; a copy is there twice."""
        self._drawing = asyncio.Event()
        self.idle = asyncio.Event()
        """Set while there is nothing left to send."""

    def draw(self) -> None:
        """Take new messages from now on."""
        self.idle.clear()
        self._drawing.set()

    def pause(self) -> None:
        """Take no new messages; what is open is still sent."""
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
        """Send what is open; what the broker confirms is open no longer."""
        parcels = self._parcels(self._open)
        self._open = []
        sending = [asyncio.create_task(self._send_parcel(commands, parcel)) for parcel in parcels]
        try:
            async with asyncio.timeout(PUBLISH_TIMEOUT_S):
                await asyncio.wait(sending)
        finally:
            for parcel, task in zip(parcels, sending, strict=True):
                if not task.done() or task.cancelled() or task.exception():
                    task.cancel()
                    self._open += parcel
        if self._open:
            raise ConnectionError(f"{len(self._open)} messages were not confirmed")

    def _parcels(self, letters: Sequence[Letter]) -> list[list[Letter]]:
        """What makes a message each: mostly one letter, now and then in bulk all those of a type that can be."""
        if self._post.chance.random() >= BULK_SHARE:
            return [[letter] for letter in letters]
        bulky = [letter for letter in letters if letter.fits_into_bulk]
        by_key = groupby(sorted(bulky, key=_routing_key), _routing_key)
        return [*(list(parcel) for _, parcel in by_key), *([letter] for letter in letters if not letter.fits_into_bulk)]

    async def _send_parcel(self, commands: aio_pika.abc.AbstractExchange, parcel: Sequence[Letter]) -> None:
        await commands.publish(self._bulk(parcel) if len(parcel) > 1 else self._alone(parcel[0]), parcel[0].routing_key)
        for letter in parcel:
            self._post.journal.was_confirmed(letter)

    def _alone(self, letter: Letter) -> aio_pika.Message:
        return aio_pika.Message(
            letter.body,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            headers=letter.headers,
            reply_to=replies_of(self._topology) if letter.wants_reply else None,
            correlation_id=letter.id if letter.wants_reply else None,
        )

    def _bulk(self, parcel: Sequence[Letter]) -> aio_pika.Message:
        self._post.journal.total["sent in bulk"] += len(parcel)
        return aio_pika.Message(
            b"[" + b",".join(letter.body for letter in parcel) + b"]",
            content_type=BULK_CONTENT_TYPE,
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
        )

    def _give_some_up(self) -> None:
        """Forget some that were not confirmed, as publishers do that are ended."""
        kept = []
        for letter in self._open:
            if self._post.chance.random() < GIVE_UP_SHARE and not letter.urgent:
                self._post.journal.given_up.add(letter)
            else:
                kept.append(letter)
        self._open = kept


def _routing_key(letter: Letter) -> str:
    return letter.routing_key


def events_of(topology: Topology) -> str:
    """The queue of the subscriber, outside of the namespace."""
    return f"watcher of {topology.namespace}"


def replies_of(topology: Topology) -> str:
    """The queue that replies go to, outside of the namespace."""
    return f"replies for {topology.namespace}"


async def declare(channel: AbstractChannel, topology: Topology) -> None:
    """Declare what the service declares, and the queues of the clients."""
    await topology.declare(channel)
    watched = await channel.declare_queue(events_of(topology), durable=True, arguments=QUORUM)
    await watched.bind(topology.events, routing_key="#")
    await channel.declare_queue(replies_of(topology), durable=True, arguments=QUORUM)


async def remove(channel: AbstractChannel, topology: Topology) -> None:
    """Remove all of it from the broker."""
    await topology.delete(channel)
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
            # A broker that has given a queue another leader may have delivered what nobody has got.
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
