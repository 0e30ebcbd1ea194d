"""`genlock dead retry`: a dead letter is decided after all, and once."""

import asyncio
import json
import signal
from datetime import UTC, datetime, timedelta

import aio_pika
import pytest

from genlock.consumers.operations.dead_letter_retry import UnroutableError
from genlock.schemas.outcomes import BULK_CONTENT_TYPE, outcome_id
from genlock.service.ledger.retry_ids import retry_id
from genlock.service.settings import Settings
from tests.support.command_line import genlock, start
from tests.support.database import Connection
from tests.support.dead_letter_retries import DEADLY, created, generation, outcomes_of, retried
from tests.support.dead_letters import (
    broken,
    die_of_a_fault,
    die_of_returns,
    publish_dead_letter,
    publish_dead_letter_of,
    retrying,
)
from tests.support.documents import creation, merge
from tests.support.factories import Json, json_bytes, new_id
from tests.support.harness import DEADLINE_S, Client, serving


async def test_a_command_that_was_never_decided_is_retried_under_its_own_id(
    client: Client, second: Connection, settings: Settings
) -> None:
    command, replies = creation(), await client.channel.declare_queue(exclusive=True)
    await die_of_returns(
        client,
        command,
        reply_to=replies.name,
        correlation_id="mine",
        message_id=command["id"],
        app_id="/tests",
        headers={"subject": command["subject"], "x-genlock-time": "forged", "x-mine": 1},
    )
    assert await retried(settings, command["id"]) == [("retried", "under its own id", command["id"])]
    await client.until_depth(client.topology.dead_letters, 0)
    (message,) = await client.drain(client.topology.inbox)
    assert (message.body, message.routing_key) == (json_bytes(command), "document.put")
    assert (message.correlation_id, message.message_id, message.app_id) == ("mine", command["id"], "/tests")
    assert message.reply_to == replies.name
    headers = {name: value for name, value in message.headers.items() if name != "x-delivery-count"}
    assert headers == {"subject": command["subject"], "x-mine": 1}
    assert message.delivery_mode == 2
    await client.send(command)
    (outcome,) = await outcomes_of(client, settings, command["id"])
    assert (outcome["type"], outcome["id"]) == ("document.put.succeeded", outcome_id(command["id"]))
    assert await generation(second, command["subject"]) == 0


async def test_a_command_that_ended_as_internal_error_is_retried_under_a_new_id(
    client: Client, second: Connection, settings: Settings
) -> None:
    old = datetime.now(UTC) - timedelta(days=13, hours=1)
    document = await created(client, settings)
    poison = merge(document, causationid="x", time=(datetime.now(UTC) - timedelta(hours=1)).isoformat())
    known = merge(document, correlationid="known", time=...)
    await die_of_a_fault(client, settings, poison, known)
    ids = [retry_id(poison["id"], 1), retry_id(known["id"], 1)]
    assert await retried(settings, "--reason", "internal_error") == [
        ("retried", "under a new id", each) for each in ids
    ]
    first, other = await outcomes_of(client, settings, *ids)
    assert (first["type"], first["id"], first["causationid"]) == (
        "document.merge.succeeded",
        outcome_id(ids[0]),
        ids[0],
    )
    # A client that waits for outcomes by their correlation id finds this one too.
    assert (first["correlationid"], other["correlationid"]) == (poison["id"], "known")
    assert await generation(second, document) == 2
    assert old < datetime.fromisoformat(first["time"])
    await client.until_depth(client.topology.dead_letters, 0)


