"""Queries over AMQP: each type answered where it asks, bad ones told so or dropped, and none kept."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage
from pydantic import SecretStr

from genlock.consumers.amqp.session import Session, open_session
from genlock.consumers.health.metrics import Metrics
from genlock.consumers.queries.consumer import QueryConsumer
from genlock.consumers.queries.direct_replies import DirectReplies
from genlock.schemas.answers import ErrorData
from genlock.schemas.queries import NoFilters, result_id
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.reading.reads import Answer, Read
from genlock.service.settings import Settings
from tests.support.factories import SOME_ID, Json, envelope, json_bytes, new_id, put
from tests.support.harness import DEADLINE_S, Client, serving, until
from tests.support.proxy import proxied
from tests.support.reads import READS


@dataclass
class Asker:
    """Asks, as a client without our library would."""

    client: Client
    reply_to: str
    replies: dict[str, AbstractIncomingMessage] = field(default_factory=dict)
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def on_reply(self, message: AbstractIncomingMessage) -> None:
        assert message.correlation_id is not None
        self.replies[message.correlation_id] = message
        self.news.set()

    async def publish(self, body: bytes, **properties: Any) -> None:
        message = aio_pika.Message(body, **properties)
        await self.client.channel.default_exchange.publish(message, self.client.topology.queries)

    async def ask(self, query: str, subject: str | None = None, **data: Any) -> Json:
        """Ask and wait for the reply's data."""
        members = envelope(query, subject, data)
        await self.publish(json_bytes(members), reply_to=self.reply_to, correlation_id=members["id"])
        reply: Json = json.loads((await self.reply(members["id"])).body)
        assert reply["id"] == result_id(members["id"])
        assert reply["type"] == f"{query}.result"
        assert reply["causationid"] == members["id"]
        data_of_reply: Json = reply["data"]
        return data_of_reply

    async def reply(self, correlation_id: str) -> AbstractIncomingMessage:
        async with asyncio.timeout(DEADLINE_S):
            while correlation_id not in self.replies:
                self.news.clear()
                await self.news.wait()
        return self.replies[correlation_id]


@pytest.fixture
async def asker(client: Client) -> Asker:
    """A client that asks."""
    queue = await client.channel.declare_queue(exclusive=True)
    asker = Asker(client, queue.name)
    await queue.consume(asker.on_reply, no_ack=True)
    return asker


@pytest.fixture
async def served(settings: Settings) -> AsyncIterator[None]:
    """A replica serves."""
    async with serving(settings):
        yield


@pytest.mark.usefixtures("served")
async def test_each_query_is_answered_where_it_asks(client: Client, asker: Asker) -> None:
    document, stack = new_id(), new_id()
    put = envelope("document.put", document, {"expected_generation": None, "body": {"é": 1}})
    create = envelope("stack.create", stack, {"name": stack, "template": {"a": 1}})
    event, _ = await client.ask(put, create)
    assert await asker.ask("document.get", document) == {"record": event["data"]["record"], "sequence": 1}
    assert (await asker.ask("stack.get", stack))["record"]["template"] == {"a": 1}
    listed = await asker.ask("stack.list", name=stack)
    assert ([record["id"] for record in listed["records"]], listed["next"]) == ([stack], None)
    assert (await asker.ask("command.get", put["id"]))["record"] == event
    history = await asker.ask("record.history", document, kind="document")
    assert [change["command_id"] for change in history["records"]] == [put["id"]]


@pytest.mark.usefixtures("served")
async def test_each_query_about_allocations_is_answered(client: Client, asker: Asker) -> None:
    provider, consumer = new_id(), new_id()
    inventories = {"VCPU": {"total": 8, "reserved": 2}, "DISK_GB": {"total": 100}}
    allocations = {provider: {"resources": {"VCPU": 4}}}
    *_, event = await client.ask(
        envelope("provider.create", provider, {"name": provider}),
        envelope("provider.set_inventories", provider, {"expected_generation": 0, "inventories": inventories}),
        envelope("provider.set_traits", provider, {"expected_generation": 1, "traits": ["CUSTOM_FAST"]}),
        envelope(
            "consumer.set_allocations",
            consumer,
            {"expected_generation": None, "project_id": "p", "user_id": "u", "allocations": allocations},
        ),
    )
    assert await asker.ask("consumer.get", consumer) == {"record": event["data"]["record"], "sequence": 1}
    used = {"resource_class": "VCPU", "used": 4, "capacity": 6, "total": 8, "reserved": 2}
    usages = await asker.ask("provider.usages", provider)
    assert (usages["records"][1], usages["next"], usages["generation"]) == (used, None, 3)
    by_consumer = {
        "consumer_id": consumer,
        "consumer_generation": 1,
        "project_id": "p",
        "user_id": "u",
        "consumer_type": None,
        "resources": {"VCPU": 4},
    }
    page = await asker.ask("provider.allocations", provider)
    assert page == {"records": [by_consumer], "next": None, "generation": 3}
    by_type = {"consumer_type": "unknown", "consumer_count": 1, "resources": {"VCPU": 4}}
    assert await asker.ask("project.usages", "p", user_id="u") == {"records": [by_type], "next": None}
    for amount, found in ((2, [provider]), (3, [])):
        filters: Json = {"required": ["in:CUSTOM_FAST,CUSTOM_SLOW", "!CUSTOM_OLD"], "resources": {"VCPU": amount}}
        listed = await asker.ask("provider.list", **filters)
        assert [record["id"] for record in listed["records"]] == found


