"""Bad input of every sort between good neighbours: one outcome or one dead letter for each, and an empty queue."""

import json
import secrets
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import aio_pika
import aiormq
import pytest
from aiormq.abc import ChannelFrame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from genlock.schemas.decode import COMMAND_BYTES_MAX, READABLE_BYTES_MAX
from genlock.service.settings import Settings
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.factories import Json, new_id
from tests.support.harness import Client, serving


def raw(command: Json, value: str) -> bytes:
    """The command with a JSON text in its body's place."""
    return (
        json.dumps(command | {"data": {"expected_generation": None, "body": {"x": "HERE"}}})
        .replace('"HERE"', value)
        .encode()
    )


def padded(command: Json, size: int) -> bytes:
    """The command with a body that brings it to a size in bytes."""
    empty = raw(command, '""')
    return raw(command, f'"{"x" * (size - len(empty))}"')


@dataclass(frozen=True)
class Bad:
    """How to make a message bad, and what becomes of it: the code of its rejection, or a word of its dead letter."""

    make: Callable[[Json], bytes]
    code: str | None = None
    reason: str | None = None
    routing_key: str = "document.put"
    headers: Mapping[str, Any] | None = None


def changed(**attributes: Any) -> Callable[[Json], bytes]:
    def make(command: Json) -> bytes:
        members = command | attributes
        return json.dumps({name: value for name, value in members.items() if value is not ...}).encode()

    return make


BAD = {
    "no UTF-8": Bad(lambda command: raw(command, '"HERE2"').replace(b"HERE2", b"\xff"), reason="UTF-8"),
    "UTF-16": Bad(lambda command: json.dumps(command).encode("utf-16"), reason="UTF-8"),
    "two byte order marks": Bad(lambda command: b"\xef\xbb\xbf" * 2 + json.dumps(command).encode(), reason="JSON"),
    "no JSON": Bad(lambda _: b"{", reason="JSON"),
    "nothing": Bad(lambda _: b"", reason="JSON"),
    "a list": Bad(lambda _: b"[]", reason="id"),
    "null": Bad(lambda _: b"null", reason="id"),
    "no id": Bad(changed(id=...), reason="id"),
    "an id that is no UUID": Bad(changed(id="7"), reason="id"),
    "an id without hyphens": Bad(changed(id=secrets.token_hex(16)), reason="id"),
    "NaN": Bad(lambda command: raw(command, "NaN"), "invalid_data"),
    "an infinity": Bad(lambda command: raw(command, "-Infinity"), "invalid_data"),
    "a double that overflows": Bad(lambda command: raw(command, "1e999"), "invalid_data"),
    "a double that underflows": Bad(lambda command: raw(command, "1e-400"), "invalid_data"),
    "19 digits": Bad(lambda command: raw(command, "0.1234567890123456789"), "invalid_data"),
    "a member twice": Bad(lambda command: raw(command, '{"a": 1, "a": 2}'), "invalid_data"),
    "two ids": Bad(lambda command: json.dumps(command | {"ID": "7"}).replace('"ID"', '"id"').encode(), reason="id"),
    "64 bits": Bad(lambda command: raw(command, str(2**63)), "invalid_data"),
    "5,000 digits": Bad(lambda command: raw(command, "9" * 5000), "invalid_data"),
    # The envelope, its data and the document's body are the first three levels.
    "65 levels": Bad(lambda command: raw(command, "[" * 62 + "]" * 62), "invalid_data"),
    "100,000 levels": Bad(lambda command: raw(command, "[" * 100_000 + "]" * 100_000), "invalid_data"),
    "U+0000": Bad(lambda command: raw(command, r'"\u0000"'), "invalid_data"),
    "U+0000 in a name": Bad(lambda command: raw(command, r'{"\u0000": 1}'), "invalid_data"),
    "a lone surrogate": Bad(lambda command: raw(command, r'"\ud800"'), "invalid_data"),
    "U+0000 as source": Bad(changed(source="/\0"), "invalid_data"),
    "a byte past 1 MiB": Bad(lambda command: padded(command, COMMAND_BYTES_MAX + 1), "too_large"),
    "16 MiB": Bad(lambda command: padded(command, READABLE_BYTES_MAX), "too_large"),
    "a document past 512 KiB": Bad(lambda command: padded(command, 600 * 1024), "too_large"),
    "another routing key": Bad(changed(), "routing_key_mismatch", routing_key="document.merge"),
    "an empty routing key": Bad(changed(), "routing_key_mismatch", routing_key=""),
    "an unknown type": Bad(changed(type="document.paint"), "unknown_type", routing_key="document.paint"),
    "a long unknown type": Bad(changed(type="x" * 255), "unknown_type", routing_key="x" * 255),
    "an event's type": Bad(
        changed(type="document.put.succeeded"), reason="outcome event", routing_key="document.put.succeeded"
    ),
    "another subject in the header": Bad(changed(), "invalid_data", headers={"subject": "another"}),
    "a number as header": Bad(changed(), "invalid_data", headers={"subject": 7}),
    "no subject": Bad(changed(subject=...), "invalid_data"),
    "a long subject": Bad(changed(subject="é" * 256), "invalid_data"),
    "no type": Bad(changed(type=...), "invalid_data"),
    "no source": Bad(changed(source=...), "invalid_data"),
    "another specversion": Bad(changed(specversion="0.3"), "invalid_data"),
    "no data": Bad(changed(data=...), "invalid_data"),
    "data of another kind": Bad(changed(data=[]), "invalid_data"),
    "an unknown field": Bad(changed(data={"expected_generation": None, "body": {}, "x": 1}), "invalid_data"),
    "a generation as text": Bad(changed(data={"expected_generation": "0", "body": {}}), "invalid_data"),
    "no expected generation": Bad(changed(data={"body": {}}), "invalid_data"),
    "a time without a zone": Bad(changed(time="2026-01-01T00:00:00"), "invalid_data"),
    "a time of long ago": Bad(changed(time="2001-01-01T00:00:00Z"), "expired"),
    "a time before all times": Bad(changed(time="0001-01-01T00:00:00+14:00"), "expired"),
}


