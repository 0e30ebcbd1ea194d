"""The query consumer: reads over request and reply. A query is answered or dropped, never kept."""

import asyncio
import contextlib
from dataclasses import dataclass
from typing import Any

import structlog
from aio_pika import IncomingMessage
from aio_pika.abc import AbstractChannel
from aiormq.abc import DeliveredMessage
from pamqp.commands import Basic
from pydantic import ValidationError

from genlock.consumers.amqp.binary_mode import is_binary_mode, structured
from genlock.consumers.amqp.publisher import Outgoing, Publisher
from genlock.consumers.amqp.session import BROKER_ERRORS, Session, answer_deadline
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.health.metrics import Metrics
from genlock.consumers.queries.direct_replies import DirectReplies
from genlock.consumers.queries.unreadable import UNDECODABLE, Unreadable, read_envelope
from genlock.schemas.base import JsonObject, compact_json
from genlock.schemas.codes import Code
from genlock.schemas.envelope import Envelope
from genlock.schemas.faults import Faults, entries
from genlock.schemas.invalid import invalid
from genlock.schemas.outcomes import CONTENT_TYPE
from genlock.schemas.queries import QUERIES, Filters, result_id
from genlock.service.database.transactions import Pool
from genlock.service.ledger.events import timestamp_now
from genlock.service.reading.answers import ANSWER_BYTES_MAX, Answer, InvalidCursorError, LargeAnswerError, QueryError
from genlock.service.reading.reads import Reads
from genlock.service.settings import Settings

TRANSIENT = 1
QUERIES_AT_ONCE_PER_CONNECTION = 4

UNKNOWN = "unknown"
"""Stands in metrics for the type of a query that is none, or that could not be read."""

SMALL_ANSWER_BYTES = 128 * 1024
"""Answers whose rows have no more bytes are made at once, as many as connections and prefetch allow. Larger ones are
made one at a time: what they are made of takes up to twenty times as much memory as the rows."""

REQUIRED = {"required": True}
"""The constraint of a subject that is missing."""

TOLD_MAX = 10
"""How many faults the message of an error tells. `errors` lists more."""

FAILED = QueryError.of(Code.INTERNAL_ERROR, "The query could not be answered now; the service logged why.")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Query:
    """A query that can be answered, if only with an error."""

    envelope: Envelope | Unreadable
    reply_to: str
    correlation_id: str | None
    refusal: QueryError | None = None
    """Why it is not looked up, where its properties do not fit it."""

    @property
    def type(self) -> str:
        """Its type; that of its answer if it cannot be read."""
        return UNDECODABLE if isinstance(self.envelope, Unreadable) else self.envelope.type


