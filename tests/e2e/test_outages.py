"""A server is away or drops its connections while commands come: nothing is lost, and all goes on by itself."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aio_pika.abc import AbstractIncomingMessage
from pydantic import SecretStr

from genlock.consumers.commands.registration import FIRST_MESSAGES
from genlock.consumers.process.serve import Service
from genlock.service.deciding.failpoints import Step
from genlock.service.settings import Settings
from tests.property.replay import check_explained
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.factories import Json, envelope, new_id
from tests.support.faulty_events import faulty_event
from tests.support.frame_proxy import frames_proxied
from tests.support.harness import Client, serving, until
from tests.support.prefetches import Prefetches
from tests.support.proxy import Cut, Proxy

COMMIT = b"COMMIT\0"
BEGIN_IS_NEVER_ANSWERED = Cut(b"BEGIN", always=True)


@pytest.fixture
async def service(remote: Settings) -> AsyncIterator[Service]:
    """A replica behind the proxies."""
    async with serving(remote) as service:
        yield service


def merges(document: str, count: int) -> list[Json]:
    return [envelope("document.merge", document, {"patch": {f"n{number}": number}}) for number in range(count)]


def returns(message: AbstractIncomingMessage) -> int:
    """How often the broker has had a message back, by its own count."""
    count = message.headers.get("x-delivery-count", 0)
    assert isinstance(count, int)
    return count


async def until_ready(service: Service, *, ready: bool) -> None:
    async def so() -> bool:
        return service.ready.is_set() is ready

    await until(so)


async def test_a_lost_broker_connection_is_made_anew_and_commands_are_decided(
    client: Client, service: Service, broker: Proxy
) -> None:
    document = new_id()
    first, *others = merges(document, 3)
    await client.ask(creation(document), first)
    await broker.refuse()
    await until_ready(service, ready=False)
    await client.send(*others)
    await broker.accept()
    await until_ready(service, ready=True)
    events = await client.decided(*others)
    assert [event["data"]["token"] for event in events] == [{"generation": 2}, {"generation": 3}]


async def test_connections_cut_again_and_again_under_load_lose_and_repeat_nothing(
    client: Client, service: Service, broker: Proxy, database: Proxy, second: Connection
) -> None:
    document, commands = new_id(), list[Json]()
    created = creation(document)
    await client.ask(created)
    for round_ in range(6):
        some = merges(document, 40)
        commands += some
        await client.flood(some)
        await client.decided(some[0])
        (broker, database)[round_ % 2].cut()
    await client.decided(*commands)
    await until_ready(service, ready=True)
    assert await second.fetchval("SELECT generation FROM documents") == len(commands)
    assert all(len(set(bodies)) == 1 for bodies in client.bodies.values())
    await check_explained(second, [created, *commands])


async def test_a_deleted_inbox_is_declared_again_and_consumed(client: Client, service: Service) -> None:
    document = new_id()
    await client.ask(creation(document))
    await client.channel.queue_delete(client.topology.inbox)
    await until_ready(service, ready=False)
    await until_ready(service, ready=True)
    [event] = await client.ask(*merges(document, 1))
    assert event["data"]["token"] == {"generation": 1}


async def test_a_deleted_exchange_is_declared_again_and_its_events_are_there_for_the_asking(
    client: Client, service: Service
) -> None:
    document = new_id()
    created, command = creation(document), merges(document, 1)[0]
    await client.ask(created)
    await client.channel.exchange_delete(client.topology.events)
    # The event cannot be published, which ends the session; the next one declares the missing exchange.
    await client.send(command)
    await until_ready(service, ready=False)
    await until_ready(service, ready=True)
    # The bindings went with the exchange.
    await client.subscribe()
    [event] = await client.ask(command)
    assert event["data"]["token"] == {"generation": 1}


async def until_held(database: Proxy) -> None:
    """Return when the service knows that its database is of no use: it has tried twice, and stays registered."""

    async def tried_twice() -> bool:
        return database.cuts >= 2

    await until(tried_twice)


async def test_while_the_database_is_away_commands_are_held_and_then_decided(
    client: Client, service: Service, database: Proxy
) -> None:
    document = new_id()
    await client.ask(creation(document))
    held, *others = merges(document, FIRST_MESSAGES + 5)
    database.next_cut = BEGIN_IS_NEVER_ANSWERED
    await client.send(held)
    await until_held(database)
    await database.refuse()
    # The session stays: as much as may be is held on its channel, and the rest stays in the queue.
    await client.send(*others)
    await client.until_depth(client.topology.inbox, 5)
    assert service.ready.is_set()
    database.next_cut = None
    await database.accept()
    events = await client.decided(held, *others)
    assert [event["data"]["token"]["generation"] for event in events] == list(range(1, FIRST_MESSAGES + 6))
    assert all(len(bodies) == 1 for bodies in client.bodies.values())
    await client.until_empty(client.topology.inbox)


async def test_tries_against_a_database_that_is_away_are_not_counted_as_deliveries(
    client: Client, service: Service, broker: Proxy, database: Proxy
) -> None:
    document = new_id()
    await client.ask(creation(document))
    database.next_cut = BEGIN_IS_NEVER_ANSWERED
    await client.send(*merges(document, 3))
    await until_held(database)
    await broker.refuse()
    await until_ready(service, ready=False)
    await client.until_depth(client.topology.inbox, 3)
    counts = [returns(message) for message in await client.drain(client.topology.inbox)]
    # The lost connection accounts for the one; commands that were never delivered have none.
    assert counts[0] == 1
    assert set(counts) <= {0, 1}
    database.next_cut = None
    await broker.accept()


@pytest.mark.parametrize("after", [False, True], ids=["before the server got it", "after the server did it"])
async def test_a_commit_whose_answer_is_lost_ends_in_one_event(
    client: Client, service: Service, database: Proxy, second: Connection, *, after: bool
) -> None:
    document = new_id()
    created, commands = creation(document), merges(document, 4)
    await client.ask(created)
    database.next_cut = Cut(COMMIT, after=after)
    await client.send(*commands)
    await client.decided(*commands)
    assert database.next_cut is None
    assert service.ready.is_set()
    assert await second.fetchval("SELECT generation FROM documents") == len(commands)
    assert all(len(bodies) == 1 for bodies in client.bodies.values())


async def test_stopping_while_the_database_is_away_ends_in_time_and_gives_everything_back(
    client: Client, remote: Settings, database: Proxy
) -> None:
    document = new_id()
    async with serving(remote, shutdown_timeout_s=0.5):
        await client.ask(creation(document))
        database.next_cut = BEGIN_IS_NEVER_ANSWERED
        await client.send(*merges(document, 3))
        await until_held(database)
    await client.until_depth(client.topology.inbox, 3)


async def test_command_that_ends_each_session_takes_no_neighbours_to_the_dead_letters(
    client: Client, remote: Settings
) -> None:
    """The broker counts a return of all that a session held; of a hundred it makes a dead letter."""
    culprit, *neighbours = [creation(new_id()) for _ in range(30)]
    await client.send(culprit, *neighbours)
    with faulty_event(culprit["subject"]):
        async with serving(remote, retry_delay_max_s=0.01):
            await client.decided(*neighbours)
    await client.until_depth(client.topology.inbox, 1)
    assert await client.depth(client.topology.dead_letters) == 0


async def test_session_after_a_fault_goes_carefully_until_it_settles_something_and_then_takes_all(
    client: Client, settings: Settings
) -> None:
    steps: list[Step] = []
    prefetches = Prefetches()
    commands = [creation(new_id()) for _ in range(40)]
    await client.send(*commands)
    async with frames_proxied(settings.amqp_url.get_secret_value(), prefetches) as broker:

        def cut_once(step: Step) -> None:
            steps.append(step)
            if step is Step.COMMITTED and steps.count(step) == 1:
                broker.cut()

        few: dict[str, Any] = {"retry_delay_max_s": 0.2, "batch_size_max": 8, "prefetch": FIRST_MESSAGES}
        async with serving(settings, amqp_url=SecretStr(broker.url), failpoint=cut_once, **few):
            await client.decided(*commands)
    first, *later = prefetches.brought
    assert first.prefetches == [FIRST_MESSAGES]
    # One delivery until it is settled; a session more if the first one that is careful is lost before.
    assert {each.prefetches[0] for each in later} == {1}
    assert {each.before_the_first for each in later} == {1}
    assert later[-1].prefetches == [1, FIRST_MESSAGES]
