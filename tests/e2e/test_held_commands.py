"""A record in trouble: its commands are held in the database, and everything else goes on."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from genlock.consumers.commands.holding import GIANT_RECORDS
from genlock.consumers.process.serve import Service
from genlock.service.deciding.failpoints import Step
from genlock.service.ledger import held
from genlock.service.settings import Settings
from tests.support import command_line
from tests.support.consumer_factories import wanted
from tests.support.crashes import killed_at
from tests.support.database import Connection
from tests.support.documents import creation, merge
from tests.support.factories import Json, envelope, new_id
from tests.support.failing_writes import fail, fail_where, mend
from tests.support.harness import Client, serving, until
from tests.support.held import until_held

BAD = "bad"
NEIGHBOURS = 9


@asynccontextmanager
async def locked(second: Connection, record: str = BAD) -> AsyncIterator[None]:
    async with second.transaction():
        await second.execute("SELECT FROM documents WHERE id = $1 FOR UPDATE", record)
        yield


def count(service: Service, name: str) -> float:
    return service.registry.get_sample_value(name) or 0.0


async def check_healthy(service: Service) -> None:
    """See that a replica is ready, and that neither the broker's messages nor its own wait."""

    async def healthy() -> bool:
        await service._monitor.look()  # type: ignore[union-attr]
        return not service.status.unready and service._activity.held == 0

    await until(healthy)
    assert service.status.dead == []


async def check_once(client: Client, *commands: Json) -> list[Json]:
    """See that each command has one outcome, however often it came, and return them."""
    events = [json.loads(client.bodies[command["id"]][0]) for command in commands]
    for command in commands:
        assert len(set(client.bodies[command["id"]])) == 1
    return events


async def test_locked_record_holds_its_commands_in_order_while_its_neighbours_are_answered(
    client: Client, settings: Settings, second: Connection
) -> None:
    neighbours = [new_id() for _ in range(NEIGHBOURS)]
    chain = [
        envelope("document.put", BAD, {"expected_generation": generation, "body": {"n": generation}})
        for generation in range(20)
    ]
    async with serving(settings) as service:
        await client.ask(creation(BAD), *map(creation, neighbours))
        async with locked(second):
            await client.send(*chain[:10])
            await client.ask(*map(merge, neighbours))
            await client.send(*chain[10:])
            await client.ask(*map(merge, neighbours))
            await until_held(second, len(chain))
            await check_healthy(service)
            await client.until_empty(client.topology.inbox)
            assert not any(command["id"] in client.bodies for command in chain)
        await client.decided(*chain)
        await until_held(second, 0)
        assert count(service, "genlock_database_trouble_total") == 0
    events = await check_once(client, *chain)
    assert [event["data"]["sequence"] for event in events] == list(range(2, 22))
    assert await second.fetchval("SELECT count(*) FROM held") == 0


@pytest.mark.parametrize("state", ["XX001", "22012", "53100", "57014", "40001"])
async def test_trigger_that_raises_for_one_record_holds_its_commands_and_no_others(
    client: Client, settings: Settings, second: Connection, state: str
) -> None:
    await fail(second, BAD, state)
    bad, neighbours = creation(BAD), [creation(new_id()) for _ in range(NEIGHBOURS)]
    async with serving(settings) as service:
        await client.send(*neighbours[:5], bad, *neighbours[5:])
        await client.decided(*neighbours)
        await until_held(second, 1)
        await check_healthy(service)
        await mend(second)
        [event] = await client.decided(bad)
    assert event["type"] == "document.put.succeeded"