@pytest.mark.usefixtures("served")
async def test_a_query_is_read_in_any_spelling_of_its_content_type_with_nulls_and_a_byte_order_mark(
    asker: Asker,
) -> None:
    members = envelope("stack.list", None, {"name": None, "limit": None}, attempt=None, time=None)
    members["datacontenttype"] = "Application/JSON; charset=utf-8"
    for charset in ("UTF-8", "utf-16"):
        body = b"\xef\xbb\xbf" + json_bytes(members)
        content_type = f"Application/CloudEvents+JSON; charset={charset}"
        await asker.publish(body, reply_to=asker.reply_to, correlation_id=charset, content_type=content_type)
        assert "records" in json.loads((await asker.reply(charset)).body)["data"]


@pytest.mark.usefixtures("served")
async def test_a_reply_repeats_its_envelope_in_its_properties(asker: Asker, namespace: str) -> None:
    query = envelope("document.get", new_id(), {}, correlationid="a journey")
    await asker.publish(json_bytes(query), reply_to=asker.reply_to, correlation_id="mine")
    message = await asker.reply("mine")
    body = json.loads(message.body)
    assert (message.message_id, message.type, message.app_id) == (body["id"], body["type"], body["source"])
    assert message.content_type == "application/cloudevents+json"
    assert (body["source"], body["subject"], body["correlationid"]) == (f"/{namespace}", query["subject"], "a journey")


@pytest.mark.usefixtures("served")
@pytest.mark.parametrize(
    ("query", "subject", "data", "code"),
    [
        ("document.get", "missing", {}, "not_found"),
        ("document.get", None, {}, "invalid_data"),
        ("document.get", "x", {"limit": 1}, "invalid_data"),
        ("document.paint", "x", {}, "unknown_type"),
        ("stack.get", "no uuid", {}, "invalid_data"),
        ("stack.list", None, {"limit": 0}, "invalid_data"),
        ("stack.list", None, {"limit": 1001}, "invalid_data"),
        ("stack.list", None, {"limit": "1"}, "invalid_data"),
        ("stack.list", None, {"after": "no uuid"}, "invalid_data"),
        ("stack.list", None, {"status": "BROKEN"}, "invalid_data"),
        ("command.get", "no uuid", {}, "invalid_data"),
        ("record.history", "x", {}, "invalid_data"),
        ("record.history", "x", {"kind": "planet"}, "invalid_data"),
        ("record.history", "x", {"kind": "document", "after": "y"}, "invalid_data"),
        ("record.history", "x", {"kind": "document", "after": "9" * 30}, "invalid_data"),
        ("record.history", "x", {"kind": "document"}, "not_found"),
        ("consumer.get", "no uuid", {}, "invalid_data"),
        ("consumer.get", SOME_ID, {}, "not_found"),
        ("provider.allocations", SOME_ID, {}, "not_found"),
        ("provider.allocations", SOME_ID, {"after": "no uuid"}, "invalid_data"),
        ("provider.usages", None, {}, "invalid_data"),
        ("project.usages", None, {}, "invalid_data"),
        ("project.usages", "p", {"after": "no type"}, "invalid_data"),
        ("provider.list", None, {"member_of": "in:zone"}, "invalid_data"),
        ("provider.list", None, {"resources": {"VCPU": -1}}, "invalid_data"),
        ("provider.list", None, {"resources": {"CPU": 1}}, "unknown_resource_class"),
        ("provider.list", None, {"required": ["!FAST"]}, "unknown_trait"),
    ],
)
async def test_a_query_that_has_no_answer_is_told_why(
    asker: Asker, query: str, subject: str | None, data: Json, code: str
) -> None:
    answer = await asker.ask(query, subject, **data)
    assert answer["error"]["code"] == code
    assert answer["error"]["message"]
    # No answer shows the statement behind it.
    assert "argument $" not in answer["error"]["message"]


UNREADABLE = {
    "no UTF-8": b"\xff",
    "no JSON": b"{",
    "a list": b"[]",
    "no id": b'{"specversion": "1.0", "source": "/", "type": "document.get", "subject": "x"}',
    "100,000 levels": b"[" * 100_000,
    "a lone surrogate": json_bytes(envelope("document.get", "HERE", {})).replace(b"HERE", rb"\ud800"),
    "U+0000": json_bytes(envelope("document.get", "\0", {})),
    "more than 1 MiB": json_bytes(envelope("document.get", "x" * 2**20, {})),
}


