"""The peer: documents guarded by a FastStream handler with asyncpg, one transaction for each message.

It gives what Genlock promises for the two commands of the benchmark. In one transaction: look the id up in the
ledger, change the document where its generation is the expected one, insert the ledger row. Then publish the event,
persistent, and wait for its confirm; when the handler returns after that, FastStream acknowledges the message. A
message that comes again is answered from the ledger.
"""

import asyncio
import json
import os
from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias
from uuid import UUID, uuid5

import asyncpg
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitQueue
from faststream.rabbit.message import RabbitMessage
from pydantic import BaseModel

AT_ONCE = 20
"""Messages that are worked on at the same time, each on a connection of its own; see README.md for how it was found."""

CONTENT_TYPE = "application/cloudevents+json"

if TYPE_CHECKING:
    Pool: TypeAlias = asyncpg.Pool[asyncpg.Record]
    Connection: TypeAlias = asyncpg.pool.PoolConnectionProxy[asyncpg.Record]


class Data(BaseModel):
    """Of `document.put` the first two, of `document.merge` the last."""

    expected_generation: int | None = None
    body: dict[str, Any] | None = None
    patch: dict[str, Any] | None = None


class Command(BaseModel):
    """A CloudEvents envelope."""

    id: UUID
    source: str
    type: str
    subject: str
    attempt: int = 1
    data: Data


class DecidedMeanwhileError(Exception):
    """Another consumer has decided the same command; its event is in the ledger."""


async def decide(pool: "Pool", command: Command, source: str) -> str:
    """Decide a command, or find that it has been decided; return its event."""
    while True:
        with suppress(DecidedMeanwhileError):
            async with pool.acquire() as connection, connection.transaction():
                known: str | None = await connection.fetchval("SELECT event FROM ledger WHERE id = $1", command.id)
                if known is not None:
                    return known
                event = _event(command, source, *await _apply(connection, command))
                recorded = await connection.execute(
                    "INSERT INTO ledger (id, event) VALUES ($1, $2) ON CONFLICT DO NOTHING", command.id, event
                )
                if recorded != "INSERT 0 1":
                    raise DecidedMeanwhileError
                return event


async def _apply(connection: "Connection", command: Command) -> tuple[str, dict[str, Any]]:
    """Change the document if it is as expected; return the verdict and the data of its event."""
    if command.type == "document.put":
        changed = await connection.fetchrow(
            "UPDATE documents SET generation = generation + 1, body = $3"
            " WHERE id = $1 AND generation = $2 RETURNING generation, body",
            command.subject,
            command.data.expected_generation,
            json.dumps(command.data.body),
        )
    else:
        # Right for flat patches without nulls, and faster than reading, merging and writing.
        changed = await connection.fetchrow(
            "UPDATE documents SET generation = generation + 1, body = body || $2"
            " WHERE id = $1 RETURNING generation, body",
            command.subject,
            json.dumps(command.data.patch),
        )
    if changed is None:
        current = await connection.fetchrow("SELECT generation, body FROM documents WHERE id = $1", command.subject)
        return "conflict", _outcome(command, current, "current") | {"expected": command.data.expected_generation}
    return "succeeded", _outcome(command, changed, "record")


def _outcome(command: Command, row: asyncpg.Record | None, name: str) -> dict[str, Any]:
    data: dict[str, Any] = {"kind": "document", "id": command.subject}
    if row is None:
        return data | {"sequence": 0, name: None, "token": None}
    generation = row["generation"]
    record = {"id": command.subject, "generation": generation, "body": json.loads(row["body"])}
    return data | {"sequence": generation + 1, name: record, "token": {"generation": generation}}


def _event(command: Command, source: str, verdict: str, data: dict[str, Any]) -> str:
    return json.dumps(
        {
            "specversion": "1.0",
            "id": str(uuid5(command.id, "outcome")),
            "source": source,
            "type": f"{command.type}.{verdict}",
            "subject": command.subject,
            "time": datetime.now(UTC).isoformat(),
            "correlationid": str(command.id),
            "causationid": str(command.id),
            "attempt": command.attempt,
            "datacontenttype": "application/json",
            "data": data,
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


async def decode(message: RabbitMessage) -> Command:
    """Read a command from a message's body."""
    return Command.model_validate_json(message.body)


async def keep(_connection: Any) -> None:
    """Reset nothing between two uses of a connection, which saves a round trip. Genlock does the same."""


async def main() -> None:
    """Serve until SIGTERM."""
    namespace = os.environ["GENLOCK_NAMESPACE"]
    source = f"/{namespace}"
    # Types are applied by `decode`; having them applied, and the message injected, costs a thread for each message.
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
            # A channel of its own; the events go out on the broker's, which has publisher confirms.
            channel=Channel(prefetch_count=AT_ONCE),
            decoder=decode,
            ack_policy=AckPolicy.NACK_ON_ERROR,
            no_reply=True,
        )
        subscriber(handle)
        await FastStream(broker, logger=None).run()


if __name__ == "__main__":
    asyncio.run(main())
