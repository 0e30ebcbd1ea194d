"""CloudEvents in binary mode: attributes as headers, and the data as the body. The same rules hold."""

import json
from datetime import UTC, datetime
from typing import Any

import aio_pika
import pytest

from genlock.schemas.decode import COMMAND_BYTES_MAX
from genlock.service.settings import Settings
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.factories import Json, new_id
from tests.support.harness import Client, serving


async def send(
    client: Client, command: Json, *, prefix: str = "cloudEvents:", body: bytes | None = None, **more: Any
) -> None:
    headers = {f"{prefix}{name}": value for name, value in command.items() if name != "data"}
    data = json.dumps(command["data"]).encode() if body is None else body
    await client.publish(data, command["type"], **{"headers": headers | more.pop("headers", {})} | more)


@pytest.mark.parametrize("prefix", ["cloudEvents:", "cloudEvents_"])
@pytest.mark.parametrize("content_type", [None, "application/json", "application/json; charset=utf-8"])
async def test_command_in_binary_mode_is_decided_as_in_structured_mode(
    client: Client, settings: Settings, prefix: str, content_type: str | None
) -> None:
    command = creation(attempt="3", correlationid="mine", time=datetime.now(UTC))
    replies = await client.channel.declare_queue(exclusive=True)
    more: Json = {"headers": {"subject": command["subject"]}, "reply_to": replies.name, "content_type": content_type}
    await send(client, command, prefix=prefix, **more)
    async with serving(settings):
        [event] = await client.decided(command)
        assert (event["type"], event["attempt"], event["correlationid"]) == ("document.put.succeeded", 3, "mine")
        await client.until_depth(replies.name, 1)
        # A copy in the other mode is the same command.
        await client.send(command | {"time": command["time"].isoformat(), "attempt": 3})
        await client.decided(command, command)
    assert len(set(client.bodies[command["id"]])) == 1


async def test_what_is_wrong_with_a_command_in_binary_mode_is_told(client: Client, settings: Settings) -> None:
    bad: dict[str, tuple[Json, Json, str]] = {
        "no JSON": ({}, {"body": b"{no"}, "invalid_data"),
        "no UTF-8": ({}, {"body": b'{"\xff": 1}'}, "invalid_data"),
        "more than one value": ({}, {"body": b'{}, "subject": "other"'}, "invalid_data"),
        "a member twice": ({}, {"body": b'{"body": {"a": 1, "a": 2}}'}, "invalid_data"),
        "no data": ({}, {"body": b""}, "invalid_data"),
        "another content type": ({}, {"content_type": "text/plain"}, "invalid_data"),
        "an attribute of both forms": ({}, {"headers": {"cloudEvents_subject": "other"}}, "invalid_data"),
        "no text as an attribute": ({"source": 7}, {}, "invalid_data"),
        "another type": ({"type": "document.paint"}, {}, "unknown_type"),
        "too large": ({}, {"body": b'{"x": "' + b"x" * COMMAND_BYTES_MAX + b'"}'}, "too_large"),
    }
    commands = {name: creation() | attributes for name, (attributes, _, _) in bad.items()}
    for name, (_, more, _) in bad.items():
        await send(client, commands[name], **more)
    async with serving(settings):
        events = await client.decided(*commands.values())
    told = {name: event["data"]["code"] for name, event in zip(bad, events, strict=True)}
    assert told == {name: code for name, (_, _, code) in bad.items()}


async def test_command_in_binary_mode_without_an_id_is_a_dead_letter_in_structured_mode(
    client: Client, settings: Settings, second: Connection
) -> None:
    command = creation()
    replies = await client.channel.declare_queue(exclusive=True)
    await send(client, command | {"id": "7"}, reply_to=replies.name, headers={"x-mine": 1})
    async with serving(settings):
        await client.until_depth(replies.name, 1)
        await client.until_depth(client.topology.dead_letters, 1)
    [reply] = await client.drain(replies.name)
    assert json.loads(reply.body)["type"] == "command.undecodable"
    [dead_letter] = await client.drain(client.topology.dead_letters)
    assert json.loads(dead_letter.body) == command | {"id": "7"}
    assert dead_letter.content_type == "application/cloudevents+json"
    assert not [name for name in dead_letter.headers if name.startswith("cloudEvents")]
    assert dead_letter.headers["x-mine"] == 1
    assert await second.fetchval("SELECT count(*) FROM ledger") == 0


async def test_query_in_binary_mode_is_answered(client: Client, settings: Settings) -> None:
    command = creation()
    replies = await client.channel.declare_queue(exclusive=True)
    query = {"specversion": "1.0", "id": new_id(), "source": "/tests", "type": "document.get"}
    headers: Json = {f"cloudEvents:{name}": value for name, value in (query | {"subject": command["subject"]}).items()}
    async with serving(settings):
        await client.ask(command)
        reads = await client.channel.get_exchange(client.topology.reads)
        await reads.publish(aio_pika.Message(b"", headers=headers, reply_to=replies.name), "document.get")
        await client.until_depth(replies.name, 1)
    [reply] = await client.drain(replies.name)
    assert json.loads(reply.body)["data"]["record"]["id"] == command["subject"]
