"""Dead letters for tests: put there by the service, by the broker, or at once."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from genlock.cli.connections import broker, database
from genlock.consumers.amqp.declare import DELIVERY_LIMIT
from genlock.consumers.commands.deliveries import REASON_HEADER, TIME_HEADER
from genlock.consumers.operations.dead_letter_queue import DeadLetterQueue, opened
from genlock.consumers.operations.dead_letter_retry import Retrier
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.events import timestamp
from genlock.service.settings import Settings
from tests.support.database import Connection
from tests.support.factories import Json, json_bytes
from tests.support.harness import DEADLINE_S, Client, serving

DIED = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


async def publish_dead_letter(
    client: Client,
    body: bytes,
    reason: str = "internal_error",
    *,
    died: datetime | None = DIED,
    routing_key: str = "document.put",
    **properties: Any,
) -> None:
    """Put a dead letter there at once, as the service does."""
    headers = properties.pop("headers", {}) | {REASON_HEADER: reason}
    if died is not None:
        headers[TIME_HEADER] = timestamp(died)
    dead = await client.channel.get_exchange(client.topology.dead, ensure=False)
    await dead.publish(aio_pika.Message(body, headers=headers, **properties), routing_key=routing_key)


async def publish_dead_letter_of(
    client: Client, command: Json, reason: str = "internal_error", **properties: Any
) -> None:
    """Put the dead letter of a command there at once."""
    await publish_dead_letter(client, json_bytes(command), reason, routing_key=command["type"], **properties)


async def publish_dead_letters(client: Client, commands: Iterable[Json]) -> None:
    """Put the dead letters of commands there, all at once and in their order."""
    dead = await client.channel.get_exchange(client.topology.dead, ensure=False)
    headers: Json = {REASON_HEADER: "internal_error", TIME_HEADER: timestamp(DIED)}
    messages = [(aio_pika.Message(json_bytes(command), headers=headers), command["type"]) for command in commands]
    await asyncio.gather(*(dead.publish(message, routing_key=key) for message, key in messages))


async def die_of_returns(client: Client, command: Json, **properties: Any) -> None:
    """Have the broker give a command up, as it does with one that came back too often."""
    dead = await client.depth(client.topology.dead_letters)
    await client.send(command, **properties)
    inbox = await client.channel.get_queue(client.topology.inbox)
    for _ in range(DELIVERY_LIMIT + 1):
        message = await inbox.get(timeout=5)
        assert message is not None
        await message.nack(requeue=True)
    await client.until_depth(client.topology.dead_letters, dead + 1)


async def come_back(amqp_url: str, queue: str, times: int) -> None:
    """Have the only message of a queue come back so often, which the broker counts."""
    left, last = times, asyncio.Event()

    async def give_back(message: AbstractIncomingMessage) -> None:
        nonlocal left
        left -= 1
        if left:
            await message.reject(requeue=True)
        else:
            last.set()

    # The end of the connection gives back the last delivery.
    async with await aio_pika.connect(amqp_url) as connection:
        channel = await connection.channel()
        await channel.set_qos(1)
        await (await channel.get_queue(queue)).consume(give_back)
        async with asyncio.timeout(DEADLINE_S):
            await last.wait()


@contextmanager
def broken(command_type: str = "document.merge") -> Iterator[None]:
    """A service in this process fails on all commands of a type."""
    assert isinstance(KINDS.rules, dict)
    rule = KINDS.rules[command_type]

    def fail(*_: Any) -> Any:
        raise RuntimeError("a fault in the service")

    KINDS.rules[command_type] = replace(rule, apply=fail)
    try:
        yield
    finally:
        KINDS.rules[command_type] = rule


async def die_of_a_fault(client: Client, settings: Settings, *commands: Json, **properties: Any) -> None:
    """Have the service fail on commands, all of one type."""
    dead = await client.depth(client.topology.dead_letters)
    with broken(commands[0]["type"]):
        async with serving(settings):
            await client.send(*commands, **properties)
            await client.decided(*commands)
    await client.until_depth(client.topology.dead_letters, dead + len(commands))


@asynccontextmanager
async def reading(settings: Settings) -> AsyncIterator[DeadLetterQueue]:
    """Read the dead letters in this process."""
    async with broker(settings) as session, opened(session, settings) as queue:
        yield queue


@asynccontextmanager
async def retrying(settings: Settings) -> AsyncIterator[tuple[DeadLetterQueue, Retrier]]:
    """Retry dead letters in this process."""
    async with (
        database(settings, 20) as pool,
        broker(settings) as session,
        opened(session, settings) as queue,
    ):
        yield queue, await Retrier.on(session, pool, settings)


async def dump(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables."""
    tables = await connection.fetch("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    rows: Callable[[str], str] = "SELECT t::text FROM {} AS t ORDER BY 1".format
    return {row[0]: [tuple(found) for found in await connection.fetch(rows(row[0]))] for row in tables}
