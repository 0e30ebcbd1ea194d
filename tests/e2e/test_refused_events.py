"""A broker that refuses to take an outcome: nothing is lost, and other clients do not wait for one client's queue."""

import asyncio
import json

import pytest
from pamqp.commands import Queue

from genlock.service.database.transactions import Pool
from genlock.service.database.verify import verify
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Step
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.waiting import Refused, WaitingTable
from genlock.service.settings import Settings
from tests.support.crashes import killed_at
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.factories import envelope, new_id, put
from tests.support.full_queues import BLOCKER, FULL, declare_full
from tests.support.harness import NO_PROPERTIES, Client, serving, until
from tests.support.tables import until_confirmed, until_none_waits


async def test_events_wait_while_a_subscribers_queue_is_full_and_come_when_it_is_gone(
    settings: Settings, client: Client
) -> None:
    full = await client.channel.declare_queue(exclusive=True, arguments=FULL)
    await full.bind(client.topology.events, routing_key="#")
    commands = [creation() for _ in range(30)]
    async with serving(settings, batch_size_max=5):
        await client.send(*commands)
        # One event fits, and the next one is tried again and again: others are told of it each time.
        await client.decided(commands[1], commands[1])
        await full.delete(if_empty=False)
        await client.decided(*commands)
        await client.until_empty(client.topology.inbox)
    assert await client.depth(client.topology.dead_letters) == 0


async def test_only_refused_events_are_published_again(settings: Settings, client: Client) -> None:
    created = creation()
    async with serving(settings):
        await client.ask(created)
    full = await declare_full(client, "document.put.*")
    refused, taken = creation(), envelope("document.merge", created["subject"], {"patch": {}})
    # Both wait before the consumer starts, so that they share a batch.
    await client.send(refused, taken)
    async with serving(settings):
        await client.decided(refused, refused, refused)
        await full.delete(if_empty=False)
        await client.until_empty(client.topology.inbox)
    assert len(client.bodies[taken["id"]]) == 1


async def test_reply_that_its_full_queue_refuses_holds_up_no_other_client(settings: Settings, client: Client) -> None:
    full = await client.channel.declare_queue(exclusive=True, arguments=FULL)
    commands = [creation() for _ in range(5)]
    async with serving(settings):
        await client.send(*commands, reply_to=full.name)
        await client.decided(*commands)
        after = creation()
        await client.ask(after)
    assert [len(client.bodies[command["id"]]) for command in [*commands, after]] == [1] * 6
    assert await client.depth(client.topology.dead_letters) == 0


async def test_batches_are_settled_while_a_subscribers_queue_is_full_and_its_events_come_when_there_is_room(
    settings: Settings, client: Client, second: Connection, database_url: str
) -> None:
    full = await client.channel.declare_queue(exclusive=True, arguments={**FULL, "x-max-length": 2})
    await full.bind(client.topology.events, routing_key="document.*.conflict")
    created = [creation() for _ in range(20)]
    lost = [envelope("document.put", command["subject"], command["data"]) for command in created]
    async with serving(settings, batch_size_max=5) as service:
        await client.ask(*created, *lost)
        await client.until_empty(client.topology.inbox)
        await until_confirmed(second)
        await client.ask(*(creation() for _ in range(5)))
        kept = await second.fetch("SELECT ledger_id, body FROM waiting_messages")
        # By reference alone: the ledger has their bytes.
        assert {row["body"] for row in kept} == {None}
        assert {str(row["ledger_id"]) for row in kept} <= {command["id"] for command in lost}
        assert len(kept) == len(lost) - 2
        assert [checked.claim async for checked in verify(database_url, KINDS) if checked.violations] == []
        assert service.status.dead == []
        got: list[bytes] = []

        async def all_got() -> bool:
            got.extend(message.body for message in await client.drain(full.name))
            return len(set(got)) == len(lost)

        await until(all_got)
        await until_none_waits(second)
    ledger = await second.fetch("SELECT event FROM ledger WHERE verdict = 'conflict'")
    assert set(got) == {row["event"].encode() for row in ledger}
    # What it took is never published again, and what others have had is published once.
    assert len(got) == len(lost)
    assert all(len(client.bodies[command["id"]]) == 1 for command in created)
    assert await second.fetchval("SELECT count(*) FROM destinations") == 0


async def test_destination_that_refuses_is_tried_with_one_message_at_a_time(
    settings: Settings, client: Client, second: Connection
) -> None:
    """Each try repeats an event to all other subscribers."""
    full = await declare_full(client, "#")
    commands = [creation() for _ in range(100)]
    async with serving(settings, batch_size_max=50):
        await client.flood(commands)
        await client.decided(*commands)

        async def tried() -> bool:
            tries: int = await second.fetchval("SELECT max(tries) FROM destinations")
            return tries > 5

        await until(tried)
        assert sum(map(len, client.bodies.values())) <= len(commands) + 7
        assert await second.fetchval("SELECT count(*) FROM waiting_messages") == len(commands)
        await full.delete(if_empty=False)
        await until_none_waits(second)


