"""Retrying dead letters: publish a dead letter's command to be decided again, and only then remove the dead letter.

After an interruption between the two the dead letter is still there, and the ledger answers the copy: see
service/ledger/retry_ids.py.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import assert_never

from pamqp.common import FieldTable

from genlock.consumers.amqp.publisher import PERSISTENT, Outgoing, Publisher
from genlock.consumers.amqp.session import Session
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.authors import signed
from genlock.consumers.commands.deliveries import SUBJECT_HEADER, Delivery, Part, copied, dead_letter_message, writable
from genlock.consumers.operations.dead_letter_queue import DeadLetterQueue
from genlock.consumers.operations.dead_letters import DeadLetter
from genlock.consumers.queries.direct_replies import is_direct
from genlock.schemas.base import JsonObject, compact_json
from genlock.schemas.decode import Command, Undecodable, attribute, decode
from genlock.schemas.envelope import read_id
from genlock.schemas.outcomes import CONTENT_TYPE, ConflictData, RejectedData, SucceededData, Verdict
from genlock.schemas.strictjson import parse, without_mark
from genlock.service.database.transactions import Pool, acquired, await_standby
from genlock.service.deciding.decide import Decider
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.events import timestamp, verdict_name
from genlock.service.ledger.retry_ids import FinalVerdict, first_id, next_retry
from genlock.service.settings import Settings

DEATH_HEADERS = ("x-death", "x-first-death-", "x-last-death-", "x-delivery-count", "x-genlock-")
"""How headers begin that tell of deaths; a command that is published again has none behind it."""


class Result(StrEnum):
    """What became of a dead letter, or what would become of it."""

    RETRIED = "retried"
    DECIDED = "already decided"
    UNREADABLE = "cannot be decoded"
    UNWRITABLE = "cannot be retried"
    WOULD_APPLY = "would apply"
    WOULD_CONFLICT = "would conflict"
    WOULD_BE_REJECTED = "would be rejected"


REMAINS = frozenset({Result.UNREADABLE, Result.UNWRITABLE})
"""Results that leave a dead letter where it is."""


@dataclass(frozen=True, slots=True)
class Retried:
    """The result of one command, with its detail: a verdict, a reason, a code, or why it cannot be."""

    result: Result
    detail: str
    original_id: str | None
    """The id that it has in its dead letter."""
    command_id: str | None = None
    """The id under which it is decided, or was."""


class UnroutableError(Exception):
    """The commands exchange leads to no inbox."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A command that may be published, as it will be read; `was` is the id that it has in its dead letter."""

    original_id: str
    command: Command
    message: Outgoing