async def send_bad(client: Client, bad: Bad, command: Json) -> None:
    await client.publish(bad.make(command), bad.routing_key, headers=dict(bad.headers or {}), message_id=command["id"])


async def test_bad_messages_end_in_one_outcome_or_dead_letter_each_and_neighbours_succeed(
    client: Client, settings: Settings, namespace: str, second: Connection
) -> None:
    sent = {name: creation(new_id()) for name in BAD}
    neighbours = [creation(new_id()) for _ in BAD]
    for (name, bad), neighbour in zip(BAD.items(), neighbours, strict=True):
        await client.send(neighbour)
        await send_bad(client, bad, sent[name])
    # All of them wait before the consumer starts, so that good and bad commands share batches.
    async with serving(settings):
        events = await client.decided(*neighbours, *(sent[name] for name, bad in BAD.items() if bad.code))
    assert {event["type"] for event in events[: len(neighbours)]} == {"document.put.succeeded"}
    told = {
        name: [json.loads(body)["data"]["code"] for body in client.bodies.get(sent[name]["id"], [])] for name in BAD
    }
    assert told == {name: [bad.code] if bad.code else [] for name, bad in BAD.items()}
    dead_letters = await client.drain(f"{namespace}.dead_letters")
    reasons = {dead_letter.message_id: dead_letter.headers["x-genlock-reason"] for dead_letter in dead_letters}
    assert {name for name in BAD if sent[name]["id"] in reasons} == {name for name, bad in BAD.items() if bad.reason}
    assert len(dead_letters) == len(reasons)
    for name, bad in BAD.items():
        assert not bad.reason or bad.reason in str(reasons[sent[name]["id"]]), name
    await client.until_empty(f"{namespace}.inbox")
    assert await second.fetchval("SELECT count(*) FROM documents") == len(neighbours)


async def test_publisher_of_a_command_without_a_usable_id_is_told_and_no_other(
    client: Client, settings: Settings, second: Connection
) -> None:
    command = creation(new_id())
    bodies = {
        "no id": changed(id=..., correlationid="order 7")(command),
        "no uuid": changed(id="7")(command),
        "two ids": json.dumps(command | {"ID": new_id()}).replace('"ID"', '"id"').encode(),
        "large": padded(command | {"id": "7"}, COMMAND_BYTES_MAX + 1),
        "bad besides": changed(id=None, source=7, subject=[], type="x" * 300, correlationid="\0")(command),
    }
    silent = {"no JSON": b"{", "a list": b"[]", "an event": changed(id="7", type="document.put.succeeded")(command)}
    silent["its own"] = changed(id="7", source=settings.source)(command)
    replies = await client.channel.declare_queue(exclusive=True)
    for name, body in {**silent, **bodies}.items():
        await client.publish(body, "document.put", reply_to=replies.name, correlation_id=name)
    await client.publish(bodies["no uuid"], "document.put")
    async with serving(settings):
        await client.until_depth(client.topology.dead_letters, len(silent) + len(bodies) + 1)
        await client.until_depth(replies.name, len(bodies))
        await client.ask(creation())
    answers = {message.correlation_id: json.loads(message.body) for message in await client.drain(replies.name)}
    assert list(answers) == list(bodies)
    for answer in answers.values():
        assert (answer["type"], answer["source"]) == ("command.undecodable", settings.source)
        assert [error["path"] for error in answer["data"]["errors"]] == ["id"]
    assert answers["no id"]["correlationid"] == "order 7"
    assert answers["no uuid"]["data"]["command"] == {"type": "document.put", "subject": command["subject"]}
    assert "two ids" in answers["two ids"]["data"]["message"]
    assert answers["bad besides"]["data"]["command"] == {"type": "x" * 300}
    assert len(client.events) == await second.fetchval("SELECT count(*) FROM ledger") == 1