async def test_what_follows_a_command_alone_is_told_and_recorded(
    client: Client, settings: Settings, second: Connection
) -> None:
    await fail_where(second, "NEW.body ->> 'bad' = 'yes'", "XX001")
    bad, neighbours = creation(body={"bad": "yes"}), [creation(new_id()) for _ in range(NEIGHBOURS)]
    async with serving(settings):
        *_, event = await client.ask(*neighbours, bad)
    assert event["data"]["code"] == "internal_error"
    assert await second.fetchval("SELECT event FROM ledger WHERE id = $1", bad["id"]) == json.dumps(
        event, ensure_ascii=False, separators=(",", ":")
    )
    assert await client.depth(client.topology.dead_letters) == 1


DAWDLES = """
CREATE FUNCTION dawdle() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NEW; END';
CREATE TRIGGER dawdle BEFORE INSERT ON documents FOR EACH ROW WHEN ({}) EXECUTE FUNCTION dawdle()
"""


async def test_record_that_always_takes_too_long_keeps_no_other_waiting(
    client: Client, settings: Settings, second: Connection
) -> None:
    await second.execute(DAWDLES.format(f"NEW.id = '{BAD}'"))
    bad, neighbours = creation(BAD), [creation() for _ in range(NEIGHBOURS)]
    async with serving(settings, decide_timeout_s=1.0) as service:
        await client.send(*neighbours[:5], bad, *neighbours[5:])
        await client.decided(*neighbours)
        await until_held(second, 1)
        await check_healthy(service)
        await second.execute("ALTER TABLE documents DISABLE TRIGGER dawdle")
        [event] = await client.decided(bad)
    assert event["type"] == "document.put.succeeded"


async def test_command_that_always_takes_too_long_ends_as_internal_error_and_keeps_no_other_waiting(
    client: Client, settings: Settings, second: Connection
) -> None:
    await second.execute(DAWDLES.format("NEW.body ->> 'bad' = 'yes'"))
    bad, neighbours = creation(body={"bad": "yes"}), [creation() for _ in range(NEIGHBOURS)]
    async with serving(settings, decide_timeout_s=1.0):
        await client.send(*neighbours[:5], bad, *neighbours[5:])
        await client.decided(*neighbours)
        [event] = await client.decided(bad)
        await until_held(second, 0)
    assert event["data"]["code"] == "internal_error"
    assert await second.fetchval("SELECT verdict FROM ledger WHERE id = $1", bad["id"]) == "rejected"


async def test_held_command_is_answered_where_it_asked_to_be(
    client: Client, settings: Settings, second: Connection
) -> None:
    replies = await client.channel.declare_queue(exclusive=True)
    async with serving(settings):
        await client.ask(creation(BAD))
        async with locked(second):
            command = merge(BAD)
            await client.send(command, reply_to=replies.name, correlation_id="mine")
            await until_held(second, 1)
        await client.decided(command)
        reply = await replies.get(timeout=10)
    assert reply is not None
    assert (reply.correlation_id, reply.body) == ("mine", client.bodies[command["id"]][0])


async def test_bulk_message_is_answered_for_all_of_its_commands_but_the_held_one(
    client: Client, settings: Settings, second: Connection
) -> None:
    replies = await client.channel.declare_queue(exclusive=True)
    commands = [creation(new_id()), envelope("document.put", BAD, {"expected_generation": 0, "body": {}}), creation()]
    async with serving(settings):
        await client.ask(creation(BAD))
        async with locked(second):
            await client.send_bulk(commands, reply_to=replies.name, correlation_id="all")
            await client.decided(commands[0], commands[2])
            await until_held(second, 1)
            first = await replies.get(timeout=10)
        await client.decided(*commands)
        last: Any = None
        while last is None:
            last = await replies.get(timeout=10, fail=False)
    assert [event["causationid"] for event in json.loads(first.body)] == [commands[0]["id"], commands[2]["id"]]
    assert [event["causationid"] for event in json.loads(last.body)] == [commands[1]["id"]]
    assert last.correlation_id == "all"


