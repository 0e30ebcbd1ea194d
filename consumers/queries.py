"""The query consumer: reads over request and reply. A query is answered or dropped, never kept."""

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog
from aio_pika import IncomingMessage
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pydantic import ValidationError

from genlock.consumers.direct_replies import DirectReplies
from genlock.consumers.metrics import Metrics
from genlock.consumers.publisher import Outgoing, Publisher
from genlock.consumers.session import BROKER_ERRORS, Session, answering
from genlock.consumers.topology import Topology
from genlock.schemas.base import JsonObject, compact_json
from genlock.schemas.codes import Code
from genlock.schemas.decode import COMMAND_BYTES_MAX
from genlock.schemas.envelope import Envelope
from genlock.schemas.outcomes import CONTENT_TYPE
from genlock.schemas.queries import QUERIES, result_id
from genlock.schemas.strictjson import parse, without_mark
from genlock.service.database.transactions import Pool
from genlock.service.ledger.events import timestamp_now
from genlock.service.reading.reads import Answer, QueryError, read
from genlock.service.settings import Settings

TRANSIENT = 1
SHORT_TEXT_BYTES_MAX = 255
QUERIES_AT_ONCE_PER_CONNECTION = 4

UNKNOWN = "unknown"
"""Stands in metrics for the type of a query that is none, or that could not be read."""

REPLY_BYTES_MAX = 12 * 2**20
"""RabbitMQ 4 takes 16 MiB unless told otherwise, and closes the channel over more."""

FAILED = QueryError(Code.INTERNAL_ERROR, "The query could not be answered now; the service logged why.")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Query:
    """A query that can be answered, if only with an error."""

    envelope: Envelope
    reply_to: str
    correlation_id: str | None
    refusal: QueryError | None = None
    """Why it is not looked up, where its properties do not fit it."""


