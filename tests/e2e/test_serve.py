"""`genlock serve` as a process of its own: how it starts, refuses to start, says what happens, and ends."""

import os
import signal
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from genlock.servers import Role, database
from genlock.service.settings import Settings
from tests.support.command_line import ended, lines_until
from tests.support.database import Connection
from tests.support.factories import envelope, new_id
from tests.support.forked import start_module
from tests.support.harness import DEADLINE_S, Client
from tests.support.proxy import joined, proxied

NOBODY_LISTENS = "127.0.0.1:1"


@asynccontextmanager
async def process(settings: Settings, **changes: str) -> AsyncIterator[Process]:
    """Run `genlock serve` with these settings; it is killed if it still runs in the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GENLOCK_")}
    environment |= {
        "GENLOCK_DATABASE_URL": settings.database_url.get_secret_value(),
        "GENLOCK_AMQP_URL": settings.amqp_url.get_secret_value(),
        "GENLOCK_NAMESPACE": settings.namespace,
        "GENLOCK_HTTP_PORT": "0",
    }
    environment |= {f"GENLOCK_{name.upper()}": value for name, value in changes.items()}
    started = await start_module("tests.e2e.programs.serve", stderr=PIPE, env=environment)
    try:
        yield started
    finally:
        if started.returncode is None:
            started.kill()
        await started.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_settles_held_commands_and_exits_0(
    client: Client, settings: Settings, second: Connection, number: signal.Signals
) -> None:
    commands = [envelope("document.put", new_id(), {"expected_generation": None, "body": {}}) for _ in range(200)]
    async with process(settings, batch_size_max="8") as started:
        assert [line["action"] for line in await lines_until(started, "ready")] == ["ready"]
        await client.flood(commands)
        await client.decided(commands[0])
        started.send_signal(number)
        code, lines = await ended(started)
    assert code == 0
    assert [line["action"] for line in lines] == ["settle", "stop"]
    decided = await second.fetchval("SELECT count(*) FROM ledger")
    assert await second.fetchval("SELECT count(*) FROM batches WHERE confirmed_at IS NULL") == 0
    await client.until_depth(client.topology.inbox, len(commands) - decided)


async def test_a_signal_while_the_database_is_silent_exits_0_and_says_what_is_left(
    client: Client, settings: Settings, database_url: str
) -> None:
    commands = [envelope("document.put", new_id(), {"expected_generation": None, "body": {}}) for _ in range(3)]
    async with (
        proxied(database_url) as database,
        process(settings, database_url=database.url, shutdown_timeout_s="0.5") as started,
    ):
        await lines_until(started, "ready")
        await client.ask(commands[0])
        database.stall()
        await client.send(*commands[1:])
        await client.until_empty(client.topology.inbox)
        started.send_signal(signal.SIGTERM)
        code, lines = await ended(started)
    assert code == 0
    assert {line["action"] for line in lines} <= {"settle", "confirm", "hold", "stop"}
    [left] = [line for line in lines if "held" in line and line["action"] == "settle"]
    assert left["held"] == 2
    assert lines[-1]["action"] == "stop"
    await client.until_depth(client.topology.inbox, 2)


async def test_a_second_signal_is_the_end_at_once(client: Client, settings: Settings, database_url: str) -> None:
    async with (
        proxied(database_url) as database,
        process(settings, database_url=database.url, shutdown_timeout_s=str(10 * DEADLINE_S)) as started,
    ):
        await lines_until(started, "ready")
        database.stall()
        await client.send(envelope("document.put", new_id(), {"expected_generation": None, "body": {}}))
        await client.until_empty(client.topology.inbox)
        started.send_signal(signal.SIGTERM)
        await lines_until(started, "settle")
        started.send_signal(signal.SIGTERM)
        code, lines = await ended(started)
    assert code == 1
    assert lines[-1]["event"] == "ended at once"
    await client.until_depth(client.topology.inbox, 1)


@pytest.mark.parametrize("setting", ["database_url", "amqp_url"])
async def test_a_signal_while_a_start_waits_for_a_server_exits_0_at_once(settings: Settings, setting: str) -> None:
    urls = {"database_url": f"postgresql://genlock@{NOBODY_LISTENS}/genlock", "amqp_url": f"amqp://{NOBODY_LISTENS}/"}
    async with process(settings, **{setting: urls[setting]}) as started:
        await lines_until(started, "wait_for_server")
        started.send_signal(signal.SIGTERM)
        code, lines = await ended(started)
    assert code == 0
    assert [line["action"] for line in lines] == ["stop"]


@pytest.mark.parametrize(
    ("changes", "server"),
    [
        ({"database_url": f"postgresql://genlock@{NOBODY_LISTENS}/genlock"}, "PostgreSQL"),
        ({"amqp_url": f"amqp://guest:guest@{NOBODY_LISTENS}/"}, "RabbitMQ"),
    ],
    ids=["PostgreSQL", "RabbitMQ"],
)
async def test_a_server_that_cannot_be_reached_is_exit_1_with_one_sentence(
    settings: Settings, changes: dict[str, str], server: str
) -> None:
    async with process(settings, start_timeout_s="1", **changes) as started:
        code, lines = await ended(started)
    assert code == 1
    assert [line["action"] for line in lines[:-1]] == ["wait_for_server"] * (len(lines) - 1)
    assert lines[-1]["action"] == "start"
    assert lines[-1]["why"].startswith(f"{server} could not be used within 1 seconds: ")


async def test_a_start_in_the_middle_of_a_failover_waits_for_the_primary(
    settings: Settings, database_url: str, second: Connection
) -> None:
    name = await second.fetchval("SELECT current_database()")
    await second.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    async with process(settings, database_url=joined(database_url, database_url)) as started:
        waiting = await lines_until(started, "wait_for_server")
        assert waiting[-1]["why"] == "no host is the primary"
        await second.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await lines_until(started, "ready")


async def test_a_wrong_password_is_not_logged(settings: Settings) -> None:
    url = f"amqp://guest:very-secret@{settings.amqp_url.get_secret_value().rpartition('@')[2]}"
    async with process(settings, start_timeout_s="0.1", amqp_url=url) as started:
        code, lines = await ended(started)
    assert code == 1
    assert "very-secret" not in str(lines)


async def test_an_older_schema_is_exit_1_with_what_to_do(
    settings: Settings, owner_url: str, service_role: Role
) -> None:
    async with (
        database(owner_url) as empty,
        process(settings, database_url=service_role.at(empty)) as started,
    ):
        code, lines = await ended(started)
    assert code == 1
    assert [line["action"] for line in lines] == ["start"]
    assert "run genlock migrate" in lines[0]["why"]


async def test_a_newer_schema_is_exit_1_with_what_to_do(settings: Settings, second: Connection) -> None:
    await second.execute("INSERT INTO schema_versions (version, name) VALUES (9999, 'of the future')")
    async with process(settings) as started:
        code, lines = await ended(started)
    assert code == 1
    assert "run a newer genlock" in lines[0]["why"]


async def test_a_queue_with_other_arguments_is_exit_1_and_says_which_one(client: Client, settings: Settings) -> None:
    await client.channel.queue_delete(client.topology.inbox)
    await client.channel.declare_queue(client.topology.inbox, durable=True, arguments={"x-queue-type": "quorum"})
    async with process(settings) as started:
        code, lines = await ended(started)
    assert code == 1
    assert [line["action"] for line in lines] == ["start"]
    assert "has another x-dead-letter-exchange than Genlock's" in lines[0]["why"]
    assert client.topology.inbox in lines[0]["why"]
