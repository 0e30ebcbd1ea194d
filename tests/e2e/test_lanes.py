"""Lanes: the commands of a record are decided in the order in which they were published, by whichever replica."""

import json

import aiohttp
import pytest

from genlock.consumers.amqp.declare import DELIVERY_LIMIT
from genlock.consumers.health.http import serving as serving_http
from genlock.service.settings import Settings
from tests.property.replay import check_explained
from tests.support.chains import broken, chains, links_of, send_chains
from tests.support.consumer_factories import wanted
from tests.support.database import Connection
from tests.support.dead_letters import come_back
from tests.support.documents import creation
from tests.support.factories import envelope, new_id
from tests.support.faulty_events import faulty_event
from tests.support.harness import Client, connected, serving

LANES = 4

RETURNS_LEFT = 10
"""How often a command may still come back."""


@pytest.fixture
def lanes() -> int:
    return LANES


async def waiting(client: Client) -> list[int]:
    """How many commands are ready in each lane, and last in that of the commands on several records."""
    topology = client.topology
    return [await client.depth(queue) for queue in (*topology.lane_queues, topology.multi_record)]


async def test_chains_that_are_sent_without_waiting_keep_their_order_with_two_replicas(
    client: Client, settings: Settings, second: Connection
) -> None:
    sent = chains(40, links=30)
    await send_chains(client, sent)
    async with serving(settings), serving(settings):
        assert await broken(client, sent) == 0
    assert await second.fetchval("SELECT count(*) FROM ledger") == 40 * 30
    await check_explained(second, links_of(sent))


async def test_command_with_a_priority_which_would_overtake_others_is_rejected(
    client: Client, settings: Settings
) -> None:
    document = creation()
    urgent, bulk = [creation() for _ in range(2)], [creation() for _ in range(2)]
    async with serving(settings):
        await client.send_addressed(document, priority=0)
        await client.send_addressed(*urgent, priority=5)
        await client.send_bulk(bulk, priority=1)
        [told, *rejected] = await client.decided(document, *urgent, *bulk)
    assert told["type"] == "document.put.succeeded"
    assert {event["data"]["code"] for event in rejected} == {"invalid_data"}
    assert all("priority" in event["data"]["message"] for event in rejected)


async def test_with_one_inbox_and_one_replica_they_do_too(amqp_url: str, namespace: str, settings: Settings) -> None:
    one = settings.model_copy(update={"lanes": 1, "batch_size_max": 8})
    async with connected(amqp_url, namespace) as client:
        sent = chains(10, links=30)
        await send_chains(client, sent)
        async with serving(one):
            assert await broken(client, sent) == 0


async def test_with_one_inbox_and_two_replicas_they_do_not(amqp_url: str, namespace: str, settings: Settings) -> None:
    one = settings.model_copy(update={"lanes": 1, "batch_size_max": 8, "prefetch": 16})
    async with connected(amqp_url, namespace) as client:
        sent = chains(10, links=30)
        await send_chains(client, sent)
        async with serving(one), serving(one):
            assert await broken(client, sent) > 0


async def test_commands_are_spread_by_their_subject_and_each_waits_in_one_lane(
    client: Client, settings: Settings
) -> None:
    documents = [new_id() for _ in range(200)]
    commands = [creation(document) for document in documents]
    await client.send_addressed(*commands)
    *lanes, several = await waiting(client)
    assert sum(lanes) == len(commands)
    assert min(lanes) > len(commands) / LANES / 2
    assert several == await client.depth(client.topology.inbox) == 0
    before = lanes
    await client.send_addressed(
        *(envelope("document.merge", document, {"patch": {}, "expected_generation": 0}) for document in documents)
    )
    assert await waiting(client) == [*(2 * count for count in before), 0]
    async with serving(settings):
        events = await client.decided(*commands)
    assert {event["type"] for event in events} == {"document.put.succeeded"}


async def test_commands_without_the_header_go_to_one_lane_and_are_decided(client: Client, settings: Settings) -> None:
    commands = [creation(new_id()) for _ in range(50)]
    await client.send(*commands)
    assert sorted(await waiting(client)) == [0] * LANES + [len(commands)]
    async with serving(settings):
        events = await client.decided(*commands)
    assert {event["type"] for event in events} == {"document.put.succeeded"}