async def test_answers_without_a_row_and_replies_wait_with_their_bytes(
    settings: Settings, client: Client, second: Connection
) -> None:
    command = creation()
    other = {**command, "data": {"expected_generation": None, "body": {"other": 1}}}
    bulk = [creation() for _ in range(2)]
    async with serving(settings):
        await client.ask(command)
        full = await declare_full(client)
        reused = await declare_full(client, "document.put.rejected")
        await client.send(command, reply_to=full.name, correlation_id="one")
        await client.send(other, reply_to=full.name, correlation_id="two")
        await client.send_bulk(bulk, reply_to=full.name, correlation_id="three")
        await client.decided(command, command, command, *bulk)
        await until_waiting(second, 4)
        replies: dict[str | None, bytes] = {}
        events: list[bytes] = []

        async def all_got() -> bool:
            replies.update({message.correlation_id: message.body for message in await client.drain(full.name)})
            events.extend(message.body for message in await client.drain(reused.name))
            return {"one", "two", "three"} <= replies.keys() and len(events) == 2

        await until(all_got)
        await until_none_waits(second)
    answers = client.bodies[command["id"]]
    assert replies["one"] == answers[0]
    assert json.loads(replies["two"])["data"]["code"] == "id_reused"
    assert replies["two"] == events[1] in answers
    assert [event["causationid"] for event in json.loads(replies["three"])] == [each["id"] for each in bulk]


async def until_waiting(second: Connection, messages: int) -> None:
    async def waiting() -> bool:
        count: int = await second.fetchval("SELECT count(*) FROM waiting_messages")
        return count == messages

    await until(waiting)


async def test_waiting_messages_are_counted_for_the_operator(
    settings: Settings, client: Client, second: Connection
) -> None:
    full = await declare_full(client, "#")
    async with serving(settings) as service:
        await client.ask(creation(), creation())
        await until_waiting(second, 2)

        async def told() -> bool:
            return service.status.waiting == 2

        await until(told)
        await full.delete(if_empty=False)
        await until_none_waits(second)


async def test_sweep_keeps_refused_events_and_confirms_the_batch(
    settings: Settings, client: Client, second: Connection, decider: Decider
) -> None:
    full = await declare_full(client, "#")
    left = put(new_id(), None)
    await decider.decide([left])
    async with serving(settings, sweep_after_s=0.1):
        await until_confirmed(second)
        await full.delete(if_empty=False)
        await until_none_waits(second)
    assert left.id in client.bodies


@pytest.mark.parametrize("step", [Step.KEPT, Step.TAKEN])
async def test_event_that_waits_survives_a_kill(
    step: Step, settings: Settings, client: Client, second: Connection
) -> None:
    full = await declare_full(client, "#")
    commands = [creation() for _ in range(3)]
    await client.send(*commands)
    killing = asyncio.create_task(killed_at(step, 1, settings))
    await client.decided(*commands)
    if step is Step.TAKEN:
        await full.purge()
    await killing
    await second.execute("UPDATE destinations SET next_at = clock_timestamp()")
    got: set[bytes] = set()

    async def all_got() -> bool:
        got.update(message.body for message in await client.drain(full.name))
        return len(got - {BLOCKER}) == len(commands)

    async with serving(settings, sweep_after_s=3600.0):
        await until(all_got)
        await full.delete(if_empty=False)
        await until_none_waits(second)
        if step is Step.KEPT:
            await until_confirmed(second)
        await client.until_empty(client.topology.inbox)
    assert await client.depth(client.topology.dead_letters) == 0


async def test_slow_subscriber_with_a_full_queue_has_little_repeated_to_the_others(
    settings: Settings, client: Client, second: Connection
) -> None:
    full = await client.channel.declare_queue(exclusive=True, arguments={**FULL, "x-max-length": 5})
    await full.bind(client.topology.events, routing_key="#")
    commands = [creation() for _ in range(200)]
    taken = 0

    async def some_taken() -> bool:
        nonlocal taken
        # One event at each poll.
        taken += await full.get(no_ack=True, fail=False) is not None
        return taken >= 40

    async with serving(settings):
        await client.flood(commands)
        await client.decided(*commands)
        await until(some_taken)
        repeated = sum(map(len, client.bodies.values())) - len(commands)
        await full.delete(if_empty=False)
        await until_none_waits(second)
    assert repeated <= 4 * taken


async def test_reply_that_the_database_could_not_keep_is_not_tried(
    settings: Settings, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A queue's name may have a NUL on the broker, and in PostgreSQL no text has one."""
    # Clients in other languages declare such a queue; pamqp does not.
    monkeypatch.setattr(Queue.Declare, "validate", lambda _: None)
    full = await client.channel.declare_queue(f"{new_id()}\0", exclusive=True, arguments={**FULL, "x-max-length": 0})
    command, after = creation(), creation()
    async with serving(settings):
        await client.send(command, reply_to=full.name)
        await client.ask(after)
        await client.until_empty(client.topology.inbox)
    assert [len(client.bodies[each["id"]]) for each in (command, after)] == [1, 1]


async def test_destination_whose_exchange_is_gone_costs_no_session_and_holds_no_other_up(
    settings: Settings, client: Client, pool: Pool, second: Connection
) -> None:
    """As after a change of the namespace, or of the broker."""
    full = await client.channel.declare_queue(exclusive=True)
    here, gone = Refused("", full.name, NO_PROPERTIES, b"here"), Refused("no.such", "key", NO_PROPERTIES, b"gone")
    await WaitingTable(pool, 20).add([gone, here])
    async with serving(settings) as service:
        session = service.session

        async def tried() -> bool:
            tries: int = await second.fetchval("SELECT tries FROM destinations WHERE exchange = 'no.such'")
            return tries > 3

        await until(tried)
        await client.until_depth(full.name, 1)
        assert service.session is session
    assert await second.fetchval("SELECT count(*) FROM waiting_messages") == 1