async def test_command_that_is_held_for_longer_than_the_ledger_remembers_is_not_expired(
    client: Client, settings: Settings, second: Connection
) -> None:
    async with serving(settings):
        await client.ask(creation(BAD))
        async with locked(second):
            command = merge(BAD, time=(datetime.now(UTC) - timedelta(days=13.5)).isoformat())
            await client.send(command)
            await until_held(second, 1)
            await second.execute("UPDATE held_messages SET since = since - interval '1 day'")
        [event] = await client.decided(command)
    assert event["type"] == "document.merge.succeeded"


@pytest.mark.parametrize("step", [Step.HELD, Step.RESUMED])
async def test_kill_at_any_step_of_holding_leaves_one_outcome_for_each_command(
    client: Client, settings: Settings, second: Connection, step: Step
) -> None:
    quick = settings.model_copy(update={"decide_timeout_s": 2.0, "publish_timeout_s": 3.0})
    async with serving(quick):
        await client.ask(creation(BAD))
    chain = [envelope("document.put", BAD, {"expected_generation": generation, "body": {}}) for generation in range(6)]
    if step is Step.HELD:
        async with locked(second):
            await client.send(*chain)
            await killed_at(step, 1, quick)
    else:
        async with locked(second), serving(quick):
            await client.send(*chain)
            await until_held(second, len(chain))
        await killed_at(step, 1, quick)
    async with serving(quick):
        await client.decided(*chain)
        await until_held(second, 0)
    events = await check_once(client, *chain)
    assert [event["data"]["sequence"] for event in events] == list(range(2, 8))


async def test_copies_of_a_held_command_are_held_and_decided_once(
    client: Client, settings: Settings, second: Connection
) -> None:
    command = merge(BAD)
    async with serving(settings) as service:
        await client.ask(creation(BAD))
        async with locked(second):
            await client.send(command, command, command)
            await until_held(second, 1)
            await check_healthy(service)
            await client.send(command)
            await client.until_empty(client.topology.inbox)
            await check_healthy(service)
            assert await second.fetchval("SELECT count(*) FROM held_messages") == 1
        await client.decided(command)
        await client.ask(merge(BAD))
    await check_once(client, command)
    assert await second.fetchval("SELECT generation FROM documents") == 2


async def test_two_replicas_decide_what_is_held_in_its_order_and_once(
    client: Client, settings: Settings, second: Connection
) -> None:
    documents = [new_id() for _ in range(4)]
    chains = [
        envelope("document.put", document, {"expected_generation": generation, "body": {}})
        for generation in range(8)
        for document in documents
    ]
    async with serving(settings), serving(settings):
        await client.ask(*map(creation, documents))
        async with second.transaction():
            await second.execute("SELECT FROM documents FOR UPDATE")
            await client.send(*chains[:4])
            await until_held(second, 4)
            await client.send(*chains[4:])
            await until_held(second, len(chains))
        await client.decided(*chains)
        await until_held(second, 0)
    events = await check_once(client, *chains)
    # What came while another replica was about to hold what came before is told so; nothing is applied twice.
    assert {event["type"] for event in events[:4]} == {"document.put.succeeded"}
    assert await second.fetchval("SELECT count(*) FROM changes") == await second.fetchval(
        "SELECT sum(sequence) FROM documents"
    )


