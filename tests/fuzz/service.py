"""A service that is sent anything, and what watches it: nothing may be logged as an error, nothing may be lost."""

import asyncio
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator, MutableMapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import aio_pika
import structlog
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from prometheus_client import CollectorRegistry

from genlock.consumers.amqp.declare import declare_topology, delete_topology
from genlock.consumers.amqp.topology import Topology
from tests.fuzz.drafts import MARK_HEADER, Draft, Part, Sent, id_in
from tests.fuzz.wire import publish
from tests.support.factories import new_id
from tests.support.harness import until

PATIENCE_S = 20.0
"""A service without any progress for so long is stuck."""


@contextmanager
def watched_logs() -> Iterator[list[str]]:
    """Collect all that is logged as an error, and that a session was lost; drop the rest of what the service logs."""
    troubles: list[str] = []

    def watch(_logger: Any, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if level in ("error", "exception", "critical") or event.get("action") == "reconnect":
            troubles.append(str(structlog.processors.format_exc_info(_logger, level, event)))
        raise structlog.DropEvent

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            troubles.append(logging.Formatter().format(record))

    handler, before = Handler(logging.ERROR), structlog.get_config()
    logging.getLogger().addHandler(handler)
    structlog.configure(processors=[watch])
    try:
        yield troubles
    finally:
        structlog.configure(**before)
        logging.getLogger().removeHandler(handler)


@dataclass
class Watcher:
    """Publishes drafts, and sees every event and every dead letter of the namespace."""

    sending: AbstractChannel
    topology: Topology
    replies: str
    troubles: list[str]
    events: Counter[str] = field(default_factory=Counter)
    """How many events there were of each command's id."""
    codes: Counter[str] = field(default_factory=Counter)
    """How many events there were of each verdict or code of rejection."""
    dead_letters: dict[str, list[AbstractIncomingMessage]] = field(default_factory=dict)
    """The dead letters by their marks."""
    strange: list[AbstractIncomingMessage] = field(default_factory=list)
    """Dead letters without a mark."""
    answered: int = 0
    """How many messages came to the queue for replies."""
    ids: list[str] = field(default_factory=list)
    """Those of all commands so far."""
    marks: int = 0
    sent: int = 0
    """How many ends all messages so far have to come to."""
    ended: int = 0
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def named(self, drafts: Sequence[Draft]) -> dict[str, Sent]:
        """Give each draft its identity; return them by their marks."""
        result: dict[str, Sent] = {}
        for draft in drafts:
            given = [new_id() for _ in draft.texts]
            if draft.again is not None and given and self.ids:
                given[-1] = self.ids[draft.again % len(self.ids)]
            self.ids += given
            mark = f"m{self.marks}"
            self.marks += 1
            result[mark] = draft.sent(given, mark)
        return result

    async def send(self, drafts: Sequence[Draft]) -> None:
        """Publish commands, wait until each of them has ended, and check that it ended once.

        Raises AssertionError with the violations, and the first messages that have them.
        """
        batch, before = self.named(drafts), Counter(self.events)
        await publish(self.sending, self.topology.commands, [sent.message for sent in batch.values()])
        self.sent += sum(sent.ends for sent in batch.values())
        await self._until_ended(batch)
        assert not self.troubles, self.troubles[:3]
        assert not self.strange, [(dead_letter.headers, dead_letter.body[:200]) for dead_letter in self.strange[:3]]
        living = [part for mark, sent in batch.items() for part in self._living(mark, sent)]
        wanted, seen = Counter(part.answer_id for part in living), self.events - before
        wrong = [(part, seen[part.answer_id]) for part in living if seen[part.answer_id] != wanted[part.answer_id]]
        assert not wrong, wrong[:3]
        assert seen == wanted, seen - wanted

    def _living(self, mark: str, sent: Sent) -> list[Part]:
        """The parts of a message that are not among the dead letters, which have to be as they were sent."""
        dead_letters = self.dead_letters.get(mark, [])
        for dead_letter in dead_letters:
            assert "x-genlock-reason" in dead_letter.headers or "x-death" in dead_letter.headers, dead_letter.headers
        dead = Counter(dead_letter.body for dead_letter in dead_letters)
        if not sent.parts:
            assert dead == {sent.message.body: 1}, sent.message
            return []
        living = []
        for part in sent.parts:
            if dead[part.body]:
                dead[part.body] -= 1
            else:
                living.append(part)
        assert not dead.total(), (dead, [dead_letter.headers for dead_letter in dead_letters], sent.message)
        return living

    async def ask(self, drafts: Sequence[Draft], registry: CollectorRegistry) -> None:
        """Publish queries, and wait until each of them is counted: as answered, as an error or as dropped."""
        batch = self.named(drafts)
        queue = self.topology.queries.encode()
        messages = [replace(sent.message, routing_key=queue) for sent in batch.values()]
        await publish(self.sending, "", messages)
        self.sent += len(messages)

        async def counted() -> bool:
            return bool(self.troubles) or _queries(registry) >= self.sent

        await until(counted, PATIENCE_S)
        assert not self.troubles, self.troubles[:3]
        assert _queries(registry) == self.sent

    async def _until_ended(self, batch: dict[str, Sent]) -> None:
        while self.ended < self.sent and not self.troubles:
            self._news.clear()
            try:
                await asyncio.wait_for(self._news.wait(), PATIENCE_S)
            except TimeoutError:
                missing = [sent.message for mark, sent in batch.items() if mark not in self.dead_letters]
                missing = [message for message in missing if not self.events[id_in(message.body) or ""]]
                raise AssertionError(f"{self.sent - self.ended} have not ended, perhaps {missing[:3]}") from None

    async def on_event(self, message: AbstractIncomingMessage) -> None:
        event = json.loads(message.body)
        self.events[event["causationid"]] += 1
        self.codes[event["data"].get("code") or str(message.routing_key).rpartition(".")[2]] += 1
        self._end()

    async def on_dead_letter(self, message: AbstractIncomingMessage) -> None:
        carried = (
            message.message_id,
            message.app_id,
            message.correlation_id,
            message.headers.get(MARK_HEADER.decode()),
        )
        marks = [text for text in carried if isinstance(text, str) and text[1:].isdecimal() and text[0] == "m"]
        if len(marks) == 1:
            self.dead_letters.setdefault(marks[0], []).append(message)
        else:
            self.strange.append(message)
        self._end()

    async def on_reply(self, _message: AbstractIncomingMessage) -> None:
        self.answered += 1
        self._news.set()

    def _end(self) -> None:
        self.ended += 1
        self._news.set()


def _queries(registry: CollectorRegistry) -> float:
    """How many queries the service has counted."""
    samples = (sample for family in registry.collect() for sample in family.samples)
    return sum(sample.value for sample in samples if sample.name == "genlock_queries_total")


@asynccontextmanager
async def watching(amqp_url: str, namespace: str) -> AsyncIterator[Watcher]:
    """Declare a namespace and watch it; in the end remove it from the broker."""
    topology = Topology(namespace)
    with watched_logs() as troubles:
        async with await aio_pika.connect(amqp_url) as connection, await aio_pika.connect(amqp_url) as sender:
            channel = await connection.channel()
            await declare_topology(topology, channel)
            replies = await channel.declare_queue(f"{namespace}-replies", exclusive=True)
            watcher = Watcher(await sender.channel(publisher_confirms=True), topology, replies.name, troubles)
            events = await channel.declare_queue(exclusive=True)
            await events.bind(topology.events, routing_key="#")
            await events.consume(watcher.on_event, no_ack=True)
            await (await channel.get_queue(topology.dead_letters)).consume(watcher.on_dead_letter, no_ack=True)
            await replies.consume(watcher.on_reply, no_ack=True)
            try:
                yield watcher
            finally:
                await delete_topology(topology, await connection.channel())