async def test_command_of_a_bulk_without_a_usable_id_is_told_so_in_its_place(
    client: Client, settings: Settings
) -> None:
    commands = [creation(), creation() | {"id": "7"}, creation()]
    replies = await client.channel.declare_queue(exclusive=True)
    await client.send_bulk(commands, reply_to=replies.name)
    async with serving(settings):
        await client.until_depth(replies.name, 1)
    [reply] = await client.drain(replies.name)
    types = [answer["type"] for answer in json.loads(reply.body)]
    assert types == ["document.put.succeeded", "command.undecodable", "document.put.succeeded"]


async def publish_badly(
    settings: Settings, body: bytes, properties: Basic.Properties, *wrong: tuple[bytes, bytes]
) -> None:
    """Publish what no library would: bytes in its properties are put in the place of others."""
    header = marshal(ContentHeader(body_size=len(body), properties=properties), 1)
    for there, instead in wrong:
        assert there in header
        header = header.replace(there, instead)
    publish = Basic.Publish(exchange=f"{settings.namespace}.commands", routing_key="document.put")
    frames = marshal(publish, 1) + header + marshal(ContentBody(body), 1)
    async with await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
        channel = await connection.channel(channel_number=1, publisher_confirms=False)
        underlay = await channel.get_underlay_channel()
        await underlay.connection.write_queue.put(ChannelFrame(frames, should_close=False))
        # The broker has read it by the time that it answers this.
        await channel.close()


async def test_properties_that_cannot_be_repeated_as_they_came_end_no_process(
    client: Client, settings: Settings, namespace: str
) -> None:
    command, neighbour = creation(new_id()), creation(new_id())
    replies = await client.channel.declare_queue(exclusive=True)
    async with serving(settings):
        asked = Basic.Properties(reply_to=replies.name, correlation_id="w" * 255)
        await publish_badly(settings, json.dumps(command).encode(), asked, (b"w" * 255, b"\xff" * 255))
        large = Basic.Properties(headers={"large": 2**40, "text": "wrong"})
        double = (b"l" + (2**40).to_bytes(8), b"d" + struct.pack(">d", 1e300))
        await publish_badly(settings, b"no command", large, double, (b"wrong", b"wr\xffng"))
        await client.until_depth(f"{namespace}.dead_letters", 1)
        await client.decided(command)
        await client.ask(neighbour)
    [reply] = await client.drain(replies.name)
    assert json.loads(reply.body)["causationid"] == command["id"]
    [dead_letter] = await client.drain(f"{namespace}.dead_letters")
    assert dead_letter.headers["large"] == "1e+300"
    assert dead_letter.headers["text"] == repr(b"wr\xffng")


async def test_a_message_past_16_mib_is_a_dead_letter_as_it_came(client: Client, settings: Settings) -> None:
    command, neighbour = creation(new_id()), creation(new_id())
    body = padded(command, READABLE_BYTES_MAX + 1)
    # On a connection of its own: a broker that does not take it closes the channel.
    async with await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
        exchange = await (await connection.channel()).get_exchange(client.topology.commands)
        try:
            await exchange.publish(aio_pika.Message(body, message_id=command["id"]), command["type"])
        except aiormq.exceptions.ChannelPreconditionFailed:
            pytest.skip("this broker takes no message of that size")
    await client.send(neighbour)
    async with serving(settings):
        await client.decided(neighbour)
    [dead_letter] = await client.drain(client.topology.dead_letters)
    assert dead_letter.body == body
    assert (dead_letter.message_id, dead_letter.routing_key) == (command["id"], command["type"])
    assert str(READABLE_BYTES_MAX + 1) in str(dead_letter.headers["x-genlock-reason"])
    assert client.bodies.keys() == {neighbour["id"]}


async def test_a_rejection_echoes_only_what_is_valid_itself(client: Client, settings: Settings) -> None:
    names = ("another routing key", "an unknown field", "no subject", "NaN", "an unknown type", "a byte past 1 MiB")
    sent = {name: creation(new_id()) for name in names}
    for name, command in sent.items():
        await send_bad(client, BAD[name], command)
    async with serving(settings):
        events = dict(zip(names, await client.decided(*sent.values()), strict=True))
    echoes = {name: event["data"].get("command", "left out") for name, event in events.items()}

    def parts(name: str, *members: str) -> Json:
        return {member: sent[name][member] for member in members}

    assert echoes["another routing key"] == parts("another routing key", "type", "subject", "data")
    assert echoes["an unknown field"] == parts("an unknown field", "type", "subject")
    assert echoes["no subject"] == parts("no subject", "type", "data")
    assert echoes["an unknown type"]["type"] == "document.paint"
    assert echoes["a byte past 1 MiB"] == "left out"
    assert [error["path"] for error in events["an unknown field"]["data"]["errors"]] == ["data.x"]
    assert events["an unknown type"]["type"] == "command.unknown.rejected"
    assert events["NaN"]["type"] == "document.put.rejected"
    assert events["NaN"]["subject"] == events["NaN"]["data"]["id"] == sent["NaN"]["subject"]