class QueryConsumer:
    """Answers the queries of one session, a bounded number at once."""

    def __init__(
        self, session: Session, pool: Pool, settings: Settings, metrics: Metrics, replies: DirectReplies
    ) -> None:
        self._session = session
        self._replies = replies
        self._metrics = metrics
        self._pool = pool
        self._settings = settings
        self._topology = Topology(settings.namespace)
        self._channel: AbstractChannel
        self._publisher: Publisher
        self._consumer_tag: str | None = None
        self._answering = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Open the channels and register the consumer."""
        prefetch = self._settings.read_connections * QUERIES_AT_ONCE_PER_CONNECTION
        self._channel = await self._session.channel(prefetch=prefetch)
        self._publisher = await Publisher.on(self._session, self._settings.publish_timeout_s)
        underlay = await self._channel.get_underlay_channel()
        async with answering(self._settings):
            consumed = await underlay.basic_consume(self._topology.queries, self._on_message)
        self._consumer_tag = consumed.consumer_tag

    async def stop(self) -> None:
        """Take no more queries, and wait for the answers under way."""
        underlay = await self._channel.get_underlay_channel()
        if self._consumer_tag is not None:
            async with answering(self._settings):
                await underlay.basic_cancel(self._consumer_tag)
        await self._idle.wait()

    async def _on_message(self, message: DeliveredMessage) -> None:
        self._answering += 1
        self._idle.clear()
        try:
            await self._handle(message)
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await IncomingMessage(message).ack()
        except BROKER_ERRORS as error:
            # Its author times out and asks again; a session that cannot reply is of no use.
            self._session.lose(f"a query could not be answered: {error!r}")
        finally:
            self._answering -= 1
            if not self._answering:
                self._idle.set()

    async def _handle(self, message: DeliveredMessage) -> None:
        """Answer a query or drop it. Raises BROKER_ERRORS alone: no query may take commands with it."""
        known, outcome = UNKNOWN, "dropped"
        try:
            if query := self._decode(message):
                known = query.envelope.type if query.envelope.type in QUERIES else UNKNOWN
                answer = await self._answer(query)
                await self._publisher.publish(self._replies.divert([self._reply(query, answer)]))
                outcome = "error" if isinstance(answer, QueryError) else "answered"
        except TimeoutError:
            log.warning("reply not confirmed", action="drop_reply", after_s=self._settings.publish_timeout_s)
        except BROKER_ERRORS:
            raise
        except Exception:
            log.exception("query failed", action="query", type=known)
        self._metrics.query(known, outcome)

    def _decode(self, message: DeliveredMessage) -> Query | None:
        """Read a query; None, with a line in the log, for one that cannot be answered."""
        properties = message.header.properties
        reply_to = properties.reply_to
        if not reply_to or self._topology.owns(reply_to):
            log.warning("query dropped", action="drop_query", why="no reply_to that it could be answered at")
            return None
        try:
            envelope = _envelope(message.body)
            return Query(envelope, reply_to, properties.correlation_id, self._refusal(message, envelope.type))
        except (ValueError, RecursionError) as error:
            log.warning("query dropped", action="drop_query", why=str(error))
            return None

    def _refusal(self, message: DeliveredMessage, query_type: str) -> QueryError | None:
        """What is wrong with the properties of a query, which has a routing key save by way of the default exchange."""
        delivery = message.delivery
        ours = isinstance(delivery, Basic.Deliver) and delivery.exchange == self._topology.reads
        if ours and message.routing_key != query_type:
            # By it the broker allows a query or not.
            told = f"The routing key is {message.routing_key!r}; it must be the query's type, {query_type!r}."
            return QueryError(Code.ROUTING_KEY_MISMATCH, told)
        return None

    async def _answer(self, query: Query) -> Answer:
        envelope = query.envelope
        if query.refusal:
            return query.refusal
        model = QUERIES.get(envelope.type)
        if model is None:
            return QueryError(Code.UNKNOWN_TYPE, f"There is no query {envelope.type!r}.")
        try:
            filters = model.model_validate(envelope.data)
            async with asyncio.timeout(self._settings.decide_timeout_s):
                return await read(self._pool, envelope.type, envelope.subject or "", filters)
        except ValidationError as error:
            told = "; ".join(
                f"{'.'.join(map(str, part['loc'])) or 'subject'}: {part['msg'].removeprefix('Value error, ')}"
                for part in error.errors()
            )
            return QueryError(Code.INVALID_DATA, told)
        except ValueError as error:
            return QueryError(Code.INVALID_DATA, str(error))
        except Exception:
            log.exception("query failed", action="query", type=envelope.type)
            return FAILED

    def _reply(self, query: Query, answer: Answer) -> Outgoing:
        """The answer as a message; an error in its place where it cannot be written, or is more than a broker takes."""
        try:
            reply = self._write(query, answer)
        except Exception:
            log.exception("query failed", action="query", type=query.envelope.type)
            return self._write(query, FAILED)
        if len(reply.body) <= REPLY_BYTES_MAX:
            return reply
        told = f"The answer has {len(reply.body)} bytes, of {REPLY_BYTES_MAX} at most: ask for fewer at once."
        return self._write(query, QueryError(Code.TOO_LARGE, told))

    def _write(self, query: Query, answer: Answer) -> Outgoing:
        match answer:
            case QueryError(code=code, message=message):
                data: JsonObject = {"error": {"code": code, "message": message}}
            case _:
                data = answer
        envelope = query.envelope
        members: dict[str, Any] = {
            "specversion": "1.0",
            "id": result_id(envelope.id),
            "source": self._settings.source,
            "type": f"{envelope.type}.result",
            "subject": envelope.subject,
            "time": timestamp_now(),
            "correlationid": envelope.correlationid or envelope.id,
            "causationid": envelope.id,
            "datacontenttype": "application/json",
            "data": data,
        }
        body = compact_json({name: value for name, value in members.items() if value is not None})
        properties = Basic.Properties(
            content_type=CONTENT_TYPE,
            delivery_mode=TRANSIENT,
            correlation_id=query.correlation_id,
            message_id=members["id"],
            message_type=members["type"],
            app_id=self._settings.source,
        )
        return Outgoing("", query.reply_to, body.encode(), properties.marshal())


def _envelope(body: bytes) -> Envelope:
    """Read a query's envelope. Raises ValueError, and RecursionError for what is nested too deep to parse."""
    if len(body) > COMMAND_BYTES_MAX:
        raise ValueError(f"{len(body)} bytes are too many for a query")
    members, flaws = parse(without_mark(body).decode())
    if flaws:
        raise ValueError(f"the JSON {', '.join(flaws)}")
    envelope = Envelope.model_validate(members)
    if len(f"{envelope.type}.result".encode()) > SHORT_TEXT_BYTES_MAX:
        raise ValueError("its type is too long for that of an answer")
    return envelope