async def test_a_retry_under_a_new_id_names_its_cause_and_has_a_time_of_its_own(
    client: Client, settings: Settings
) -> None:
    poison = merge(new_id(), time="2026-03-01T12:00:00Z", attempt=3)
    await die_of_a_fault(client, settings.model_copy(update={"ledger_retention_days": 10_000}), poison)
    began = datetime.now(UTC)
    await retried(settings, "--all")
    (message,) = await client.drain(client.topology.inbox)
    renewed = json.loads(message.body)
    assert began <= datetime.fromisoformat(renewed.pop("time")) <= datetime.now(UTC)
    assert renewed == {name: value for name, value in poison.items() if name != "time"} | {
        "id": retry_id(poison["id"], 1),
        "causationid": poison["id"],
        "correlationid": poison["id"],
    }
    assert message.message_id == renewed["id"]
    assert not [name for name in message.headers if name.startswith("x-genlock")]


async def test_dead_letters_that_were_moved_to_the_inbox_come_back_without_a_verdict_and_can_be_retried(
    client: Client, second: Connection, settings: Settings
) -> None:
    """As the management UI moves them: by the default exchange, with the queue's name as the routing key."""
    expired, faulty, bulk = creation(), merge(new_id()), [creation(), creation()]
    await client.send(expired, expiration=0.001)
    await client.until_depth(client.topology.dead_letters, 1)
    await die_of_a_fault(client, settings, faulty)
    await client.send_bulk(bulk, expiration=0.001)
    await client.until_depth(client.topology.dead_letters, 3)
    for message in await client.drain(client.topology.dead_letters):
        moved = aio_pika.Message(
            message.body, headers=message.headers, content_type=message.content_type, message_id=message.message_id
        )
        await client.channel.default_exchange.publish(moved, client.topology.inbox)
    async with serving(settings):
        await client.until_depth(client.topology.dead_letters, 3)
        await client.until_empty(client.topology.inbox)
    assert await second.fetchval("SELECT count(*) FROM ledger") == 1
    listed = await genlock(settings, "dead", "list", "--reason", "*genlock dead retry*")
    assert [row["type"] for row in listed.rows] == ["document.put", "document.merge", "document.put"]
    ids = [expired["id"], retry_id(faulty["id"], 1), *(command["id"] for command in bulk)]
    assert [row[2] for row in await retried(settings, "--all")] == ids
    outcomes = await outcomes_of(client, settings, *ids)
    told = [outcome["data"].get("code", "succeeded") for outcome in outcomes]
    assert told == ["succeeded", "not_found", "succeeded", "succeeded"]


async def test_a_direct_reply_whose_client_is_gone_is_not_asked_for_again(client: Client, settings: Settings) -> None:
    await publish_dead_letter_of(client, creation(), "delivery_limit", reply_to="amq.rabbitmq.reply-to.made-up")
    await retried(settings, "--all")
    (message,) = await client.drain(client.topology.inbox)
    assert not message.reply_to


async def test_a_dead_letter_that_is_retried_twice_by_accident_is_applied_once(
    client: Client, second: Connection, settings: Settings
) -> None:
    document = await created(client, settings)
    poison = merge(document)
    await die_of_a_fault(client, settings, poison)
    await publish_dead_letter_of(client, poison)
    again = retry_id(poison["id"], 1)
    assert await retried(settings, "--all") == [("retried", "under a new id", again)] * 2
    await client.until_depth(client.topology.inbox, 2)
    async with serving(settings):
        await client.decided({"id": again}, {"id": again})
        await publish_dead_letter_of(client, poison)
        await client.until_depth(client.topology.dead_letters, 1)
        assert await retried(settings, "--all", "--dry-run") == [("already decided", "succeeded", again)]
        assert await retried(settings, "--all") == [("already decided", "succeeded", again)]
        await client.until_depth(client.topology.dead_letters, 0)
    assert len(set(client.bodies[again])) == 1
    assert await generation(second, document) == 1


