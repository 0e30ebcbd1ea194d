"""What tests on real servers share: a service in this process, and a client that knows nothing but AMQP."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
import aiormq
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage

from genlock.consumers.amqp.declare import declare_topology, delete_topology
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.process.serve import Service
from genlock.schemas.outcomes import BULK_CONTENT_TYPE, Outcome, parse_outcome
from genlock.service.deciding.batch_outcomes import BatchOutcomes
from genlock.service.deciding.failpoints import Failpoint, ignore
from genlock.service.deciding.kind import Kinds
from genlock.service.kinds.registry import KINDS
from genlock.service.settings import Settings
from tests.support.database import Connection
from tests.support.factories import Json, json_bytes

DEADLINE_S = 30.0
"""A wait that takes longer fails."""

POLL_S = 0.01

CONTENT_TYPE = "application/cloudevents+json"

NO_PROPERTIES = bytes(2)
"""A message's properties on the wire: no flag is set."""


async def until(holds: Callable[[], Awaitable[bool]], timeout_s: float = DEADLINE_S) -> None:
    """Ask until it holds. Raises TimeoutError."""
    async with asyncio.timeout(timeout_s):
        while not await holds():  # noqa: ASYNC110 - the condition is in another process
            await asyncio.sleep(POLL_S)


async def until_waiting(connection: Connection, backends: int) -> None:
    """Return when that many backends of the connection's database wait for a lock."""

    async def waiting() -> bool:
        # Within a transaction PostgreSQL would show the same picture again and again.
        await connection.execute("SELECT pg_stat_clear_snapshot()")
        count: int = await connection.fetchval(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        return count >= backends

    await until(waiting)


def outcomes(answers: BatchOutcomes) -> list[Outcome]:
    """Read the events of a batch."""
    return [parse_outcome(event.body) for event in answers.events]


@asynccontextmanager
async def serving(
    settings: Settings,
    *,
    failpoint: Failpoint = ignore,
    kinds: Kinds = KINDS,
    **changes: Any,
) -> AsyncIterator[Service]:
    """Run a replica until the context ends, which settles what it holds. Whatever `run` raises is raised here."""
    service = Service(settings.model_copy(update=changes), failpoint, kinds)
    running = asyncio.create_task(service.run())
    try:
        await _ready(service, running)
        yield service
    finally:
        service.stop()
        async with asyncio.timeout(DEADLINE_S):
            await running


async def _ready(service: Service, running: asyncio.Task[None]) -> None:
    ready = asyncio.create_task(service.ready.wait())
    await asyncio.wait({ready, running}, return_when=asyncio.FIRST_COMPLETED, timeout=DEADLINE_S)
    ready.cancel()
    if running.done():
        await running
    assert service.ready.is_set(), "the service did not get ready"


async def until_ready(service: Service) -> None:
    """Wait for a replica that has been ready before; while it begins another session it is not."""
    async with asyncio.timeout(DEADLINE_S):
        await service.ready.wait()


class Client:
    """Publishes commands, and collects every event of the namespace in the order of arrival."""

    def __init__(self, channel: AbstractChannel, topology: Topology, commands: AbstractExchange) -> None:
        self.channel = channel
        self.topology = topology
        self.events: list[AbstractIncomingMessage] = []
        self.bodies: dict[str, list[bytes]] = {}
        """The bodies of the events so far, by the command's id."""
        self._commands = commands
        self._news = asyncio.Condition()

    async def subscribe(self) -> None:
        """Collect all events from now on."""
        events = await self.channel.declare_queue(exclusive=True)
        await events.bind(self.topology.events, routing_key="#")
        await events.consume(self._on_event, no_ack=True)

    async def _on_event(self, message: AbstractIncomingMessage) -> None:
        async with self._news:
            self.events.append(message)
            self.bodies.setdefault(json.loads(message.body)["causationid"], []).append(message.body)
            self._news.notify_all()

    async def publish(self, body: bytes, routing_key: str, **properties: Any) -> None:
        """Publish a command's bytes, and return when the broker has them."""
        await self._commands.publish(aio_pika.Message(body, **properties), routing_key=routing_key)

    async def send(self, *commands: Json, **properties: Any) -> None:
        """Publish commands one after the other, so that they arrive in this order."""
        for command in commands:
            await self.publish(json_bytes(command), command["type"], content_type=CONTENT_TYPE, **properties)

    async def send_bulk(self, commands: Sequence[Json], **properties: Any) -> None:
        """Publish commands of one type as one message."""
        body = json_bytes(commands)
        await self.publish(body, commands[0]["type"], content_type=BULK_CONTENT_TYPE, **properties)

    async def send_addressed(self, *commands: Json, **properties: Any) -> None:
        """Publish commands one after the other, with their subjects in the header as Genlock's own client does."""
        for command in commands:
            headers = {"subject": command["subject"]} if command.get("subject") else {}
            await self.send(command, headers=headers, **properties)

    async def flood(self, commands: Iterable[Json]) -> None:
        """Publish commands all at once."""
        await asyncio.gather(*(self.publish(json_bytes(command), command["type"]) for command in commands))

    async def decided(self, *commands: Json) -> list[Json]:
        """Wait for the event of each command, one more for each copy, and return the first of each."""
        wanted = Counter(command["id"] for command in commands)

        def all_there() -> bool:
            return all(len(self.bodies.get(command_id, ())) >= count for command_id, count in wanted.items())

        async with asyncio.timeout(DEADLINE_S), self._news:
            await self._news.wait_for(all_there)
        return [json.loads(self.bodies[command["id"]][0]) for command in commands]

    async def ask(self, *commands: Json) -> list[Json]:
        """Publish commands and wait for their outcomes."""
        await self.send(*commands)
        return await self.decided(*commands)

    def message_of(self, command: Json) -> AbstractIncomingMessage:
        """The first event message of a command."""
        return next(message for message in self.events if json.loads(message.body)["causationid"] == command["id"])

    async def depth(self, queue: str) -> int:
        """How many messages are ready in a queue."""
        declared = await self.channel.declare_queue(queue, passive=True)
        count = declared.declaration_result.message_count
        assert count is not None
        return count

    async def until_empty(self, queue: str) -> None:
        """Return when nothing is ready in a queue."""
        await self.until_depth(queue, 0)

    async def until_depth(self, queue: str, messages: int) -> None:
        """Return when that many messages are ready in a queue."""

        async def there() -> bool:
            return await self.depth(queue) == messages

        await until(there)

    async def drain(self, queue: str) -> list[AbstractIncomingMessage]:
        """Take every message out of a queue."""
        taken = []
        declared = await self.channel.get_queue(queue)
        while (message := await declared.get(no_ack=True, fail=False)) is not None:
            taken.append(message)
        return taken


@asynccontextmanager
async def connected(amqp_url: str, namespace: str, lanes: int = 1) -> AsyncIterator[Client]:
    """Declare a namespace and subscribe to its events; in the end remove it from the broker."""
    topology = Topology(namespace, lanes)
    connection = await aio_pika.connect(amqp_url)
    async with connection:
        channel = await connection.channel()
        await declare_topology(topology, channel)
        client = Client(channel, topology, await channel.get_exchange(topology.commands))
        await client.subscribe()
        try:
            yield client
        finally:
            await _remove(connection, topology)


async def _remove(connection: aio_pika.abc.AbstractConnection, topology: Topology) -> None:
    """Remove a namespace, on a channel of its own: a test may have closed the other one."""
    channel = await connection.channel()
    try:
        await delete_topology(topology, channel)
    except aiormq.exceptions.ChannelClosed:
        return