async def test_full_table_has_the_consumer_hold_what_it_gets(
    client: Client, settings: Settings, second: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(held.HeldTable.__init__, "__kwdefaults__", {"held_max": 2})
    commands = [merge(BAD) for _ in range(6)]
    async with serving(settings, retry_delay_max_s=0.2) as service:
        await client.ask(creation(BAD))
        async with locked(second):
            for command in commands[:2]:
                await client.send(command)
            await until_held(second, 2)
            await client.send(*commands[2:])

            async def holding() -> bool:
                return count(service, "genlock_database_trouble_total") > 0 and service._activity.held > 0

            await until(holding)
            assert await second.fetchval("SELECT count(*) FROM held_messages") == 2
        await client.decided(*commands)
    await check_once(client, *commands)


async def test_others_overtake_a_command_that_touches_very_many_records(
    client: Client, settings: Settings, second: Connection
) -> None:
    providers = [new_id() for _ in range(GIANT_RECORDS + 200)]
    consumer = {"expected_generation": None, "project_id": "p", "user_id": "u"}
    allocations = {provider: {"resources": {"VCPU": 1}} for provider in providers}
    giant = envelope("consumer.set_allocations", new_id(), consumer | {"allocations": allocations})
    small = creation()
    async with serving(settings) as service:
        async with second.transaction():
            # The giant cannot be decided meanwhile.
            await second.execute("LOCK TABLE providers")
            await client.send(giant, small)
            await client.decided(small)
        [event] = await client.decided(giant)
        await check_healthy(service)
    assert event["data"]["code"] == "not_found"
    assert client.bodies[giant["id"]]


async def test_copy_behind_a_held_command_shifts_no_answer_of_others(client: Client, settings: Settings) -> None:
    """The first copy is decided, what follows is held, and so is the second copy: the others get their own outcomes."""
    replies = await client.channel.declare_queue(exclusive=True)
    consumer, others = new_id(), [new_id() for _ in range(3)]
    first, *rest = (
        envelope("consumer.set_allocations", one, wanted(None, {new_id(): {"VCPU": 1}})) for one in (consumer, *others)
    )
    giant = envelope(
        "consumer.set_allocations", consumer, wanted(None, {new_id(): {"VCPU": 1} for _ in range(GIANT_RECORDS + 200)})
    )
    async with serving(settings):
        await client.send_bulk([first, giant, first, *rest], reply_to=replies.name)
        await client.decided(first, giant, *rest)
        reply = await replies.get(timeout=10)
    assert reply is not None
    assert [event["causationid"] for event in json.loads(reply.body)] == [one["id"] for one in rest]
    events = await check_once(client, first, giant, *rest)
    assert [event["subject"] for event in events] == [consumer, consumer, *others]


async def test_command_line_shows_what_is_held_and_why(client: Client, settings: Settings, second: Connection) -> None:
    async with serving(settings):
        await client.ask(creation(BAD))
        async with locked(second):
            command = merge(BAD)
            await client.send(command)
            await until_held(second, 1)
            got = await command_line.genlock(settings, "held", "list")
        await client.decided(command)
    [row] = got.rows
    assert (row["command_id"], row["type"], row["records"]) == (command["id"], "document.merge", [f"document/{BAD}"])
    assert "lock" in row["why"]


class TestLanes:
    """With lanes the commands of a record keep their order, though some of them are held."""

    @pytest.fixture
    def lanes(self) -> int:
        return 2

    async def test_lane_goes_on_and_keeps_the_order_of_a_held_record(
        self, client: Client, settings: Settings, second: Connection
    ) -> None:
        neighbours = [new_id() for _ in range(NEIGHBOURS)]
        chain = [
            envelope("document.put", BAD, {"expected_generation": generation, "body": {}}) for generation in range(20)
        ]
        async with serving(settings) as service, serving(settings):
            made = [creation(BAD), *map(creation, neighbours)]
            await client.send_addressed(*made)
            await client.decided(*made)
            async with locked(second):
                await client.send_addressed(*chain[:5])
                await until_held(second, 5)
                merges = [merge(neighbour) for neighbour in neighbours]
                await client.send_addressed(*chain[5:10], *merges, *chain[10:15])
                await client.decided(*merges)
                await until_held(second, 15)
                await check_healthy(service)
            # Some of these come while those before are still held, and some after.
            await client.send_addressed(*chain[15:])
            await client.decided(*chain)
        events = await check_once(client, *chain)
        assert [event["type"] for event in events] == ["document.put.succeeded"] * len(chain)
        assert [event["data"]["sequence"] for event in events] == list(range(2, 22))
