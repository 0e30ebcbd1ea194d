"""The number of lanes: a replica with another one is refused, and changing it loses and doubles nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from itertools import count

import aio_pika
import pytest
from aio_pika.abc import ExchangeType
from pydantic import SecretStr

from genlock.consumers.amqp.declare import TopologyError, declare_topology
from genlock.consumers.amqp.session import open_session
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.operations import lanes
from genlock.consumers.operations.lanes import LanesInUseError
from genlock.consumers.process.serve import Service
from genlock.consumers.process.starting import StartError
from genlock.servers import LocalRabbit
from genlock.servers.programs import Programs
from genlock.service.settings import Settings
from tests.property.replay import check_explained
from tests.support.chains import broken, chains, links_of, send_chains
from tests.support.command_line import genlock
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.factories import Json, envelope, new_id
from tests.support.harness import Client, connected, serving, until
from tests.support.proxy import Cut, Proxy, Way, proxied

NUMBERS = (1, 2, 4)


def with_lanes(settings: Settings, number: int, **changes: object) -> Settings:
    return settings.model_copy(update={"lanes": number, **changes})


async def change(settings: Settings) -> dict[str, int]:
    """Have as many lanes as the settings say."""
    async with open_session(settings, declare=False) as session:
        return await lanes.change_lanes(session, settings, quiet_s=0.3)


@pytest.fixture
async def client(client: Client, settings: Settings) -> AsyncIterator[Client]:
    """A client of a namespace with one inbox, which ends with one inbox too."""
    yield client
    await change(settings)


def merges(document: str) -> Iterator[Json]:
    return (envelope("document.merge", document, {"patch": {"n": number}}) for number in count())


async def lane_queues(settings: Settings) -> set[str]:
    """The queues of lanes that there are, of any number up to four."""
    found = set()
    async with await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
        for topology in (Topology(settings.namespace, number) for number in (2, 3, 4)):
            for name in (*topology.lane_queues, topology.multi_record):
                channel = await connection.channel()
                try:
                    await channel.declare_queue(name, passive=True)
                except aio_pika.exceptions.ChannelNotFoundEntity:
                    continue
                found.add(name)
    return found


async def accepted(settings: Settings) -> list[int]:
    """The numbers of lanes that a replica could start with."""
    numbers = []
    async with await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
        for number in NUMBERS:
            try:
                await declare_topology(Topology(settings.namespace, number), await connection.channel())
            except TopologyError:
                continue
            numbers.append(number)
    return numbers


async def test_changes_under_load_lose_and_double_nothing(
    client: Client, settings: Settings, second: Connection
) -> None:
    documents = [new_id() for _ in range(8)]
    created = [creation(document) for document in documents]
    sent: list[Json] = []
    over = asyncio.Event()

    async def few_wait() -> bool:
        return len(sent) < len(client.bodies) + 400 or over.is_set()

    async def publish() -> None:
        """Publish commands all the time, even while no replica decides them."""
        for commands in zip(*map(merges, documents), strict=True):
            await asyncio.gather(*(client.send_addressed(command) for command in commands))
            sent.extend(commands)
            if over.is_set():
                return
            await until(few_wait)

    async def decides_what_comes_now() -> None:
        there = len(sent)

        async def more() -> bool:
            return len(sent) > there

        await until(more)
        await client.decided(*sent[there : there + 8])

    async with serving(settings):
        await client.ask(*created)
    publishing = asyncio.create_task(publish())
    for number in (1, 4, 2, 4, 1):
        await change(with_lanes(settings, number))
        async with serving(with_lanes(settings, number)):
            await decides_what_comes_now()
    over.set()
    await publishing
    async with serving(settings):
        await client.decided(*sent)
    assert await second.fetchval("SELECT count(*) FROM ledger") == len(sent) + len(created)
    assert await second.fetchval("SELECT sum(generation)::int FROM documents") == len(sent)
    assert all(len(set(bodies)) == 1 for bodies in client.bodies.values())
    await check_explained(second, [*created, *sent])
    assert await lane_queues(settings) == set()
    assert await client.depth(client.topology.inbox) == 0


async def test_a_change_keeps_the_order_of_what_waits(client: Client, settings: Settings, second: Connection) -> None:
    sent = chains(20, links=30)
    await send_chains(client, [links[:10] for links in sent])
    assert await change(with_lanes(settings, 4)) == {client.topology.inbox: 200}
    await send_chains(client, [links[10:20] for links in sent])
    moved = await change(with_lanes(settings, 2))
    assert moved.keys() <= {*Topology(settings.namespace, 4).lane_queues, client.topology.inbox}
    assert moved[client.topology.inbox] == sum(moved.values()) / 2 == 400
    assert await lane_queues(settings) == {*Topology(settings.namespace, 2).lane_queues, client.topology.multi_record}
    await send_chains(client, [links[20:] for links in sent])
    two = with_lanes(settings, 2)
    async with serving(two), serving(two):
        assert await broken(client, sent) == 0
    assert all(len(bodies) == 1 for bodies in client.bodies.values())
    await check_explained(second, links_of(sent))


async def done_before(settings: Settings, broker: Proxy, requests: int) -> bool:
    """Change the lanes through a proxy, but only until so many requests have passed; tell whether that was enough."""
    allowed = broker.passed[Way.REQUESTS] + requests
    changing = asyncio.create_task(change(settings))

    async def done_or_too_late() -> bool:
        return changing.done() or broker.passed[Way.REQUESTS] >= allowed

    await until(done_or_too_late)
    done = changing.done()
    changing.cancel()
    broker.cut()
    await asyncio.wait({changing})
    return done and not changing.exception()


async def test_a_change_that_is_interrupted_anywhere_is_finished_by_making_it_again(
    client: Client, settings: Settings, second: Connection
) -> None:
    commands = [creation(new_id()) for _ in range(300)]
    await change(with_lanes(settings, 4))
    await client.send_addressed(*commands)
    interruptions = 0
    async with proxied(settings.amqp_url.get_secret_value()) as broker:
        two = with_lanes(settings, 2, amqp_url=SecretStr(broker.url), publish_timeout_s=5.0)
        while not await done_before(two, broker, 20 + 25 * interruptions):
            interruptions += 1
            # The broker routes new commands, and no replica starts that would miss waiting ones.
            commands.append(creation(new_id()))
            await client.send_addressed(commands[-1])
            assert await accepted(settings) in ([], [4], [2])
    assert interruptions >= 5
    assert await accepted(settings) == [2]
    assert await lane_queues(settings) == {*Topology(settings.namespace, 2).lane_queues, client.topology.multi_record}
    async with serving(with_lanes(settings, 2)):
        events = await client.decided(*commands)
    assert {event["type"] for event in events} == {"document.put.succeeded"}
    assert await second.fetchval("SELECT count(*) FROM ledger") == len(commands)
    await check_explained(second, commands)


@pytest.mark.parametrize("there", NUMBERS)
@pytest.mark.parametrize("wanted", NUMBERS)
async def test_a_replica_starts_with_the_number_of_lanes_that_the_broker_has_alone(
    client: Client, settings: Settings, there: int, wanted: int
) -> None:
    await change(with_lanes(settings, there))
    before = await lane_queues(settings)
    if wanted == there:
        async with serving(with_lanes(settings, wanted)):
            await client.ask(creation(new_id()))
    else:
        with pytest.raises(StartError, match=rf"GENLOCK_LANES is {wanted}, but .* run genlock lanes {wanted}\b"):
            await Service(with_lanes(settings, wanted)).run()
    assert await lane_queues(settings) == before
    assert await accepted(settings) == [there]


async def test_a_replica_does_not_start_while_a_change_is_not_finished(client: Client, settings: Settings) -> None:
    inbox = await client.channel.get_queue(client.topology.inbox)
    changing = await client.channel.declare_exchange(client.topology.changing, ExchangeType.FANOUT, durable=True)
    await inbox.bind(changing)
    for number in NUMBERS:
        with pytest.raises(StartError, match=f"was interrupted: in that case run genlock lanes {number}"):
            await Service(with_lanes(settings, number)).run()


@pytest.mark.parametrize(("there", "wanted"), [(1, 4), (4, 2), (4, 1)])
async def test_lanes_are_not_changed_under_a_replica_that_works(
    client: Client, settings: Settings, there: int, wanted: int
) -> None:
    await change(with_lanes(settings, there))
    async with serving(with_lanes(settings, there)):
        with pytest.raises(LanesInUseError, match="is in use: stop all replicas first"):
            await change(with_lanes(settings, wanted))
        # It goes on, and another one may start.
        await client.ask(creation(new_id()))
        assert await accepted(settings) == [there]
        # Asking for the present number of lanes changes nothing.
        assert await change(with_lanes(settings, there)) == {}


async def test_lanes_are_not_changed_while_a_replica_that_stops_holds_something(
    client: Client, settings: Settings, database_url: str
) -> None:
    """Its consumer of the inbox is cancelled then, and its held commands would return to a queue without consumers."""
    command = creation(new_id())
    async with proxied(database_url) as database:
        cut_off = settings.model_copy(update={"database_url": SecretStr(database.url), "retry_delay_max_s": 0.2})
        async with serving(cut_off) as service:
            database.next_cut = Cut(b"BEGIN", always=True)
            await client.send_addressed(command)

            async def tried() -> bool:
                return database.cuts > 0

            await until(tried)
            service.stop()

            async def cancelled() -> bool:
                return not service._activity.registered

            await until(cancelled)
            with pytest.raises(LanesInUseError):
                await change(with_lanes(settings, 4))
            database.next_cut = None
            await client.decided(command)


class RabbitWithoutPlugins(LocalRabbit):
    """A RabbitMQ that has no exchange which spreads messages by their hash."""

    plugins = ()


async def test_without_the_plugin_nothing_is_changed_and_the_error_says_what_to_enable(
    settings: Settings, programs: Programs
) -> None:
    with RabbitWithoutPlugins(programs) as rabbit:
        old = settings.model_copy(update={"amqp_url": SecretStr(rabbit.url)})
        async with connected(rabbit.url, old.namespace):
            with pytest.raises(TopologyError, match="rabbitmq-plugins enable rabbitmq_consistent_hash_exchange"):
                await change(with_lanes(old, 4))
            assert await accepted(old) == [1]
        new = with_lanes(old, 4, namespace=f"{old.namespace}-new")
        with pytest.raises(StartError, match="rabbitmq-plugins enable rabbitmq_consistent_hash_exchange"):
            await Service(new).run()
        async with connected(rabbit.url, new.namespace):
            # It has left nothing that would be in the way of one inbox.
            assert await accepted(new) == [1]


async def test_the_command_line_changes_lanes_and_says_what_it_moved(client: Client, settings: Settings) -> None:
    await client.send_addressed(creation(new_id()))
    changed = await genlock(settings, "lanes", "3")
    assert (changed.code, changed.err) == (0, "")
    moved = f"Moved out of {client.topology.inbox}: 1."
    assert changed.out.splitlines() == [moved, f"The namespace {settings.namespace} has 3 lanes now."]
    async with serving(with_lanes(settings, 3)):
        refused = await genlock(settings, "lanes", "1")
    assert refused.code == 1
    assert "is in use: stop all replicas first" in refused.err
    back = await genlock(settings, "lanes", "1")
    assert back.out == f"The namespace {settings.namespace} has one inbox now.\n"
    unreachable = await genlock(settings, "lanes", "2", GENLOCK_AMQP_URL="amqp://guest:secret@127.0.0.1:1/")
    assert unreachable.code == 1
    assert "RabbitMQ at 127.0.0.1:1 cannot be used" in unreachable.err
    assert "secret" not in unreachable.err
    assert (await genlock(settings, "lanes", "33")).code == 2