class Retrier:
    """Retries dead letters one by one, or says what would become of them."""

    def __init__(self, publisher: Publisher, pool: Pool, settings: Settings) -> None:
        self._publisher = publisher
        self._pool = pool
        self._settings = settings
        self._topology = Topology(settings.namespace)
        retention = timedelta(days=settings.ledger_retention_days)
        self._decider = Decider(
            pool, KINDS, source=settings.source, retention=retention, timeout_s=settings.decide_timeout_s
        )

    @classmethod
    async def on(cls, session: Session, pool: Pool, settings: Settings) -> "Retrier":
        """Publish within this session."""
        return cls(await Publisher.on(session, settings.publish_timeout_s), pool, settings)

    async def retry(self, queue: DeadLetterQueue, dead_letter: DeadLetter) -> list[Retried]:
        """Publish each command that has no verdict on its merits again, and then remove the dead letter.

        Raises UnroutableError, DatabaseTroubleError and BROKER_ERRORS; the dead letter stays then.
        """
        delivery = dead_letter.delivery
        results = [await self._retry(delivery, part) for part in delivery.parts]
        remain = [part for part, retried in zip(delivery.parts, results, strict=True) if retried.result in REMAINS]
        if len(remain) < len(results):
            # What cannot be retried of a bulk message stays behind alone.
            await self._publisher.publish(self._left(dead_letter, part) for part in remain)
            await queue.remove(delivery.tag)
        return results

    def _left(self, dead_letter: DeadLetter, part: Part) -> Outgoing:
        reason = part.content.reason if isinstance(part.content, Undecodable) else dead_letter.summary.reason
        return dead_letter_message(dead_letter.delivery, part, reason, self._topology)

    async def dry_run(self, dead_letter: DeadLetter) -> list[Retried]:
        """Say what a retry of each command would come to now. Changes nothing. Raises DatabaseTroubleError."""
        return [await self._dry_run(dead_letter.delivery, part) for part in dead_letter.delivery.parts]

    async def _retry(self, delivery: Delivery, part: Part) -> Retried:
        prepared = await self._prepare(delivery, part)
        if isinstance(prepared, Retried):
            return prepared
        if not await self._publisher.reaches_queue(prepared.message):
            raise UnroutableError(f"No queue takes messages from {self._topology.commands}.")
        detail = "under its own id" if prepared.command.id == prepared.original_id else "under a new id"
        return Retried(Result.RETRIED, detail, prepared.original_id, prepared.command.id)

    async def _dry_run(self, delivery: Delivery, part: Part) -> Retried:
        prepared = await self._prepare(delivery, part)
        if isinstance(prepared, Retried):
            return prepared
        command = prepared.command
        dry_run = await self._decider.dry_run(command)
        if dry_run.decided:
            return _decided(prepared.original_id, command.id, dry_run.verdict)
        match dry_run.verdict:
            case SucceededData():
                return Retried(Result.WOULD_APPLY, "", prepared.original_id, command.id)
            case ConflictData(reason=reason):
                return Retried(Result.WOULD_CONFLICT, reason, prepared.original_id, command.id)
            case RejectedData(code=code):
                return Retried(Result.WOULD_BE_REJECTED, code, prepared.original_id, command.id)
            case _:
                assert_never(dry_run.verdict)

    async def _prepare(self, delivery: Delivery, part: Part) -> _Prepared | Retried:
        """Find out under which id a command may be decided, and write it so; or why there is nothing to publish."""
        command, came = part.content, delivery.properties
        if isinstance(command, Undecodable):
            return Retried(Result.UNREADABLE, command.reason, None)
        members = _members(part.body)
        cause = read_id({"id": members.get("causationid")}) if members else None
        first = first_id(command.id, cause) if cause else command.id
        async with acquired(self._pool, self._settings.decide_timeout_s) as connection:
            tried = await next_retry(connection, command, first)
            if isinstance(tried, FinalVerdict):
                # Its dead letter goes, so the outcome that settles it must stay.
                await await_standby(connection, self._settings.decide_timeout_s)
        if isinstance(tried, FinalVerdict):
            return _decided(command.id, tried.command_id, tried.verdict)
        if tried.command_id == command.id:
            message_id = (None if delivery.bulk else came.message_id) or command.id
            return _Prepared(command.id, command, self._message(delivery, part.body, message_id, came.timestamp))
        now = datetime.now(UTC)
        body = _renewed(members, tried.command_id, first, now) if members else b""
        renewed = decode(body, delivery.routing_key, _headers(delivery).get(SUBJECT_HEADER))
        if isinstance(renewed, Undecodable) or renewed.content_hash != command.content_hash:
            why = "its JSON cannot be written again as it is; send it anew"
            return Retried(Result.UNWRITABLE, why, command.id)
        attribute(renewed, delivery.author, required=self._settings.require_user)
        return _Prepared(command.id, renewed, self._message(delivery, body, renewed.id, now))

    def _message(self, delivery: Delivery, body: bytes, message_id: str, moment: datetime | None) -> Outgoing:
        """The command for the commands exchange, with the properties that it came with."""
        came = delivery.properties
        properties = copied(
            came,
            content_type=CONTENT_TYPE if delivery.bulk else came.content_type,
            delivery_mode=PERSISTENT,
            # The channel that a direct reply would go to waits no more.
            reply_to=None if is_direct(came.reply_to or "") else came.reply_to,
            expiration=None,
            message_id=message_id,
            timestamp=moment,
            **signed(writable(_headers(delivery)), delivery.author, delivery.signer),
        )
        return Outgoing(self._topology.commands, delivery.routing_key, body, properties.marshal())


def _decided(original_id: str, command_id: str, verdict: Verdict) -> Retried:
    return Retried(Result.DECIDED, verdict_name(verdict), original_id, command_id)


def _members(body: bytes) -> JsonObject | None:
    """The members of a message that can be written again as it was read; None for any other."""
    try:
        parsed = parse(without_mark(body).decode())
    except ValueError:
        return None
    return parsed.value if isinstance(parsed.value, dict) and not parsed.violations else None


def _renewed(members: JsonObject, command_id: str, first: str, now: datetime) -> bytes:
    """The command under a new id: caused by the one that it had at first, and as new as its id."""
    attributes = {"id": command_id, "time": timestamp(now), "causationid": first}
    if members.get("correlationid") is None:
        # What its outcomes would have had under its first id.
        attributes["correlationid"] = first
    return compact_json(members | attributes).encode()


def _headers(delivery: Delivery) -> FieldTable:
    """The headers of a command that is published again: those it came with, and none that tell of deaths."""
    came = (delivery.properties.headers or {}).items()
    about_another = {SUBJECT_HEADER} if delivery.bulk else set()
    return {
        name: value for name, value in came if name not in about_another and not name.lower().startswith(DEATH_HEADERS)
    }