@pytest.mark.usefixtures("served")
async def test_query_that_cannot_be_read_is_told_so_where_its_answer_is_known(asker: Asker) -> None:
    for why, body in UNREADABLE.items():
        for _ in range(2):
            await asker.publish(body, reply_to=asker.reply_to, correlation_id=why)
    answers: list[Json] = [json.loads((await asker.reply(why)).body) for why in UNREADABLE]
    for why, answer in zip(UNREADABLE, answers, strict=True):
        assert answer["type"] == "query.undecodable"
        error = ErrorData.model_validate(answer["data"]["error"], strict=False)
        assert error.code == "invalid_data"
        assert error.message
        assert [entry.code for entry in error.errors] == ["invalid_data"] * len(error.errors) != []
        assert asker.replies[why].correlation_id == why
    no_id = answers[list(UNREADABLE).index("no id")]
    assert [(entry["path"], entry["pointer"]) for entry in no_id["data"]["error"]["errors"]] == [("id", "/id")]
    assert len({answer["id"] for answer in answers}) == len(UNREADABLE)


@pytest.mark.usefixtures("served")
async def test_what_cannot_be_answered_is_dropped_and_the_next_query_is_answered(client: Client, asker: Asker) -> None:
    for body in UNREADABLE.values():
        await asker.publish(body, reply_to=asker.reply_to)
    query = json_bytes(envelope("document.get", "x", {}))
    await asker.publish(query)
    for inside in (client.topology.inbox, client.topology.queries, client.topology.dead_letters):
        await asker.publish(query, reply_to=inside, correlation_id="inside")
    await asker.publish(query, reply_to="no.such.queue", correlation_id="gone")
    assert (await asker.ask("document.get", "x"))["error"]["code"] == "not_found"
    await client.until_empty(client.topology.queries)
    assert len(asker.replies) == 1
    for queue in (client.topology.inbox, client.topology.dead_letters):
        assert await client.depth(queue) == 0
    assert client.events == []


async def test_queries_wait_no_longer_than_their_time(client: Client, asker: Asker) -> None:
    """A query without a server expires in the queue; the sender sets a short expiration, so as not to wait 30 s."""
    query = json_bytes(envelope("document.get", "x", {}))
    await asker.publish(query, reply_to=asker.reply_to, correlation_id="late", expiration=0.05)

    async def gone() -> bool:
        return await client.depth(client.topology.queries) == 0

    await until(gone)
    assert asker.replies == {}


async def test_many_queries_at_once_are_all_answered(client: Client, asker: Asker, settings: Settings) -> None:
    document = new_id()
    async with serving(settings, read_connections=2):
        await client.ask(envelope("document.put", document, {"expected_generation": None, "body": {}}))
        answers = await asyncio.gather(*(asker.ask("document.get", document) for _ in range(100)))
    assert {answer["record"]["id"] for answer in answers} == {document}


async def test_a_query_while_the_database_is_away_is_told_to_come_back(asker: Asker, settings: Settings) -> None:
    async with (
        proxied(settings.database_url.get_secret_value()) as database,
        serving(settings, database_url=SecretStr(database.url)),
    ):
        await asker.ask("document.get", "x")
        await database.refuse()
        answer = await asker.ask("document.get", "x")
        assert answer["error"]["code"] == "internal_error"
        await database.accept()
        assert (await asker.ask("document.get", "x"))["error"]["code"] == "not_found"


async def not_json(_pool: Pool, _subject: str, _filters: NoFilters, **_limits: int) -> Answer:
    return {"record": {"what": b"no JSON has"}}


@asynccontextmanager
async def consuming(
    settings: Settings, pool: Pool, reads: Mapping[str, Read] = READS, **limits: int
) -> AsyncIterator[Session]:
    """Answer queries in a session that nothing else works in."""
    metrics = Metrics()
    replies = DirectReplies(settings, metrics)
    async with open_session(settings) as session:
        consumer = QueryConsumer(session, pool, reads, settings=settings, metrics=metrics, replies=replies, **limits)
        await consumer.start()
        yield session
        await consumer.stop()


async def test_a_fault_in_one_query_is_its_answer_and_takes_no_session_with_it(
    client: Client, asker: Asker, settings: Settings, pool: Pool
) -> None:
    async with consuming(settings, pool, reads={**READS, "stack.get": not_json}) as session:
        answer = await asker.ask("stack.get", new_id())
        assert answer["error"]["code"] == "internal_error"
        assert (await asker.ask("document.get", "x"))["error"]["code"] == "not_found"
        assert not session.is_lost
    await client.until_empty(client.topology.queries)


async def test_an_answer_that_is_too_large_for_a_broker_is_told_so(
    asker: Asker, settings: Settings, pool: Pool, decider: Decider
) -> None:
    document = new_id()
    await decider.decide([put(document, None, {"text": "x" * 2_000})])
    async with consuming(settings, pool, reply_bytes_max=2_000):
        answer = await asker.ask("document.get", document)
    assert answer["error"]["code"] == "too_large"
