"""`genlock republish`: a broker that was replaced empty gets all events of the past, as they were."""

import asyncio
import json
import re
from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime

import pytest

from genlock.cli.connections import broker, database
from genlock.consumers.amqp.declare import declare_topology, delete_topology
from genlock.consumers.operations.republish import Republished, Republisher
from genlock.service.database.statements import statement
from genlock.service.database.transactions import DECIDING_PLANS
from genlock.service.settings import Settings
from tests.support.command_line import genlock
from tests.support.database import Connection
from tests.support.factories import Json, envelope, new_id
from tests.support.harness import Client, connected, serving, until
from tests.support.proxy import Cut, proxied

BEFORE_ALL_TIMES = datetime(2000, 1, 1, tzinfo=UTC)


def creations(count: int) -> list[Json]:
    return [envelope("document.put", new_id(), {"expected_generation": None, "body": {}}) for _ in range(count)]


async def decided(client: Client, settings: Settings, commands: list[Json], batch_size_max: int = 8) -> None:
    """Let a replica decide the commands, and end."""
    async with serving(settings, batch_size_max=batch_size_max):
        await client.flood(commands)
        await client.decided(*commands)


async def events_in(second: Connection) -> list[bytes]:
    """All events of the ledger, in the order in which they are published again."""
    rows = await second.fetch("SELECT event FROM ledger ORDER BY batch_id, id")
    return [row["event"].encode() for row in rows]


async def arrived(client: Client, events: Iterable[bytes]) -> None:
    """Wait for one event of each command, and check that nothing else comes."""
    wanted = Counter(events)

    async def enough() -> bool:
        return len(client.events) >= wanted.total()

    await until(enough)
    assert Counter(message.body for message in client.events) == wanted


async def republished(settings: Settings, since: datetime, until: datetime | None = None) -> Republished:
    async with database(settings, 20) as pool, broker(settings) as session:
        return await Republisher(session, pool, settings).run(since, until)


async def test_a_broker_that_was_replaced_empty_gets_all_events_byte_for_byte(
    amqp_url: str, client: Client, second: Connection, settings: Settings
) -> None:
    commands = creations(50)
    commands += [envelope("document.put", command["subject"], command["data"]) for command in commands[:5]]
    await decided(client, settings, commands)
    await delete_topology(client.topology, client.channel)
    assert (await genlock(settings, "republish", "--since", "1h", "--until", "1m")).code == 0
    async with connected(amqp_url, settings.namespace) as subscriber:
        ran = await genlock(settings, "republish", "--since", "1h")
        events = await events_in(second)
        await arrived(subscriber, events)
    assert (ran.code, ran.err) == (0, "")
    batches = await second.fetchval("SELECT count(*) FROM batches")
    assert ran.out == f"Published 55 events of {batches} batches again.\n"
    assert [message.body for message in subscriber.events] == events
    sent = {message.message_id: message for message in client.events}
    for message in subscriber.events:
        assert message.message_id is not None
        before = sent[message.message_id]
        assert (message.routing_key, message.headers) == (before.routing_key, before.headers)
        assert (message.timestamp, message.app_id, message.type) == (before.timestamp, before.app_id, before.type)


async def test_nothing_is_published_that_was_decided_outside_of_the_span(
    client: Client, second: Connection, settings: Settings
) -> None:
    old, middle, new = creations(3), creations(4), creations(2)
    await decided(client, settings, old)
    since = await second.fetchval("SELECT clock_timestamp()")
    await decided(client, settings, middle)
    until = await second.fetchval("SELECT clock_timestamp()")
    await decided(client, settings, new)
    assert (await republished(settings, since, until)).events == len(middle)
    assert (await republished(settings, since)).events == len(middle) + len(new)
    assert (await republished(settings, BEFORE_ALL_TIMES, since)).events == len(old)
    await client.decided(*old, *old, *middle, *middle, *middle, *new, *new)


async def test_batches_that_were_not_confirmed_are_afterwards(
    client: Client, second: Connection, settings: Settings
) -> None:
    await decided(client, settings, creations(30))
    await second.execute("UPDATE batches SET confirmed_at = NULL WHERE id % 2 = 0")
    lost = await second.fetchval("SELECT count(*) FROM batches WHERE confirmed_at IS NULL")
    untouched = await second.fetch("SELECT id, confirmed_at FROM batches WHERE confirmed_at IS NOT NULL ORDER BY id")
    ran = await genlock(settings, "republish", "--since", "1h")
    assert f"{lost} of the batches had not been confirmed before, and are now." in ran.out
    assert await second.fetchval("SELECT count(*) FROM batches WHERE confirmed_at IS NULL") == 0
    ids = [row["id"] for row in untouched]
    assert untouched == await second.fetch("SELECT id, confirmed_at FROM batches WHERE id = ANY ($1) ORDER BY id", ids)


