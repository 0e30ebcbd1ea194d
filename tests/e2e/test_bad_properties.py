"""Malformed properties: neighbouring commands are unaffected, and a dead letter reports the properties."""

import struct

import pytest

from genlock.cli.dead_output import print_dead_letter
from genlock.consumers.amqp.session import open_session
from genlock.consumers.operations.lanes import change_lanes
from genlock.service.settings import Settings
from tests.fuzz.properties import nested
from tests.fuzz.service import watched_logs
from tests.fuzz.wire import Message, long, publish, short, table
from tests.support.command_line import without_colours
from tests.support.database import Connection
from tests.support.dead_letters import retrying
from tests.support.documents import creation
from tests.support.factories import envelope, json_bytes
from tests.support.harness import Client, serving
from tests.support.held import until_held

FRAME_BYTES = 131_072
LOCKED = "locked"

HEADERS = {
    "no UTF-8": (b"x", b"S" + long(b"\xff\xfe")),
    "a name that is no UTF-8": (b"\xff", b"t\x01"),
    "a long name": (b"k" * 255, b"t\x01"),
    "one twice": (b"good", b"t\x01"),
    "past all floats": (b"x", b"d" + struct.pack(">d", 1e300)),
    "past all decimals": (b"x", b"D\x02\xff\xff\xff\xff"),
    "bytes": (b"x", b"x" + long(b"\x00\xff")),
    "past all times": (b"x", b"T" + b"\xff" * 8),
    "2,000 levels": (b"x", nested(2_000)),
    "100,000 nothings": (b"x", b"A" + long(b"V" * 100_000)),
    "as much as a frame holds": (b"x", b"S" + long(b"x" * (FRAME_BYTES - 200))),
    "as much as a frame holds, and no UTF-8": (b"x", b"S" + long(b"\xff" * (FRAME_BYTES - 200))),
}
PROPERTIES = {
    "a correlation id that is no UTF-8": {"correlation_id": short(b"\xff" * 255)},
    "a message id that is no UTF-8": {"message_id": short(b"\xff" * 255)},
    "a queue for replies that is no UTF-8": {"reply_to": short(b"\xff" * 255)},
    "a queue for replies that is the broker's": {"reply_to": short(b"amq.rabbitmq.reply-to.unknown")},
    "a time past all times": {"timestamp": b"\xff" * 8},
    "a cluster": {"cluster_id": short(b"cluster")},
    "a cluster that is no UTF-8": {"cluster_id": short(b"\xff" * 255)},
}
ROUTES = {
    "as much as a frame holds": b"A" + long(b"S" + long(b"x" * (FRAME_BYTES - 300))),
    "many": b"A" + long((b"S" + long(b"x" * 250)) * 450),
    "no UTF-8": b"A" + long(b"S" + long(b"\xff" * 250)),
    "none": b"A" + long(b""),
}
"""What a header CC says, which the broker reads: it closes the channel over one that is not a list of texts."""
BAD = PROPERTIES | {f"headers: {name}": {"headers": table([(b"good", b"t\x01"), bad])} for name, bad in HEADERS.items()}


async def send(client: Client, *messages: Message) -> None:
    await publish(client.channel, client.topology.commands, messages)


async def test_commands_with_bad_properties_are_answered(client: Client, settings: Settings) -> None:
    commands = [creation() for _ in BAD]
    with watched_logs() as troubles:
        async with serving(settings):
            for command, properties in zip(commands, BAD.values(), strict=True):
                await send(client, Message(json_bytes(command), b"document.put", properties))
            await client.decided(*commands)
    assert troubles == []
    assert await client.depth(client.topology.dead_letters) == 0


