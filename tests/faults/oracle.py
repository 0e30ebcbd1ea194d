"""The oracle: once all is quiet, what the clients know must fit what the servers hold.

Every message that the broker confirmed has exactly one verdict in the ledger, or lies in the dead letters with its
reason; every verdict was seen with one event id and the same bytes; every reply came; nothing waits anywhere; the
claims of `genlock verify` hold; and replaying the accepted commands of each record by the model gives its row.
"""

import asyncio
import hashlib
import json
import traceback
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

import asyncpg
from aio_pika.abc import AbstractChannel

from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.deliveries import REASON_HEADER
from genlock.schemas.outcomes import id_reused_id, outcome_id
from genlock.service.database.verify import verify
from genlock.service.kinds.registry import KINDS
from tests.faults.clients import connect
from tests.faults.journal import Journal
from tests.faults.messages import OutgoingMessage
from tests.property.replay import check_explained
from tests.support.database import Connection
from tests.support.factories import Json

Verdicts: TypeAlias = Counter[tuple[str, str]]
"""How many commands on records of a kind got which reason or code, or succeeded."""

QUIET_TIMEOUT_S = 60.0
POLL_S = 0.2
SHOWN_MAX = 5


class NotProvedError(AssertionError):
    """A guarantee does not hold; the message lists the violations."""


@dataclass(frozen=True)
class Row:
    """A verdict in the ledger."""

    content_hash: bytes
    verdict: str
    event: str

    @property
    def told(self) -> tuple[str, str]:
        """The kind of record that it is about, and the reason, the code or else the verdict."""
        event = json.loads(self.event)
        why = event["data"].get("reason") or event["data"].get("code") or self.verdict
        return event["type"].partition(".")[0], why

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(self.event.encode()).digest()


