"""Direct replies: askers get their answers, and a name that ends the connection which publishes there ends no other."""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterable, MutableMapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from pydantic import SecretStr
from structlog.testing import capture_logs

from genlock.consumers.amqp.publisher import Outgoing
from genlock.consumers.health.metrics import Metrics
from genlock.consumers.queries.direct_replies import DirectReplies
from genlock.consumers.queries.reply_names import Origins
from genlock.service.settings import Settings
from tests.fuzz.wire import Message, publish, short
from tests.support.documents import creation
from tests.support.factories import Json, envelope, json_bytes, new_id
from tests.support.harness import CONTENT_TYPE, DEADLINE_S, NO_PROPERTIES, Client, serving, until
from tests.support.proxy import Cut, proxied

DIRECT = "amq.rabbitmq.reply-to"

SEVERAL = 20


def name_of(process: bytes, key: bytes = b"k" * 16) -> str:
    """The name of a direct reply to what should be a process."""
    return f"{DIRECT}.{base64.b64encode(process).decode()}.{base64.b64encode(key).decode()}"


def atom(text: bytes) -> bytes:
    return b"w" + bytes([len(text)]) + text


STRANGE = {
    "a key that is none": f"{DIRECT}.g1h2AA==.x",
    "an atom cut short": name_of(b"\x83Xw\x20reply@1"),
    "a number in place of a process": name_of(b"\x83a\x01"),
    "no term": name_of(b"\xff\xff"),
    "a node without a hash": name_of(b"\x83X" + atom(b"rabbit@nowhere") + bytes(12)),
    "a node without a name": name_of(b"\x83X" + atom(b"nameless") + bytes(12)),
    "numbers cut short": name_of(b"\x83X" + atom(b"reply@1") + bytes(7)),
    "no base 64": f"{DIRECT}.!!!.???",
    "one part": f"{DIRECT}.part",
    "three parts": f"{DIRECT}.a.b.c",
    "nothing": f"{DIRECT}.",
}
NOBODYS = name_of(b"\x83X" + atom(b"reply@1") + bytes(12))
"""Written as the broker writes names, of a process that is none."""


FORGED: dict[str, Callable[[str], str]] = {
    "of a node that is none": lambda _true: NOBODYS,
    "of a node in no alphabet": lambda _true: name_of(b"\x83X" + atom(b"\xff\xfe@1") + bytes(12)),
    "with a number that is too large": lambda true: with_numbers(true, 2**31, 0),
    "with a serial that is too large": lambda true: with_numbers(true, 0, 2**31),
}
"""Written as the broker writes names; it ends the connection that publishes to one all the same, before version 4.2."""


@dataclass
class DirectAsker:
    """Asks and waits for direct replies, as many client libraries do for remote calls."""

    channel: aio_pika.abc.AbstractChannel
    client: Client
    replies: dict[str, "asyncio.Future[Json]"] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)

    async def listen(self) -> None:
        queue = await self.channel.get_queue(DIRECT, ensure=False)
        await queue.consume(self._on_reply, no_ack=True)

    async def _on_reply(self, message: AbstractIncomingMessage) -> None:
        assert message.correlation_id is not None
        self.names.add(message.routing_key or "")
        answer = self.replies[message.correlation_id]
        if not answer.done():
            answer.set_result(json.loads(message.body))

    async def ask(self, exchange: str, members: Json) -> Json:
        """Publish a query or a command, and wait for the answer to it."""
        answer: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self.replies[members["id"]] = answer
        message = aio_pika.Message(
            json_bytes(members), content_type=CONTENT_TYPE, reply_to=DIRECT, correlation_id=members["id"]
        )
        to = await self.channel.get_exchange(exchange, ensure=False)
        await to.publish(message, members["type"])
        async with asyncio.timeout(DEADLINE_S):
            await answer
        return answer.result()

    async def ask_all(self, count: int) -> None:
        """Send commands and ask for their documents; each is answered."""
        topology = self.client.topology
        for _ in range(count):
            command = creation()
            outcome = await self.ask(topology.commands, command)
            assert outcome["type"] == "document.put.succeeded"
            answer = await self.ask(topology.reads, envelope("document.get", command["subject"], {}))
            assert answer["data"]["record"]["generation"] == 0


