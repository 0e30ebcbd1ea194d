"""A peer: documents guarded by a FastStream handler with asyncpg, one transaction for each message.

It gives Genlock's guarantees for the two commands of the benchmark. One transaction looks the id up in the ledger,
changes the document if its generation is the expected one, and inserts the ledger row. Then the handler publishes the
persistent event and waits for its confirm; after its return FastStream acknowledges the message. A redelivered message
is answered from the ledger.
"""

import asyncio
import json
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.message import RabbitMessage

from bench.peers.documents import CONTENT_TYPE, Command, Current, conflict, succeeded

AT_ONCE = 20
"""The number of messages handled concurrently, each on its own connection; README.md says how it was chosen."""

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]


class DecidedMeanwhileError(Exception):
    """Another consumer has decided the same command; its event is in the ledger."""


async def decide(pool: "Pool", command: Command, source: str) -> str:
    """Decide a command, or find its earlier decision; return its event."""
    while True:
        with suppress(DecidedMeanwhileError):
            async with pool.acquire() as connection, connection.transaction():
                known: str | None = await connection.fetchval("SELECT event FROM ledger WHERE id = $1", command.id)
                if known is not None:
                    return known
                event = await _apply(connection, command, source)
                recorded = await connection.execute(
                    "INSERT INTO ledger (id, event) VALUES ($1, $2) ON CONFLICT DO NOTHING", command.id, event
                )
                if recorded != "INSERT 0 1":
                    raise DecidedMeanwhileError
                return event


async def _apply(connection: "Connection", command: Command, source: str) -> str:
    """Change the document if its generation is the expected one; return the event."""
    if command.type == "document.put":
        changed = await connection.fetchrow(
            "UPDATE documents SET generation = generation + 1, body = $3"
            " WHERE id = $1 AND generation = $2 RETURNING generation, body",
            command.subject,
            command.data.expected_generation,
            json.dumps(command.data.body),
        )
    else:
        # Correct for flat patches without nulls, and faster than reading, merging and writing.
        changed = await connection.fetchrow(
            "UPDATE documents SET generation = generation + 1, body = body || $2"
            " WHERE id = $1 RETURNING generation, body",
            command.subject,
            json.dumps(command.data.patch),
        )
    if changed is None:
        row = await connection.fetchrow("SELECT generation, body FROM documents WHERE id = $1", command.subject)
        return conflict(command, source, _current(row) if row else None)
    return succeeded(command, source, _current(changed))


def _current(row: asyncpg.Record) -> Current:
    return row["generation"], json.loads(row["body"])


async def decode(message: RabbitMessage) -> Command:
    """Parse a command from a message's body."""
    return Command.model_validate_json(message.body)


async def keep(_connection: Any) -> None:
    """Skip the reset between two uses of a connection, as Genlock does. That avoids a round trip."""


async def main() -> None:
    """Serve until SIGTERM."""
    namespace = os.environ["GENLOCK_NAMESPACE"]
    source = f"/{namespace}"
    # `decode` validates the types; FastStream's own validation and injection cost a thread for each message.
    broker = RabbitBroker(os.environ["GENLOCK_AMQP_URL"], logger=None, apply_types=False)
    inbox = RabbitQueue(f"{namespace}.inbox", declare=False)
    events = RabbitExchange(f"{namespace}.events", type=ExchangeType.TOPIC, declare=False)
    url = os.environ["GENLOCK_DATABASE_URL"]
    async with asyncpg.create_pool(url, min_size=AT_ONCE, max_size=AT_ONCE, reset=keep) as pool:

        async def handle(command: Command) -> None:
            event = await decide(pool, command, source)
            attributes = json.loads(event)
            await broker.publish(
                event.encode(),
                exchange=events,
                routing_key=attributes["type"],
                persist=True,
                content_type=CONTENT_TYPE,
                message_id=attributes["id"],
                message_type=attributes["type"],
                headers={"subject": attributes["subject"]},
            )

        subscriber = broker.subscriber(
            inbox,
            # A channel of its own; events are published on the broker's channel, which has publisher confirms.
            channel=Channel(prefetch_count=AT_ONCE),
            decoder=decode,
            ack_policy=AckPolicy.NACK_ON_ERROR,
            no_reply=True,
        )
        subscriber(handle)
        await FastStream(broker, logger=None).run()


if __name__ == "__main__":
    asyncio.run(main())