@dataclass
class Oracle:
    """Holds the clients' journal against the servers. Its URLs lead to them directly."""

    database_url: str
    amqp_url: str
    topology: Topology
    journal: Journal
    sure_replies: bool = True
    """Whether every reply has to come: the service tries none again that the broker refuses for want of a leader."""
    _rows: dict[str, Row] = field(default_factory=dict)
    _expected: set[str] = field(default_factory=set)
    """The ids of all events that there may be."""
    _dead: dict[bytes, list[str]] = field(default_factory=dict)
    """The reasons that each dead letter came with."""

    async def check(self, timeout_s: float = QUIET_TIMEOUT_S) -> Verdicts:
        """Wait until nothing is missing, then make all checks; return how many verdicts there were.

        Raises NotProvedError.
        """
        database = await asyncpg.connect(self.database_url)
        broker = await connect(self.amqp_url)
        try:
            await self._until_quiet(database, await broker.channel(), timeout_s)
            await self._find(database, self.journal.given_up)
        finally:
            await broker.close()
            await database.close()
        # In a thread, because it takes seconds, and the proxies of this process must not stand still meanwhile.
        if wrong := await asyncio.to_thread(asyncio.run, self._wrong()):
            raise NotProvedError("\n".join(wrong))
        verdicts = Counter(row.told for row in self._rows.values())
        self._rows.clear()
        self.journal.turn_page()
        return verdicts

    async def _wrong(self) -> list[str]:
        """All that is wrong."""
        wrong = [*self._wrong_verdicts(), *self._wrong_events(), *self._wrong_dead_letters()]
        return [*wrong, *await self._wrong_claims(), *await self._wrong_histories()]

    async def _until_quiet(self, database: Connection, channel: AbstractChannel, timeout_s: float) -> None:
        missing: list[str] = []
        try:
            async with asyncio.timeout(timeout_s):
                while missing := await self._missing(database, channel):  # noqa: ASYNC110 - it is outside of here
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise NotProvedError("\n".join([f"after {timeout_s:g} s:", *missing])) from None

    async def _missing(self, database: Connection, channel: AbstractChannel) -> list[str]:
        """The events that are missing and must still come without help."""
        await self._take_dead_letters(channel)
        unconfirmed = await database.fetchval("SELECT count(*) FROM batches WHERE confirmed_at IS NULL")
        missing = _told("messages wait for a replica", await count_waiting(channel, self.topology))
        missing += _told("batches are not confirmed", unconfirmed)
        confirmed = list(self.journal.confirmed)
        await self._find(database, confirmed)
        decided, undecided = self._sorted(confirmed)
        missing += _told("have no verdict", undecided)
        unseen = [outgoing.id for outgoing in decided if self._answer_id(outgoing) not in self.journal.events]
        missing += _told("have a verdict that was not seen", unseen)
        waiting = [outgoing.id for outgoing in decided if outgoing.wants_reply and not self._replied(outgoing)]
        missing += _told("have no reply", waiting) if self.sure_replies else []
        lost = [
            repr(outgoing.body)
            for outgoing in confirmed
            if outgoing.command is None and outgoing.body not in self._dead
        ]
        return missing + _told("cannot be decoded and are not in the dead letters", lost)

    def _sorted(self, messages: Iterable[OutgoingMessage]) -> tuple[list[OutgoingMessage], list[str]]:
        """The commands among dead letters that are decided, and the ids of those that are not."""
        decided, undecided = [], []
        for outgoing in messages:
            if outgoing.command is not None and outgoing.id in self._rows:
                decided.append(outgoing)
            elif outgoing.command is not None:
                undecided.append(outgoing.id)
        return decided, undecided

    async def _find(self, database: Connection, messages: Iterable[OutgoingMessage]) -> None:
        """Read those verdicts that have not been read yet."""
        ids = {outgoing.id for outgoing in messages if outgoing.command is not None} - self._rows.keys()
        rows = await database.fetch(
            "SELECT id, content_hash, verdict, event FROM ledger WHERE id = ANY ($1::uuid[])", list(ids)
        )
        for row in rows:
            self._rows[str(row["id"])] = Row(row["content_hash"], row["verdict"], row["event"])

    async def _take_dead_letters(self, channel: AbstractChannel) -> None:
        queue = await channel.get_queue(self.topology.dead_letters, ensure=False)
        while (message := await queue.get(no_ack=True, fail=False)) is not None:
            reason = message.headers.get(REASON_HEADER) or f"none, but {message.headers}"
            self._dead.setdefault(message.body, []).append(str(reason))

    def _answer_id(self, outgoing: OutgoingMessage) -> str:
        """The id of the event that answers a decided dead letter."""
        if self._rows[outgoing.id].content_hash == outgoing.content_hash:
            return outcome_id(outgoing.id)
        return id_reused_id(outgoing.id, outgoing.content_hash)

    def _replied(self, outgoing: OutgoingMessage) -> bool:
        return (outgoing.id, self._answer_id(outgoing)) in self.journal.replies

    def _decided(self) -> list[OutgoingMessage]:
        """The dead letters whose ids have a verdict."""
        return self._sorted({*self.journal.confirmed, *self.journal.given_up})[0]

    def _wrong_verdicts(self) -> list[str]:
        wrong = []
        for outgoing in self._decided():
            row = self._rows[outgoing.id]
            code = json.loads(row.event)["data"].get("code")
            if code == "internal_error":
                wrong.append(f"command {outgoing.id} was given up: {row.event}")
            if row.content_hash == outgoing.content_hash and outgoing.code not in (None, code):
                wrong.append(f"command {outgoing.id} should have been {outgoing.code}: {row.event}")
        return wrong

    def _wrong_events(self) -> list[str]:
        """Events with other bytes than the ledger's, verdicts that were not seen, and events of commands never sent."""
        events = self.journal.events
        wrong = list(self.journal.oddities)
        for command_id, row in self._rows.items():
            seen = events.get(outcome_id(command_id))
            if seen is None:
                wrong.append(f"the verdict of command {command_id} was not seen: {row.event}")
            elif seen.digest != row.digest:
                wrong.append(f"the event of command {command_id} is not the ledger's: {row.event}")
        # Commands that were given up may still be answered.
        for outgoing in (*self.journal.confirmed, *self.journal.given_up):
            if outgoing.command is not None:
                self._expected |= {outcome_id(outgoing.id), id_reused_id(outgoing.id, outgoing.content_hash)}
        strays = [events[event_id].command_id for event_id in events.keys() - self._expected]
        return wrong + _told("were answered, but no client has sent them", strays)

    def _wrong_dead_letters(self) -> list[str]:
        sent = {
            outgoing.body for outgoing in (*self.journal.confirmed, *self.journal.given_up) if outgoing.command is None
        }
        others = [f"{body!r}, {reasons}" for body, reasons in self._dead.items() if body not in sent]
        wrong = _told("are in the dead letters, but can be decided", others)
        unreasoned = [repr(body) for body, reasons in self._dead.items() if any(map(_says_none, reasons))]
        self._dead.clear()
        return wrong + _told("are in the dead letters without a reason", unreasoned)

    async def _wrong_claims(self) -> list[str]:
        return [
            f"not true: {checked.claim} {checked.violations}"
            async for checked in verify(self.database_url, KINDS)
            if checked.violations
        ]

    async def _wrong_histories(self) -> list[str]:
        """Hold rows and histories against the model."""
        fresh = [outgoing for outgoing in self._decided() if outgoing in self.journal.fresh and outgoing.code is None]
        sent: list[Json] = [outgoing.command for outgoing in fresh if outgoing.command is not None]
        database = await asyncpg.connect(self.database_url)
        try:
            await check_explained(database, sent)
        except AssertionError:
            return [f"the model does not explain it: {traceback.format_exc()}"]
        finally:
            await database.close()
        return []


async def count_waiting(channel: AbstractChannel, topology: Topology) -> int:
    """How many messages are ready in the inbox, and in the lanes if there are any."""
    declared = [await channel.declare_queue(queue.name, passive=True) for queue in topology.command_queues]
    return sum(queue.declaration_result.message_count or 0 for queue in declared)


def _told(what: str, found: int | Iterable[str]) -> list[str]:
    """One line about the findings, or none."""
    if isinstance(found, int):
        return [f"{found} {what}"] if found else []
    all_found = list(found)
    return [f"{len(all_found)} {what}: {', '.join(all_found[:SHOWN_MAX])}"] if all_found else []


def _says_none(reason: str) -> bool:
    return reason.startswith("none, but")
