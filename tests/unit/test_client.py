"""How the client reads answers and errors of the AMQP library. Tests with real brokers are in tests/e2e."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, cast

import pytest
from aio_pika.abc import AbstractChannel, AbstractConnection
from aio_pika.exceptions import (
    AMQPConnectionError,
    ChannelInvalidStateError,
    ChannelNotFoundEntity,
    DeliveryError,
)
from aiormq.exceptions import ChannelAccessRefused
from pamqp.commands import Basic

import genlock
from genlock._client.absence import IsLast, only_one
from genlock._client.link import Link
from genlock._client.outgoing import OutgoingMessage
from genlock._client.session import ClientSession, ClientSessionLostError
from genlock._client.subscriptions import Deliveries, TransientSubscription
from genlock.client import Client, _Events
from genlock.schemas.base import JsonObject

STACK = "0190a0a0-0000-7000-8000-000000000001"
EVENT = {
    "specversion": "1.0",
    "id": STACK,
    "source": "/genlock",
    "type": "document.put.succeeded",
    "subject": "x",
    "time": "2026-01-31T12:00:00Z",
    "correlationid": STACK,
    "causationid": STACK,
    "attempt": 1,
    "data": {"kind": "document", "id": "x", "sequence": 1, "record": None, "token": {"generation": 3}},
}


class AnsweringLink:
    """Stands for a connection on which every question gets the same answer."""

    def __init__(self, answer: Any) -> None:
        self.body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.messages: list[OutgoingMessage] = []

    async def publish(self, outgoing: OutgoingMessage) -> None:
        self.messages.append(outgoing)

    async def ask(
        self, outgoing: OutgoingMessage, _within_s: float | None = None, *, is_last: IsLast = only_one
    ) -> bytes:
        self.messages.append(outgoing)
        assert is_last(self.body)
        return self.body


def _client(answer: Any = None) -> tuple[Client, AnsweringLink]:
    link = AnsweringLink(answer)
    return Client(cast("Link", link), "ns", "/test"), link


def _put() -> genlock.Command:
    return genlock.command(genlock.DocumentPut(expected_generation=None, body={}), subject="x")


async def test_send_returns_the_outcome() -> None:
    client, link = _client(EVENT)
    match await client.send(_put()):
        case genlock.Succeeded(token=genlock.GenerationToken(generation=generation)):
            assert generation == 3
        case other:
            pytest.fail(f"{other}")
    assert (link.messages[0].exchange, link.messages[0].routing_key) == ("ns.commands", "document.put")


async def test_publish_returns_the_id() -> None:
    client, link = _client()
    command = _put()
    assert await client.publish(command) == command.id
    assert link.messages[0].envelope["source"] == "/test"


async def test_answer_that_is_no_outcome_leaves_the_question_open() -> None:
    client, _ = _client({"type": "x"})
    command = _put()
    with pytest.raises(genlock.UnreadableAnswer) as raised:
        await client.send(command)
    assert raised.value.command_id == command.id
    assert isinstance(raised.value, genlock.Unanswered)


UNDECODABLE = {
    "specversion": "1.0",
    "id": "8c7e4b52-31e4-5c1b-a0f5-6c1f2a3b4c5d",
    "source": "/ns",
    "type": "command.undecodable",
    "time": "2026-01-31T12:00:00Z",
    "data": {"code": "invalid_data", "message": "No id.", "errors": [{"path": "id", "message": "No."}], "command": {}},
}


async def test_command_that_the_service_could_not_identify_has_no_effect() -> None:
    client, _ = _client(UNDECODABLE)
    command = _put()
    with pytest.raises(genlock.Undecodable, match=r"^No id\.$") as raised:
        await client.send(command)
    assert raised.value.command_id == command.id
    assert [error.path for error in raised.value.errors] == ["id"]
    assert not isinstance(raised.value, genlock.Unanswered)


async def test_bulk_with_a_command_that_the_service_could_not_identify_names_it() -> None:
    commands = [_put(), _put()]
    client, _ = _client([EVENT | {"causationid": commands[0].id}, UNDECODABLE])
    with pytest.raises(genlock.Undecodable) as raised:
        await client.send_bulk(commands)
    assert raised.value.command_id == commands[1].id


async def test_get_returns_the_state() -> None:
    client, link = _client(
        {"data": {"record": {"id": "x", "generation": 1, "body": {}, "new_field": 1}, "sequence": 2}}
    )
    assert await client.get("document", "x") == genlock.DocumentState(id="x", generation=1, body={})
    outgoing = link.messages[0]
    assert (outgoing.exchange, outgoing.routing_key, outgoing.persistent) == ("ns.reads", "document.get", False)
    assert (outgoing.envelope["type"], outgoing.envelope["subject"]) == ("document.get", "x")


async def test_get_of_nothing_is_none() -> None:
    client, _ = _client({"data": {"error": {"code": "not_found", "message": "There is no document x."}}})
    assert await client.get("document", "x") is None


async def test_query_that_fails_has_a_code() -> None:
    client, _ = _client({"data": {"error": {"code": "invalid_data", "message": "No."}}})
    with pytest.raises(genlock.QueryFailed, match=r"^No\.$") as raised:
        await client.get("document", "x")
    assert raised.value.code == "invalid_data"


async def test_query_returns_its_data() -> None:
    client, link = _client({"data": {"records": [], "next": None}})
    assert await client.query("stack.list", name="web") == {"records": [], "next": None}
    assert link.messages[0].envelope["data"] == {"name": "web"}
    assert "subject" not in link.messages[0].envelope


class PagingLink:
    """Stands for a connection on which a list is read in pages."""

    def __init__(self, *pages: JsonObject) -> None:
        self.pages = iter(pages)
        self.asked: list[JsonObject] = []

    async def ask(self, outgoing: OutgoingMessage, _within_s: float | None = None) -> bytes:
        self.asked.append(outgoing.envelope["data"])
        return json.dumps({"data": next(self.pages)}).encode()


async def test_records_of_all_pages_come_one_by_one() -> None:
    link = PagingLink(
        {"records": [{"id": "a"}, {"id": "b"}], "next": "b"},
        {"records": [], "next": "c"},
        {"records": [{"id": "d"}], "next": None, "generation": 5},
    )
    client = Client(cast("Link", link), "ns", "/test")
    records = client.records("provider.list", required=["CUSTOM_A"], limit=2)
    assert link.asked == []
    assert [record["id"] async for record in records] == ["a", "b", "d"]
    filters = {"required": ["CUSTOM_A"], "limit": 2}
    assert link.asked == [filters, filters | {"after": "b"}, filters | {"after": "c"}]


async def test_next_page_is_asked_for_when_it_is_needed() -> None:
    link = PagingLink({"records": [{"id": "b"}, {"id": "c"}], "next": "c"})
    client = Client(cast("Link", link), "ns", "/test")
    records = client.records("provider.list", after="a")
    assert [await anext(records), await anext(records)] == [{"id": "b"}, {"id": "c"}]
    assert link.asked == [{"after": "a"}]


@pytest.mark.parametrize("data", [{"record": {}}, {"records": {}, "next": None}, {"records": [], "next": 5}, {}])
async def test_answer_without_a_page_of_records_is_unreadable(data: JsonObject) -> None:
    client, _ = _client({"data": data})
    with pytest.raises(genlock.UnreadableAnswer, match=r"stack\.get"):
        await anext(client.records("stack.get", STACK))


async def test_records_of_a_query_that_fails_raise_its_error() -> None:
    client, _ = _client({"data": {"error": {"code": "unknown_trait", "message": "No."}}})
    with pytest.raises(genlock.QueryFailed) as raised:
        await anext(client.records("provider.list", required=["FAST"]))
    assert raised.value.code == "unknown_trait"


@pytest.mark.parametrize("answer", [b"{", [], {"data": 5}, {"data": {"record": {"id": 5}}}])
async def test_answer_that_is_no_reply_is_unreadable(answer: Any) -> None:
    client, _ = _client(answer)
    with pytest.raises(genlock.UnreadableAnswer):
        await client.get("document", "x")


async def test_events_skip_other_messages() -> None:
    async def bodies() -> AsyncIterator[bytes]:
        yield b"no event"
        yield json.dumps(EVENT).encode()

    assert [event.subject async for event in _Events(bodies())] == ["x"]


@pytest.mark.parametrize("queue", ["ns", "ns.reader", "", "amq.mine", "ä" * 128])
async def test_a_queue_that_is_not_a_readers_is_refused(queue: str) -> None:
    client, _ = _client()
    with pytest.raises(ValueError, match="queue"):
        async with client.events(queue=queue):
            pass


def _session() -> ClientSession:
    return ClientSession(cast("AbstractConnection", None))


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        (DeliveryError(None, Basic.Nack(1)), genlock.Refused),
        (ChannelNotFoundEntity("no exchange"), genlock.Unroutable),
        (ChannelAccessRefused("not you"), genlock.Refused),
    ],
)
async def test_message_that_the_broker_does_not_take_raises(theirs: Exception, ours: type[genlock.NotTaken]) -> None:
    session = _session()
    with pytest.raises(ours) as raised, session.faults("7"):
        raise theirs
    assert raised.value.command_id == "7"
    assert not session.lost.is_set()


@pytest.mark.parametrize(
    "theirs",
    [
        AMQPConnectionError("reset"),
        ChannelInvalidStateError("closed"),
        ConnectionResetError(),
        TimeoutError("the kernel has given up"),
        # aiormq ends waits on a closed connection with this, although no code has cancelled the task.
        asyncio.CancelledError(),
    ],
)
async def test_a_fault_of_the_connection_ends_the_session(theirs: BaseException) -> None:
    session = _session()
    with pytest.raises(ClientSessionLostError), session.faults():
        raise theirs
    assert session.lost.is_set()


async def test_a_task_that_is_cancelled_stays_cancelled() -> None:
    async def wait() -> None:
        with _session().faults():
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_subscription_that_ended_says_so_each_time() -> None:
    deliveries = Deliveries(_session(), cast("AbstractChannel", None))
    subscription = TransientSubscription(deliveries)
    waiting = asyncio.create_task(anext(subscription))
    await asyncio.sleep(0)
    deliveries.end("reset")
    for disconnected in (waiting, anext(subscription), anext(subscription)):
        with pytest.raises(genlock.Disconnected, match="reset"):
            await disconnected


@pytest.mark.parametrize(
    "url",
    ["", "nonsense", "http://localhost/", "amqp://", "amqp://user:secret/1@host:x/", "amqp://[::1", "amqp:///vhost"],
)
async def test_a_bad_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(genlock.CannotConnect) as raised:
        async with genlock.connect(url):
            pass
    assert "secret" not in str(raised.value)


async def test_a_source_that_is_none_is_refused() -> None:
    with pytest.raises(genlock.InvalidMessage):
        async with genlock.connect("amqp://localhost/", source="a b"):
            pass


async def test_unreachable_broker_is_one_sentence() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    with pytest.raises(genlock.CannotConnect, match=f"127.0.0.1:{port} cannot be reached"):
        async with genlock.connect(f"amqp://user:secret@127.0.0.1:{port}/"):
            pass


async def test_a_broker_that_says_nothing_is_given_up() -> None:
    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    server = await asyncio.start_server(say_nothing, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(genlock.CannotConnect, match="does not answer"):
            async with genlock.connect(f"amqp://127.0.0.1:{port}/", timeout_s=0.1):
                pass