async def test_commands_with_bad_properties_are_held_and_answered(
    client: Client, settings: Settings, second: Connection
) -> None:
    commands = [envelope("document.merge", LOCKED, {"patch": {}}) for _ in BAD]
    with watched_logs() as troubles:
        async with serving(settings):
            await client.ask(creation(LOCKED))
            async with second.transaction():
                await second.execute("SELECT FROM documents WHERE id = $1 FOR UPDATE", LOCKED)
                for command, properties in zip(commands, BAD.values(), strict=True):
                    await send(client, Message(json_bytes(command), b"document.merge", properties))
                await until_held(second, len(commands))
            await client.decided(*commands)
    assert [trouble for trouble in troubles if "held" not in trouble] == []
    assert await client.depth(client.topology.dead_letters) == 0


async def test_commands_with_bad_properties_move_between_lanes_and_are_answered(
    client: Client, settings: Settings
) -> None:
    commands = [creation() for _ in BAD]
    for command, properties in zip(commands, BAD.values(), strict=True):
        await send(client, Message(json_bytes(command), b"document.put", properties))
    for number in (2, 1):
        changed = settings.model_copy(update={"lanes": number})
        async with open_session(changed, declare=False) as session:
            await change_lanes(session, changed, quiet_s=0.3)
    with watched_logs() as troubles:
        async with serving(settings):
            await client.decided(*commands)
    assert troubles == []
    assert await client.depth(client.topology.dead_letters) == 0


@pytest.mark.parametrize("routing_key", [b"document.put", b"\xff" * 255])
async def test_dead_letters_with_bad_properties_say_what_they_were(
    client: Client, settings: Settings, routing_key: bytes
) -> None:
    bodies = {name: name.encode() for name in BAD}
    with watched_logs() as troubles:
        async with serving(settings):
            await send(client, *(Message(bodies[name], routing_key, properties) for name, properties in BAD.items()))
            await client.until_depth(client.topology.dead_letters, len(BAD))
    assert troubles == []
    dead_letters = {dead_letter.body: dead_letter for dead_letter in await client.drain(client.topology.dead_letters)}
    assert dead_letters.keys() == set(bodies.values())
    for name in HEADERS:
        headers = dead_letters[f"headers: {name}".encode()].headers
        assert headers["good"] is True
        assert "not JSON" in str(headers["x-genlock-reason"])
        others = headers.keys() - {"good", "x-genlock-reason", "x-genlock-time", "x-delivery-count"}
        assert len(others) == (0 if name == "one twice" else 1)


async def test_dead_letters_with_bad_properties_are_shown_and_retried(
    client: Client, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = [creation() for _ in BAD]
    for command, properties in zip(commands, BAD.values(), strict=True):
        await publish(client.channel, client.topology.dead, [Message(json_bytes(command), b"document.put", properties)])
    async with retrying(settings) as (dead_letters, retrier):
        async for dead_letter in dead_letters.read():
            for as_json in (True, False):
                print_dead_letter(dead_letter, as_json=as_json)
                shown = without_colours(capsys.readouterr().out)
                assert str(dead_letter.summary.command_id) in shown
                assert [each for each in shown if not each.isprintable() and each != "\n"] == []
            assert [each.result for each in await retrier.retry(dead_letters, dead_letter)] == ["retried"]
    with watched_logs() as troubles:
        async with serving(settings):
            await client.decided(*commands)
    assert troubles == []
    assert await client.depth(client.topology.dead_letters) == 0


@pytest.mark.parametrize("routes", ROUTES)
async def test_dead_letter_does_not_repeat_what_the_broker_routes_by(
    client: Client, settings: Settings, routes: str
) -> None:
    with watched_logs() as troubles:
        async with serving(settings):
            headers = {"headers": table([(b"good", b"t\x01"), (b"CC", ROUTES[routes])])}
            await send(client, Message(b"not JSON", b"document.put", headers))
            await client.until_depth(client.topology.dead_letters, 1)
    assert troubles == []
    (dead_letter,) = await client.drain(client.topology.dead_letters)
    assert dead_letter.headers["good"] is True
    assert "CC" not in dead_letter.headers
