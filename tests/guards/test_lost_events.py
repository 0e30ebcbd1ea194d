"""What keeps an outcome from being decided and never told, and what becomes of it without."""

import asyncpg
from pydantic import SecretStr

from genlock.service.deciding.failpoints import Step
from genlock.service.settings import Settings
from tests.guards.removal import without
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.factories import Json
from tests.support.full_queues import declare_full
from tests.support.harness import Client, serving, until
from tests.support.proxy import Cut, proxied

NEVER_S = 3600.0
SOON_S = 0.1


async def is_decided(second: Connection, command: Json) -> bool:
    decided: bool = await second.fetchval("SELECT count(*) = 1 FROM ledger WHERE id = $1", command["id"])
    return decided


# A session that ends between publishing and acknowledging, whichever comes first; as with its process it would.


class Crash:
    """Ends the first session at one of these steps."""

    def __init__(self) -> None:
        self.happened = False

    def __call__(self, step: Step) -> None:
        if step in (Step.PUBLISHED, Step.SETTLED) and not self.happened:
            self.happened = True
            raise ConnectionError("made to end")


async def test_command_whose_session_ended_before_it_was_acknowledged_is_answered_again(
    settings: Settings, client: Client
) -> None:
    command, crash = creation(), Crash()
    async with serving(settings, failpoint=crash, sweep_after_s=NEVER_S):
        await client.send(command)
        await client.decided(command, command)
    assert crash.happened
    assert len(set(client.bodies[command["id"]])) == 1


async def test_event_of_a_command_that_was_acknowledged_first_is_found_by_the_sweep(
    settings: Settings, client: Client
) -> None:
    command, crash = creation(), Crash()
    with without("publishing before acknowledging"):
        async with serving(settings, failpoint=crash, sweep_after_s=SOON_S):
            await client.send(command)
            await client.decided(command)
    assert crash.happened


async def test_without_publishing_first_and_without_the_sweep_an_outcome_is_never_told(
    settings: Settings, client: Client, second: Connection
) -> None:
    command, crash = creation(), Crash()
    with without("publishing before acknowledging"):
        async with serving(settings, failpoint=crash, sweep_after_s=NEVER_S):
            await client.send(command)

            async def ended() -> bool:
                return crash.happened

            await until(ended)
            # Whatever the broker had kept of it would come before this one.
            await client.ask(creation())
    assert await is_decided(second, command)
    assert command["id"] not in client.bodies
    assert await client.depth(client.topology.inbox) == 0


# A broker that loses what it holds before it has got the event.


async def lost_by_the_broker(settings: Settings, client: Client) -> Json:
    """A command that was decided, whose event never reached the broker, and which the broker has forgotten."""
    command = creation()
    async with proxied(settings.amqp_url.get_secret_value()) as broker:
        broker.next_cut = Cut(b"document.put.succeeded", always=True)
        async with serving(settings, amqp_url=SecretStr(broker.url), sweep_after_s=NEVER_S, shutdown_timeout_s=0.1):
            await client.send(command)

            async def cut() -> bool:
                return broker.cuts > 0

            await until(cut)
    await client.until_depth(client.topology.inbox, 1)
    await (await client.channel.get_queue(client.topology.inbox)).purge()
    return command


async def test_event_that_the_broker_never_got_is_published_by_the_sweep(
    settings: Settings, client: Client, second: Connection
) -> None:
    command = await lost_by_the_broker(settings, client)
    assert await is_decided(second, command)
    async with serving(settings, sweep_after_s=SOON_S):
        await client.decided(command)


async def test_without_confirming_last_an_event_that_the_broker_never_got_is_never_told(
    settings: Settings, client: Client, second: Connection
) -> None:
    with without("confirming after publishing"):
        command = await lost_by_the_broker(settings, client)
    assert await is_decided(second, command)
    assert await second.fetchval("SELECT count(*) FROM batches WHERE confirmed_at IS NULL") == 0
    async with serving(settings, sweep_after_s=SOON_S):
        await client.ask(creation())
    assert command["id"] not in client.bodies


# A queue that refuses an event.


async def refused_by_a_full_queue(settings: Settings, client: Client) -> list[bytes]:
    """The events of a subscriber whose queue was full when a command was decided, up to that of a later command."""
    full = await declare_full(client, "#")
    async with serving(settings, sweep_after_s=NEVER_S):
        await client.ask(creation())
        await client.until_empty(client.topology.inbox)
        await full.purge()
        last = creation()
        got: list[bytes] = []

        async def all_got() -> bool:
            got.extend(message.body for message in await client.drain(full.name))
            return any(last["id"].encode() in body for body in got) and await none_waits(settings)

        await client.ask(last)
        await until(all_got)
        got.extend(message.body for message in await client.drain(full.name))
    return got


async def none_waits(settings: Settings) -> bool:
    connection = await asyncpg.connect(settings.database_url.get_secret_value())
    try:
        none: bool = await connection.fetchval("SELECT count(*) = 0 FROM waiting_messages")
        return none
    finally:
        await connection.close()


async def test_event_that_a_full_queue_refused_comes_when_there_is_room(settings: Settings, client: Client) -> None:
    got = await refused_by_a_full_queue(settings, client)
    assert {body for bodies in client.bodies.values() for body in bodies} == set(got)


async def test_without_keeping_refused_messages_an_event_that_a_full_queue_refused_is_never_told(
    settings: Settings, client: Client
) -> None:
    with without("keeping refused messages"):
        got = await refused_by_a_full_queue(settings, client)
    assert len(got) == 1