class QueryConsumer:
    """Answers the queries of one session, a bounded number at once."""

    def __init__(
        self,
        session: Session,
        pool: Pool,
        reads: Reads,
        *,
        settings: Settings,
        metrics: Metrics,
        replies: DirectReplies,
        reply_bytes_max: int = ANSWER_BYTES_MAX,
        small_answer_bytes: int = SMALL_ANSWER_BYTES,
    ) -> None:
        self._session = session
        self._replies = replies
        self._metrics = metrics
        self._pool = pool
        self._reads = reads
        self._reply_bytes_max = reply_bytes_max
        self._small_answer_bytes = small_answer_bytes
        self._large = asyncio.Lock()
        """Held while a large answer is made and published."""
        self._settings = settings
        self._topology = Topology(settings.namespace)
        self._channel: AbstractChannel
        self._publisher: Publisher
        self._consumer_tag: str | None = None
        self._in_progress = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def start(self) -> None:
        """Open the channels and register the consumer."""
        prefetch = self._settings.read_connections * QUERIES_AT_ONCE_PER_CONNECTION
        self._channel = await self._session.channel(prefetch=prefetch)
        self._publisher = await Publisher.on(self._session, self._settings.publish_timeout_s)
        underlay = await self._channel.get_underlay_channel()
        async with answer_deadline(self._settings):
            consumed = await underlay.basic_consume(self._topology.queries, self._on_message)
        self._consumer_tag = consumed.consumer_tag

    async def stop(self) -> None:
        """Take no more queries, and wait for the answers under way."""
        underlay = await self._channel.get_underlay_channel()
        if self._consumer_tag is not None:
            async with answer_deadline(self._settings):
                await underlay.basic_cancel(self._consumer_tag)
        await self._idle.wait()

    async def _on_message(self, message: DeliveredMessage) -> None:
        self._in_progress += 1
        self._idle.clear()
        try:
            await self._handle(message)
            async with asyncio.timeout(self._settings.publish_timeout_s):
                await IncomingMessage(message).ack()
        except BROKER_ERRORS as error:
            # Its author times out and asks again; a session that cannot reply is of no use.
            self._session.lose(f"a query could not be answered: {error!r}")
        finally:
            self._in_progress -= 1
            if not self._in_progress:
                self._idle.set()

    async def _handle(self, message: DeliveredMessage) -> None:
        """Answer a query or drop it. Raises BROKER_ERRORS alone: no query may take commands with it."""
        known, outcome = UNKNOWN, "dropped"
        try:
            if query := self._decode(message):
                known = query.type if query.type in QUERIES else UNKNOWN
                outcome = await self._reply(query)
        except TimeoutError:
            log.warning("reply not confirmed", action="drop_reply", after_s=self._settings.publish_timeout_s)
        except BROKER_ERRORS:
            raise
        except Exception:
            log.exception("query failed", action="query", type=known)
        self._metrics.query(known, outcome)

    def _decode(self, message: DeliveredMessage) -> Query | None:
        """Read a query; log one that cannot be answered and return None.

        What has no envelope is told so, if its author can tell by the `correlation_id` what the answer is for.
        """
        properties = message.header.properties
        reply_to = properties.reply_to
        if not reply_to or self._topology.owns(reply_to):
            log.warning("query dropped", action="drop_query", why="no reply_to that it could be answered at")
            return None
        body = structured(properties, message.body)[1] if is_binary_mode(properties) else message.body
        envelope = read_envelope(body)
        if not isinstance(envelope, Unreadable):
            return Query(envelope, reply_to, properties.correlation_id, self._refusal(message, envelope.type))
        if properties.correlation_id:
            return Query(envelope, reply_to, properties.correlation_id)
        log.warning("query dropped", action="drop_query", why=envelope.faults.message)
        return None

    def _refusal(self, message: DeliveredMessage, query_type: str) -> QueryError | None:
        """The error of a query whose routing key is not its type. The default exchange has no such routing keys."""
        delivery = message.delivery
        ours = isinstance(delivery, Basic.Deliver) and delivery.exchange == self._topology.reads
        if ours and message.routing_key != query_type:
            # The broker checks permissions by the routing key.
            told = f"The routing key is {message.routing_key!r}; it must be the query's type, {query_type!r}."
            return QueryError.of(Code.ROUTING_KEY_MISMATCH, told, ("type",))
        return None

    async def _reply(self, query: Query) -> str:
        """Answer a query; return how that counts."""
        async with contextlib.AsyncExitStack() as held:
            answer = await self._answer(query, held)
            await self._publisher.publish(self._replies.divert([self._message(query, answer)]))
        return "error" if isinstance(answer, QueryError) else "answered"

    async def _answer(self, query: Query, held: contextlib.AsyncExitStack) -> Answer:
        """Look an answer up. What a large one holds meanwhile is released by the caller."""
        envelope = query.envelope
        if isinstance(envelope, Unreadable):
            return QueryError(envelope.faults)
        if query.refusal:
            return query.refusal
        model = QUERIES.get(envelope.type)
        if model is None:
            message = f"There is no query {envelope.type!r}."
            return QueryError.of(Code.UNKNOWN_TYPE, message, ("type",), known=frozenset(QUERIES))
        try:
            filters = model.model_validate(envelope.data)
        except ValidationError as error:
            return _invalid(error, "data", model)
        return await self._look_up(envelope, filters, held)

    async def _look_up(self, envelope: Envelope, filters: Filters, held: contextlib.AsyncExitStack) -> Answer:
        """The answer to a query whose data are valid, or the error in its place."""
        try:
            return await self._read(envelope, filters, held)
        except ValidationError as error:
            if envelope.subject is None:
                return QueryError.of(Code.INVALID_DATA, "subject: Field required", ("subject",), constraints=REQUIRED)
            return _invalid(error, "subject")
        except InvalidCursorError as error:
            return QueryError.of(Code.INVALID_DATA, str(error), ("data", "after"))
        except ValueError as error:
            return QueryError.of(Code.INVALID_DATA, str(error))
        except Exception:
            log.exception("query failed", action="query", type=envelope.type)
            return FAILED

    async def _read(self, envelope: Envelope, filters: Filters, held: contextlib.AsyncExitStack) -> Answer:
        """Read, as a small answer or else as a large one. Raises as the read does."""
        asked = (self._pool, envelope.subject or "", filters)
        with contextlib.suppress(LargeAnswerError):
            async with asyncio.timeout(self._settings.decide_timeout_s):
                return await self._reads[envelope.type](*asked, bytes_max=self._small_answer_bytes)
        await held.enter_async_context(self._large)
        with contextlib.suppress(LargeAnswerError):
            async with asyncio.timeout(self._settings.decide_timeout_s):
                return await self._reads[envelope.type](*asked, bytes_max=self._reply_bytes_max)
        return QueryError.of(
            Code.TOO_LARGE, f"The answer has more than {self._reply_bytes_max} bytes: ask for fewer at once."
        )

    def _message(self, query: Query, answer: Answer) -> Outgoing:
        """The answer as a message; an error in its place where it cannot be written, or is more than a broker takes."""
        try:
            reply = self._write(query, answer)
        except Exception:
            log.exception("query failed", action="query", type=query.type)
            return self._write(query, FAILED)
        if len(reply.body) <= self._reply_bytes_max:
            return reply
        told = f"The answer has {len(reply.body)} bytes, of {self._reply_bytes_max} at most: ask for fewer at once."
        return self._write(query, QueryError.of(Code.TOO_LARGE, told))

    def _write(self, query: Query, answer: Answer) -> Outgoing:
        match answer:
            case QueryError(faults=faults):
                data: JsonObject = {"error": _error(query.envelope, faults)}
            case _:
                data = answer
        members: dict[str, Any] = {
            "specversion": "1.0",
            "source": self._settings.source,
            "time": timestamp_now(),
            "datacontenttype": "application/json",
            **_attributes(query.envelope),
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


def _invalid(error: ValidationError, field: str, model: type[Filters] | None = None) -> QueryError:
    """What is wrong with the data or the subject of a query."""
    found = invalid(error, "", model, within=(field,))
    told = [f"{(fault.path or field).removeprefix('data.')}: {fault.message}" for fault in found.listed[:TOLD_MAX]]
    more = [f"and {found.total - len(told)} more"] if found.total > len(told) else []
    return QueryError(Faults(found.listed, found.total, "; ".join(told + more)))


def _attributes(envelope: Envelope | Unreadable) -> dict[str, Any]:
    """The attributes of an answer that follow from those of the query; None for what it lacks."""
    if isinstance(envelope, Unreadable):
        return envelope.attributes
    return {
        "id": result_id(envelope.id),
        "type": f"{envelope.type}.result",
        "subject": envelope.subject,
        "correlationid": envelope.correlationid or envelope.id,
        "causationid": envelope.id,
    }


def _error(envelope: Envelope | Unreadable, faults: Faults) -> JsonObject:
    """The error as the answer has it, with its faults in what was asked."""
    if isinstance(envelope, Unreadable):
        asked = envelope.sent
    else:
        asked = {"type": envelope.type, "data": envelope.data}
        if envelope.subject is not None:
            asked["subject"] = envelope.subject
    listed = [entry.model_dump(mode="json", exclude_unset=True) for entry in entries(faults.listed, asked)]
    total = {"errors_total": faults.total} if faults.total > len(listed) else {}
    return {"code": faults.code, "message": faults.message, "errors": listed, **total}