async def test_events_are_streamed_a_bounded_number_at_once(
    client: Client, second: Connection, settings: Settings
) -> None:
    """Batches that do not fit into a slice are noted only once all of their events are confirmed."""
    await decided(client, settings, creations(40), batch_size_max=16)
    await second.execute("UPDATE batches SET confirmed_at = NULL")
    seen: list[tuple[int, int, int]] = []

    async with database(settings, 20) as pool, broker(settings) as session:

        def report(done: Republished) -> None:
            seen.append((done.events, done.batches, done.newly_confirmed))

        done = await Republisher(session, pool, settings, report, events_at_once=3).run(BEFORE_ALL_TIMES)
    assert [events for events, _, _ in seen] == [*range(3, 40, 3), 40]
    sizes = [
        row["size"]
        for row in await second.fetch("SELECT count(*) AS size FROM ledger GROUP BY batch_id ORDER BY batch_id")
    ]
    for events, batches, confirmed in seen:
        assert sum(sizes[:batches]) <= events
        assert batches == confirmed
    assert (done.events, done.batches, done.newly_confirmed) == (40, len(sizes), len(sizes))


async def test_it_works_beside_a_live_service(client: Client, second: Connection, settings: Settings) -> None:
    before, meanwhile = creations(100), creations(100)
    await decided(client, settings, before)
    async with serving(settings, batch_size_max=8):
        ran, _ = await asyncio.gather(genlock(settings, "republish", "--since", "1h"), client.ask(*meanwhile))
        await client.decided(*before, *before, *meanwhile)
    assert ran.code == 0
    events = await events_in(second)
    assert {message.body for message in client.events} == set(events)
    assert all(len(set(bodies)) == 1 for bodies in client.bodies.values())


async def test_it_counts_the_events_without_a_subscriber(client: Client, settings: Settings) -> None:
    commands = creations(3)
    commands.append(envelope("document.put", commands[0]["subject"], commands[0]["data"]))
    await decided(client, settings, commands)
    await delete_topology(client.topology, client.channel)
    await declare_topology(client.topology, client.channel)
    conflicts = await client.channel.declare_queue(exclusive=True)
    await conflicts.bind(client.topology.events, routing_key="document.*.conflict")
    ran = await genlock(settings, "republish", "--since", "1h")
    assert ran.code == 0
    assert ran.err == "genlock: document.put.succeeded has no subscriber: its events went to no queue.\n"
    assert await client.depth(conflicts.name) == 1


async def test_where_it_was_cut_off_it_can_go_on(client: Client, second: Connection, settings: Settings) -> None:
    commands = creations(250)
    await decided(client, settings, commands)
    events = await events_in(second)
    first_times = len(client.events)
    async with proxied(settings.amqp_url.get_secret_value()) as proxy:
        proxy.next_cut = Cut(json.loads(events[-1])["id"].encode())
        ran = await genlock(settings, "republish", "--since", "1h", "--amqp-url", proxy.url)
    assert ran.code == 1
    told = re.fullmatch(r"genlock: The broker did not take all events: .*\. To go on, use --since (\S+)\.\n", ran.err)
    assert told
    ran = await genlock(settings, "republish", "--since", told[1])
    assert ran.code == 0
    again = int(re.findall(r"Published (\d+) events", ran.out)[0])
    assert 0 < again < len(commands)
    await client.decided(*commands, *commands)
    assert {message.body for message in client.events[first_times:]} == set(events)


async def test_without_its_servers_it_fails_in_a_sentence(settings: Settings) -> None:
    for variable in ("GENLOCK_AMQP_URL", "GENLOCK_DATABASE_URL"):
        scheme = "amqp" if "AMQP" in variable else "postgresql"
        ran = await genlock(settings, "republish", "--since", "1h", **{variable: f"{scheme}://a:secret@127.0.0.1:1/x"})
        assert ran.code == 1
        assert ran.err.startswith("genlock: ")
        assert "127.0.0.1:1" in ran.err
        assert "secret" not in ran.err
        assert len(ran.err.splitlines()) == 1


@pytest.mark.parametrize(
    "arguments", [(), ("--since", "yesterday"), ("--since", "1h", "--until", "2h"), ("--since", "2026-01-31T12:00:00")]
)
async def test_a_span_that_cannot_be_is_wrong_usage(settings: Settings, arguments: tuple[str, ...]) -> None:
    assert (await genlock(settings, "republish", *arguments)).code == 2


async def test_its_statement_is_streamed_and_not_sorted_whole(second: Connection) -> None:
    for name, value in DECIDING_PLANS.items():
        await second.execute("SELECT set_config($1, $2, false)", name, value)
    plan = await second.fetch(f"EXPLAIN {statement('find_decided_since')}", BEFORE_ALL_TIMES, None)
    nodes = "\n".join(row[0] for row in plan)
    assert "Incremental Sort" in nodes
    assert "Seq Scan" not in nodes
    assert "Hash" not in nodes
