"""A client that waits for a service that is not there is told so at once, and never while one is there."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager

import pytest

import genlock
from genlock.client import ABSENCE_S
from genlock.consumers.amqp.topology import Topology
from genlock.service.settings import Settings
from tests.support import command_line, harness
from tests.support.database import Connection
from tests.support.factories import new_id
from tests.support.harness import connected, serving

LONG_S = 60.0
SOON_S = 15.0
"""Far less than the time-out, and more than a busy machine takes."""


def put(subject: str, expected: int | None = None) -> genlock.Command:
    return genlock.command(genlock.DocumentPut(expected_generation=expected, body={}), subject=subject)


def connect(settings: Settings, absence_s: float = ABSENCE_S) -> AbstractAsyncContextManager[genlock.Client]:
    url = settings.amqp_url.get_secret_value()
    return genlock.connect(url, namespace=settings.namespace, timeout_s=LONG_S, absence_s=absence_s)


READS: dict[str, Callable[[genlock.Client], Awaitable[object]]] = {
    "get": lambda client: client.get("document", "x"),
    "query": lambda client: client.query("stack.list"),
    "records": lambda client: anext(client.records("stack.list")),
    "change": lambda client: client.change("document", "x", lambda _doc: None),
    # It asks anew every three seconds, before one question alone could tell.
    "short change": lambda client: client.change("document", "x", lambda _doc: None, timeout_s=3 * ABSENCE_S),
}


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("read", READS)
async def test_a_read_without_a_service_says_so_and_changes_nothing(settings: Settings, read: str) -> None:
    async with connect(settings) as asking:
        began = time.monotonic()
        with pytest.raises(genlock.NoService, match=f"No service consumes {settings.namespace}.queries") as raised:
            await READS[read](asking)
    assert time.monotonic() - began < SOON_S
    assert raised.value.command_id is None
    assert "decided" not in str(raised.value)


async def test_a_command_without_a_service_waits_on_the_broker_and_is_decided_later(
    settings: Settings, client: harness.Client
) -> None:
    command = put(new_id())
    bulk = [put(new_id()), put(new_id())]
    async with connect(settings) as asking:
        with pytest.raises(genlock.NoService, match=r"inbox: the command waits .* is decided as soon") as raised:
            await asking.send(command)
        assert raised.value.command_id == command.id
        with pytest.raises(genlock.NoService, match=r"inbox: its commands wait .* are decided as soon"):
            await asking.send_bulk(bulk)
        async with serving(settings):
            (event,) = await client.decided(command.members())
            assert event["type"] == "document.put.succeeded"
            assert isinstance(await asking.send(command), genlock.Succeeded)
            assert [type(outcome) for outcome in await asking.send_bulk(bulk)] == [genlock.Succeeded] * 2


async def test_with_lanes_a_service_is_seen_as_well(settings: Settings, amqp_url: str, namespace: str) -> None:
    laned = settings.model_copy(update={"lanes": 3})
    async with connected(amqp_url, namespace, lanes=3), connect(laned, absence_s=0.5) as asking:
        with pytest.raises(genlock.NoService):
            await asking.send(put(new_id()))
        async with serving(laned):
            assert isinstance(await asking.send(put(new_id())), genlock.Succeeded)


@pytest.mark.usefixtures("client")
async def test_a_service_that_comes_back_in_time_answers(settings: Settings) -> None:
    async with connect(settings, absence_s=LONG_S) as asking:
        sending = asyncio.create_task(asking.send(put(new_id())))
        reading = asyncio.create_task(asking.get("document", "x"))
        await asyncio.wait({sending, reading}, timeout=2)
        assert not sending.done()
        async with serving(settings):
            assert isinstance(await sending, genlock.Succeeded)
            assert await reading is None


async def test_a_service_that_is_slow_is_there(settings: Settings, second: Connection) -> None:
    subject = new_id()
    async with serving(settings), connect(settings, absence_s=0.5) as asking:
        await asking.send(put(subject))
        async with second.transaction():
            await second.execute("SELECT FROM documents WHERE id = $1 FOR UPDATE", subject)
            sending = asyncio.create_task(asking.send(put(subject, 0)))
            await asyncio.wait({sending}, timeout=3)
            assert not sending.done()
        assert isinstance(await sending, genlock.Succeeded)


@pytest.mark.usefixtures("client")
async def test_a_slow_read_does_not_say_that_it_may_be_applied(settings: Settings, second: Connection) -> None:
    async with serving(settings), second.transaction():
        await second.execute("LOCK TABLE documents IN ACCESS EXCLUSIVE MODE")
        got = await command_line.genlock(settings, "get", "document", "x", "--timeout", "1")
    assert (got.code, got.err) == (1, "genlock: There is no answer within 1 s.\n")


@pytest.mark.usefixtures("client")
async def test_the_command_line_says_it_in_one_line(settings: Settings) -> None:
    namespace, data = settings.namespace, '{"expected_generation": null, "body": {}}'
    got = await command_line.genlock(settings, "get", "document", "x")
    assert got.code == 1
    assert got.err == f"genlock: No service consumes {namespace}.queries: start one, with genlock serve.\n"
    command_id = new_id()
    sent = await command_line.genlock(settings, "send", "document.put", "x", "--data", data, "--id", command_id)
    assert sent.code == 1
    assert sent.err == (
        f"genlock: No service consumes {namespace}.inbox: the command waits on the broker, and is decided as soon as a "
        f"service runs. Its id is {command_id}.\n"
    )
    assert Topology(namespace).inbox in sent.err