async def test_a_retry_that_fails_again_is_retried_under_the_next_id_whichever_dead_letter_is_taken(
    client: Client, second: Connection, settings: Settings
) -> None:
    document = await created(client, settings)
    poison = merge(document)
    await die_of_a_fault(client, settings, poison)
    ids = [retry_id(poison["id"], number) for number in range(1, 4)]
    with broken(DEADLY):
        for command_id in ids[:2]:
            assert await retried(settings, "--all") == [("retried", "under a new id", command_id)]
            await outcomes_of(client, settings, command_id)
            await client.until_depth(client.topology.dead_letters, 1)
    # The dead letter of the second retry, and that of the command itself: both stand for one change.
    await publish_dead_letter_of(client, poison)
    assert await retried(settings, "--all") == [("retried", "under a new id", ids[2])] * 2
    async with serving(settings):
        await client.decided({"id": ids[2]}, {"id": ids[2]})
    assert await generation(second, document) == 1
    assert {json.loads(body)["causationid"] for body in client.bodies[ids[2]]} == {ids[2]}


async def test_a_kill_between_publishing_and_removing_applies_nothing_twice(
    client: Client, second: Connection, settings: Settings
) -> None:
    document = await created(client, settings)
    poison, returned = merge(document), merge(document)
    await die_of_a_fault(client, settings, poison)
    await die_of_returns(client, returned)
    again = retry_id(poison["id"], 1)
    for command_id, first in ((poison["id"], again), (returned["id"], returned["id"])):
        killed = await start(settings, "dead", "retry", command_id, module="tests.e2e.programs.crash_in_retry")
        async with asyncio.timeout(DEADLINE_S):
            await killed.communicate()
        assert killed.returncode == -signal.SIGKILL
        await client.until_depth(client.topology.dead_letters, 2)
        async with serving(settings):
            await client.decided({"id": first})
    assert await retried(settings, "--all") == [
        ("already decided", "succeeded", again),
        ("already decided", "succeeded", returned["id"]),
    ]
    async with serving(settings):
        await client.until_empty(client.topology.inbox)
    assert await client.depth(client.topology.dead_letters) == 0
    assert await generation(second, document) == 2


async def test_what_cannot_be_decoded_stays_and_is_exit_1(client: Client, settings: Settings) -> None:
    command = creation()
    await publish_dead_letter(client, b"{", "not JSON")
    await publish_dead_letter_of(client, command)
    ran = await genlock(settings, "dead", "retry", "--all")
    assert (ran.code, [row["result"] for row in ran.rows]) == (1, ["cannot be decoded", "retried"])
    assert ran.rows[0]["detail"].startswith("not JSON: ")
    assert ran.err == "2 commands: 1 cannot be decoded, 1 retried.\n"
    await client.until_depth(client.topology.dead_letters, 1)
    await client.until_depth(client.topology.inbox, 1)


async def test_a_bulk_message_is_retried_command_by_command(
    client: Client, second: Connection, settings: Settings
) -> None:
    document = await created(client, settings)
    poison, undecided, decided = merge(document), merge(document), merge(document)
    await die_of_a_fault(client, settings, poison)
    await client.drain(client.topology.dead_letters)
    async with serving(settings):
        await client.ask(decided)
    bulk = json_bytes([poison, {"no": "id"}, undecided, decided])
    properties: Json = {"content_type": BULK_CONTENT_TYPE, "headers": {"subject": "of another"}}
    await publish_dead_letter(client, bulk, "delivery_limit", routing_key="document.merge", **properties)
    again = retry_id(poison["id"], 1)
    said = [
        ("would apply", "", again),
        ("cannot be decoded", "no UUID as its id", None),
        ("would apply", "", undecided["id"]),
        ("already decided", "succeeded", decided["id"]),
    ]
    assert await retried(settings, undecided["id"], "--dry-run", code=1) == said
    results = await retried(settings, undecided["id"], code=1)
    assert [result for result, _, _ in results] == ["retried", "cannot be decoded", "retried", "already decided"]
    outcomes = await outcomes_of(client, settings, again, undecided["id"])
    assert [outcome["type"] for outcome in outcomes] == ["document.merge.succeeded"] * 2
    assert await generation(second, document) == 3
    (left,) = (await genlock(settings, "dead", "list")).rows
    assert (left["reason"], left["bytes"]) == ("no UUID as its id", len(b'{"no": "id"}'))