@pytest.fixture
async def asker(client: Client, amqp_url: str) -> AsyncIterator[DirectAsker]:
    """A client that waits for direct replies."""
    async with await aio_pika.connect(amqp_url) as connection:
        asker = DirectAsker(await connection.channel(), client)
        await asker.listen()
        yield asker


async def send_strange(client: Client, reply_to: str) -> None:
    """Publish a query and a command that want their answer under a name."""
    where = {"reply_to": short(reply_to.encode())}
    query, command = envelope("document.get", new_id(), {}), creation()
    await publish(client.channel, client.topology.reads, [Message(json_bytes(query), b"document.get", where)])
    await publish(client.channel, client.topology.commands, [Message(json_bytes(command), b"document.put", where)])


def sessions_lost(logs: Iterable[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [line for line in logs if line["action"] == "reconnect"]


async def test_askers_get_direct_replies(settings: Settings, asker: DirectAsker) -> None:
    async with serving(settings) as service:
        await asker.ask_all(2)
        assert asker.names
        assert all(service._replies._origins.vouch_for(name) for name in asker.names)


async def test_names_of_the_broker_are_known_before_the_first_reply(settings: Settings, asker: DirectAsker) -> None:
    async with DirectReplies(settings, Metrics()).running() as replies:
        name = await name_of_asker(asker)

        async def known() -> bool:
            return replies._origins.vouch_for(name)

        await until(known)


def with_numbers(name: str, number: int, serial: int) -> str:
    """The name of a process of the same node with other numbers."""
    process, key = (base64.b64decode(part) for part in name.removeprefix(f"{DIRECT}.").split("."))
    return name_of(process[:-12] + number.to_bytes(4, "big") + serial.to_bytes(4, "big") + process[-4:], key)


@pytest.mark.parametrize("name", STRANGE)
def test_strange_name_is_not_taken_for_one_of_the_brokers(name: str) -> None:
    origins = Origins()
    origins.note(NOBODYS)
    assert origins.vouch_for(NOBODYS)
    assert not origins.vouch_for(STRANGE[name])


def test_name_is_known_by_what_the_broker_has_read_of_the_same_start_of_a_node() -> None:
    origins = Origins()
    assert not origins.vouch_for(NOBODYS)
    origins.note(with_numbers(NOBODYS, 2**20, 0))
    assert origins.vouch_for(NOBODYS)
    assert origins.vouch_for(with_numbers(NOBODYS, 2**20 + 1, 1))
    assert not origins.vouch_for(with_numbers(NOBODYS, 2**21, 0))
    assert not origins.vouch_for(with_numbers(NOBODYS, 0, 2**13))
    assert not origins.vouch_for(name_of(b"\x83X" + atom(b"reply@1") + bytes(11) + b"\1"))
    assert not origins.vouch_for(name_of(b"\x83X" + atom(b"reply@2") + bytes(12)))


def test_only_so_many_nodes_are_remembered() -> None:
    origins, names = Origins(), [name_of(b"\x83X" + atom(b"reply@%d" % number) + bytes(12)) for number in range(200)]
    for name in names:
        origins.note(name)
    assert not origins.vouch_for(names[0])
    assert origins.vouch_for(names[-1])


@pytest.mark.parametrize("name", STRANGE)
async def test_strange_name_ends_no_session_and_takes_no_answer_from_others(
    client: Client, settings: Settings, asker: DirectAsker, name: str
) -> None:
    with capture_logs() as logs:
        async with serving(settings, retry_delay_max_s=0.2):
            for _ in range(3):
                await send_strange(client, STRANGE[name])
                await asker.ask_all(1)
    assert sessions_lost(logs) == []
    assert await client.depth(client.topology.inbox) == await client.depth(client.topology.queries) == 0


@pytest.mark.parametrize("forge", FORGED)
async def test_forged_name_delays_no_answer_to_others(
    client: Client, settings: Settings, asker: DirectAsker, forge: str
) -> None:
    forged = FORGED[forge](await name_of_asker(asker))
    async with serving(settings, retry_delay_max_s=DEADLINE_S) as service:
        await asker.ask_all(1)
        for _ in range(SEVERAL):
            await send_strange(client, forged)
            await asker.ask_all(1)

        async def dropped() -> bool:
            return bool(service.registry.get_sample_value("genlock_direct_replies_dropped_total"))

        await until(dropped)


async def test_flood_of_strange_names_is_dropped_and_counted_and_known_ones_get_their_replies(
    settings: Settings, amqp_url: str, asker: DirectAsker
) -> None:
    metrics = Metrics()
    async with replying(settings, amqp_url, metrics, waiting_max=SEVERAL) as replies:
        name = await name_of_asker(asker)
        # From now on the broker is known to read such names.
        await answered(asker, send_reply(asker, replies, name))
        for _ in range(SEVERAL):
            for strange in STRANGE.values():
                replies.send(Outgoing("", strange, b"{}", NO_PROPERTIES, optional=True))
        await answered(asker, *(send_reply(asker, replies, name) for _ in range(SEVERAL)))
        dropped = metrics.registry.get_sample_value("genlock_direct_replies_dropped_total") or 0
    assert dropped >= SEVERAL * len(STRANGE) - SEVERAL


async def test_reply_after_the_connection_was_lost_goes_out_on_the_next_one(
    settings: Settings, asker: DirectAsker
) -> None:
    async with proxied(settings.amqp_url.get_secret_value()) as broker, replying(settings, broker.url) as replies:
        name = await name_of_asker(asker)
        await answered(asker, send_reply(asker, replies, name))
        broker.cut()
        await answered(asker, send_reply(asker, replies, name))


@pytest.mark.parametrize("after", [False, True])
async def test_replies_under_way_when_the_connection_is_lost_are_sent_again(
    settings: Settings, asker: DirectAsker, after: bool
) -> None:
    async with proxied(settings.amqp_url.get_secret_value()) as broker, replying(settings, broker.url) as replies:
        name = await name_of_asker(asker)
        await answered(asker, send_reply(asker, replies, name))
        numbers = [send_reply(asker, replies, name) for _ in range(SEVERAL)]
        broker.next_cut = Cut(numbers[SEVERAL // 2].encode(), after=after)
        await answered(asker, *numbers)
        assert broker.cuts == 1


async def name_of_asker(asker: DirectAsker) -> str:
    """The name that the broker gives to an asker."""
    queue = await asker.client.channel.declare_queue(exclusive=True)
    await asker.channel.default_exchange.publish(aio_pika.Message(b"", reply_to=DIRECT), queue.name)
    message = await queue.get(no_ack=True)
    assert message.reply_to is not None
    return message.reply_to


def send_reply(asker: DirectAsker, replies: DirectReplies, name: str) -> str:
    """Have a reply sent; return its number."""
    number = new_id()
    asker.replies[number] = asyncio.get_running_loop().create_future()
    properties = aio_pika.Message(b"", correlation_id=number).properties.marshal()
    replies.send(Outgoing("", name, b"{}", properties, optional=True))
    return number


async def answered(asker: DirectAsker, *numbers: str) -> None:
    """Wait for replies."""
    async with asyncio.timeout(DEADLINE_S):
        await asyncio.gather(*(asker.replies[number] for number in numbers))


@asynccontextmanager
async def replying(
    settings: Settings, amqp_url: str, metrics: Metrics | None = None, **limits: int
) -> AsyncIterator[DirectReplies]:
    """Send direct replies by way of this address."""
    changed = settings.model_copy(update={"amqp_url": SecretStr(amqp_url), "retry_delay_max_s": 0.2})
    async with DirectReplies(changed, metrics or Metrics(), **limits).running() as replies:
        yield replies
