"""A publisher that knows the AsyncAPI document and AMQP, and nothing else of Genlock."""

import asyncio
import json
import re
import uuid
from typing import Any

import aio_pika
import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from genlock.schemas.asyncapi import document
from genlock.service.settings import Settings
from tests.support.factories import Json
from tests.support.harness import DEADLINE_S, serving


class Reader:
    """Reads a document: where to publish, and what."""

    def __init__(self, text: str) -> None:
        self.document: Json = json.loads(text)

    def resolved(self, value: Json) -> Json:
        """What a reference refers to."""
        while "$ref" in value:
            place: Any = self.document
            for step in value["$ref"].removeprefix("#/").split("/"):
                place = place[step]
            value = place
        return value

    def commands(self) -> list[Json]:
        """The channels of operations that receive one type of command."""
        channels = [
            self.resolved(operation["channel"])
            for operation in self.document["operations"].values()
            if operation["action"] == "receive"
        ]
        return [channel for channel in channels if "parameters" not in channel]

    def events(self) -> Json:
        """The one channel on which the service sends."""
        (operation,) = (each for each in self.document["operations"].values() if each["action"] == "send")
        return self.resolved(operation["channel"])

    def queries(self) -> Json:
        """The one channel of an operation that receives several types."""
        operations = self.document["operations"].values()
        received = [self.resolved(each["channel"]) for each in operations if each["action"] == "receive"]
        (channel,) = (channel for channel in received if "parameters" in channel)
        return channel

    def messages(self, channel: Json) -> list[Json]:
        return [self.resolved(message) for message in channel["messages"].values()]

    def validator(self, payload: Json) -> Draft202012Validator:
        return Draft202012Validator({**payload, "components": self.document["components"]})

    def instance(self, schema: Json) -> Any:
        """A value that fits a schema, with all properties; of an allOf, those that are required or narrowed."""
        schema = self.resolved(schema)
        if "allOf" in schema:
            parts = [self.resolved(part) for part in schema["allOf"]]
            required = {name for part in parts for name in part.get("required", [])}
            # The last part narrows the ones before.
            merged = {name: value for part in parts for name, value in part["properties"].items()}
            return {name: self.instance(merged[name]) for name in required | parts[-1]["properties"].keys()}
        if "anyOf" in schema:
            return self.instance(schema["anyOf"][0])
        if "const" in schema or "enum" in schema:
            return schema["const"] if "const" in schema else schema["enum"][0]
        if schema.get("type") == "object":
            named = {name: self.instance(value) for name, value in schema.get("properties", {}).items()}
            patterns = schema.get("patternProperties", {})
            return named | {_fitting(pattern): self.instance(value) for pattern, value in patterns.items()}
        return _scalar(schema)


def _fitting(pattern: str) -> str:
    """A text that a pattern allows."""
    return next(text for text in (str(uuid.uuid4()), "X") if re.search(pattern, text))


def _scalar(schema: Json) -> Any:
    if "pattern" in schema:
        return _fitting(schema["pattern"])
    values: Json = {
        "string": "X" * max(1, schema.get("minLength", 1)),
        "integer": schema.get("minimum", 1),
        "number": 1,
        "boolean": True,
        "array": [],
        "null": None,
    }
    return values[schema["type"]]


@pytest.mark.usefixtures("client")
async def test_each_command_is_published_and_answered_by_the_document_alone(settings: Settings) -> None:
    reader = Reader(json.dumps(document(settings.namespace)))
    async with serving(settings), await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
        channel = await connection.channel(on_return_raises=True)
        events: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
        queue = await channel.declare_queue(exclusive=True)
        await queue.bind(reader.events()["bindings"]["amqp"]["exchange"]["name"], "#")
        await queue.consume(events.put, no_ack=True)
        published = {}
        for command in reader.commands():
            (message,) = reader.messages(command)
            payload = reader.instance(message["payload"])
            reader.validator(message["payload"]).validate(payload)
            published[payload["id"]] = command["address"]
            exchange = await channel.get_exchange(command["bindings"]["amqp"]["exchange"]["name"], ensure=False)
            body = json.dumps(payload).encode()
            await exchange.publish(
                aio_pika.Message(body, content_type=message["contentType"]), command["address"], mandatory=True
            )
        async with asyncio.timeout(DEADLINE_S):
            outcomes = [await events.get() for _ in published]
    assert len(published) > 15
    for outcome in outcomes:
        event = json.loads(outcome.body)
        fitting = [
            message
            for message in reader.messages(reader.events())
            if reader.validator(message["payload"]).is_valid(event)
        ]
        assert len(fitting) == 1, event
        assert event["type"] == outcome.type == outcome.routing_key
        assert event["type"].rpartition(".")[0] == published.pop(event["causationid"])
        # Made by the schema alone it may be late or useless, but never malformed.
        assert event["data"].get("code") not in {"invalid_data", "unknown_type", "routing_key_mismatch"}, event
    assert not published


@pytest.mark.usefixtures("client")
async def test_each_query_is_asked_and_answered_by_the_document_alone(settings: Settings) -> None:
    reader = Reader(json.dumps(document(settings.namespace)))
    channel_of_queries = reader.queries()
    async with serving(settings), await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
        channel = await connection.channel(on_return_raises=True)
        answers: asyncio.Queue[aio_pika.abc.AbstractIncomingMessage] = asyncio.Queue()
        replies = await channel.declare_queue(exclusive=True)
        await replies.consume(answers.put, no_ack=True)
        queries = await channel.get_exchange(channel_of_queries["bindings"]["amqp"]["exchange"]["name"])
        asked = {}
        for message in reader.messages(channel_of_queries):
            payload = reader.instance(message["payload"])
            # A cursor is what an answer has as its next, and nothing else.
            payload["data"].pop("after", None)
            reader.validator(message["payload"]).validate(payload)
            asked[payload["id"]] = payload["type"]
            await queries.publish(
                aio_pika.Message(
                    json.dumps(payload).encode(),
                    content_type=message["contentType"],
                    reply_to=replies.name,
                    correlation_id=payload["id"],
                ),
                payload["type"],
                mandatory=True,
            )
        async with asyncio.timeout(DEADLINE_S):
            found = [await answers.get() for _ in asked]
    assert len(asked) > 10
    for reply in found:
        answer = json.loads(reply.body)
        assert answer["type"] == f"{asked.pop(reply.correlation_id)}.result"
        # Made by the schema alone it may find nothing, but is never malformed.
        code = answer["data"].get("error", {}).get("code")
        assert code in {None, "not_found", "unknown_resource_class"}, answer
    assert not asked