async def test_commands_on_several_records_have_a_lane_of_their_own(client: Client, settings: Settings) -> None:
    provider, consumer, other = new_id(), new_id(), new_id()
    inventories = {"expected_generation": 0, "inventories": {"VCPU": {"total": 8}}}
    first = [
        envelope("provider.create", provider, {"name": provider}),
        envelope("provider.set_inventories", provider, inventories),
    ]
    several = [
        envelope("consumer.set_many", None, {"consumers": {consumer: wanted(None, {provider: {"VCPU": 1}})}}),
        envelope("consumer.set_many", None, {"consumers": {consumer: wanted(1, {provider: {"VCPU": 2}})}}),
        envelope(
            "consumer.reshape",
            None,
            {
                "inventories": {provider: {**inventories, "expected_generation": 3}},
                "consumers": {
                    consumer: wanted(2, {provider: {"VCPU": 3}}),
                    other: wanted(None, {provider: {"VCPU": 1}}),
                },
            },
        ),
    ]
    await client.send_addressed(*several)
    assert await waiting(client) == [0] * LANES + [len(several)]
    await (await client.channel.get_queue(client.topology.multi_record)).purge()
    async with serving(settings), serving(settings):
        await client.send_addressed(*first)
        await client.decided(*first)
        await client.send_addressed(*several)
        events = await client.decided(*first, *several)
    assert [event["type"].rpartition(".")[2] for event in events] == ["succeeded"] * 5


async def test_message_that_is_no_command_is_answered_or_a_dead_letter_as_ever(
    client: Client, settings: Settings
) -> None:
    unknown = envelope("document.paint", "x", {})
    without_subject = envelope("consumer.set_everything", None, {})
    async with serving(settings):
        await client.publish(b"not JSON", "document.put")
        await client.send_addressed(unknown, without_subject)
        events = await client.decided(unknown, without_subject)
        await client.until_depth(client.topology.dead_letters, 1)
    assert [event["data"]["code"] for event in events] == ["unknown_type", "unknown_type"]


async def test_what_comes_to_the_inbox_beside_the_lanes_is_decided(client: Client, settings: Settings) -> None:
    """As after a change of the number of lanes that was interrupted."""
    inbox = await client.channel.get_queue(client.topology.inbox)
    await inbox.bind(client.topology.commands, "#")
    command = creation(new_id())
    await client.send_addressed(command)
    await client.until_depth(client.topology.inbox, 1)
    async with serving(settings):
        event, _ = await client.decided(command, command)
        await client.until_empty(client.topology.inbox)
        # The replica has set the way right.
        after = creation(new_id())
        await client.ask(after)
    assert event["type"] == "document.put.succeeded"
    assert len(client.bodies[after["id"]]) == 1


async def test_command_that_ends_each_session_comes_to_the_dead_letters_and_its_lane_goes_on(
    client: Client, settings: Settings, amqp_url: str
) -> None:
    """The broker counts returns in a lane as in the inbox; only the culprit comes back as often as it allows."""
    culprit, *neighbours = [creation(new_id()) for _ in range(30)]
    await client.send_addressed(culprit)
    [lane] = [name for name in client.topology.lane_queues if await client.depth(name)]
    await come_back(amqp_url, lane, DELIVERY_LIMIT - RETURNS_LEFT)
    await client.send_addressed(*neighbours)
    async with serving(settings, retry_delay_max_s=0.01):
        with faulty_event(culprit["subject"]):
            await client.decided(*neighbours)
            await client.until_depth(client.topology.dead_letters, 1)
        merge = envelope("document.merge", culprit["subject"], {"patch": {}})
        await client.send_addressed(merge)
        await client.decided(merge)
    [dead_letter] = await client.drain(client.topology.dead_letters)
    assert json.loads(dead_letter.body)["id"] == culprit["id"]


async def test_health_and_metrics_tell_which_lanes_are_decided_here(client: Client, settings: Settings) -> None:
    commands = [creation(new_id()) for _ in range(100)]
    several = envelope("consumer.set_many", None, {"consumers": {new_id(): wanted(None, {new_id(): {"VCPU": 1}})}})
    async with serving(settings) as first, serving(settings) as standby:
        for command in (*commands, several):
            await client.send_addressed(command)
        await client.decided(*commands, several)
        statuses = [await service._monitor.check() for service in (first, standby) if service._monitor]
        assert [status.unready for status in statuses] == [[], []]
        assert statuses[0].lanes == [*client.topology.lane_queues, client.topology.multi_record]
        assert statuses[1].lanes == []
        async with (
            serving_http("127.0.0.1", 0, lambda: statuses, first.registry) as port,
            aiohttp.ClientSession() as http,
            http.get(f"http://127.0.0.1:{port}/metrics") as answer,
        ):
            told = await answer.text()
    for lane in statuses[0].lanes:
        assert f'genlock_lane_active{{lane="{lane}"}} 1.0\n' in told
    assert told.count("genlock_lane_active{") == LANES + 1