async def test_a_dead_letter_that_begins_with_a_byte_order_mark_is_retried_under_its_id_and_under_a_new_one(
    client: Client, settings: Settings
) -> None:
    poison, undecided = creation(), creation()
    with broken("document.put"):
        async with serving(settings):
            await client.ask(poison)
    await client.drain(client.topology.dead_letters)
    for command in (poison, undecided):
        body = b"\xef\xbb\xbf" + json_bytes(command)
        await publish_dead_letter(
            client, body, "delivery_limit", content_type="Application/CloudEvents+JSON; charset=UTF-8"
        )
    again = retry_id(poison["id"], 1)
    results = await retried(settings, "--all")
    assert results == [("retried", "under a new id", again), ("retried", "under its own id", undecided["id"])]
    outcomes = await outcomes_of(client, settings, again, undecided["id"])
    assert [outcome["type"] for outcome in outcomes] == ["document.put.succeeded"] * 2


async def test_a_part_of_a_bulk_message_that_died_is_retried_as_if_it_had_come_alone(
    client: Client, settings: Settings
) -> None:
    poison = merge(await created(client, settings))
    with broken(DEADLY):
        async with serving(settings):
            properties: Json = {"content_type": BULK_CONTENT_TYPE, "headers": {"subject": "of another"}}
            await client.publish(json_bytes([poison]), DEADLY, **properties)
            await client.decided(poison)
            await client.until_depth(client.topology.dead_letters, 1)
    assert await retried(settings, "--all", "--dry-run") == [("would apply", "", retry_id(poison["id"], 1))]


async def test_a_command_whose_json_cannot_be_written_again_keeps_its_dead_letter(
    client: Client, second: Connection, settings: Settings
) -> None:
    wide = creation(body={"n": 2**70})
    async with serving(settings):
        await client.ask(wide)
    await second.execute("UPDATE ledger SET event = replace(event, 'invalid_data', 'internal_error')")
    await publish_dead_letter_of(client, wide)
    (result,) = await retried(settings, "--all", code=1)
    assert result[0] == "cannot be retried"
    assert await client.depth(client.topology.inbox) == 0
    await client.until_depth(client.topology.dead_letters, 1)


async def test_a_dead_letter_is_kept_where_nothing_takes_its_command(client: Client, settings: Settings) -> None:
    await publish_dead_letter_of(client, creation())
    async with retrying(settings) as (dead_letters, retrier):
        async for dead_letter in dead_letters.read():
            await client.channel.queue_delete(client.topology.inbox)
            with pytest.raises(UnroutableError):
                await retrier.retry(dead_letters, dead_letter)
    await client.until_depth(client.topology.dead_letters, 1)


async def test_dead_letters_that_are_not_selected_stay_where_they_are(client: Client, settings: Settings) -> None:
    commands = [creation() for _ in range(6)]
    for number, command in enumerate(commands):
        await publish_dead_letter_of(client, command, "one" if number % 2 else "two")
    results = await retried(settings, "--reason", "one", "--limit", "2")
    assert [command_id for _, _, command_id in results] == [commands[1]["id"], commands[3]["id"]]
    left = [row["id"] for row in (await genlock(settings, "dead", "list")).rows]
    assert left == [command["id"] for number, command in enumerate(commands) if number not in (1, 3)]


async def test_a_database_that_is_away_is_exit_1_and_every_dead_letter_stays(
    client: Client, settings: Settings
) -> None:
    await publish_dead_letter_of(client, creation())
    ran = await genlock(settings, "dead", "retry", "--all", GENLOCK_DATABASE_URL="postgresql://a:secret@127.0.0.1:1/x")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("genlock: PostgreSQL at 127.0.0.1:1 cannot be used: ")
    await client.until_depth(client.topology.dead_letters, 1)
