"""Outcomes, winners and history tell the user that published a command, and no publisher can forge it."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import aio_pika
import aiormq
import pytest

import genlock
from genlock.consumers.amqp.session import open_session
from genlock.consumers.amqp.topology import Topology
from genlock.consumers.commands.authors import USER_HEADER
from genlock.consumers.operations.lanes import change_lanes
from genlock.schemas.documents import DocumentMerge, DocumentPut
from genlock.servers.local import LocalRabbit
from genlock.servers.programs import Programs
from genlock.service.settings import Settings
from tests.support.command_line import genlock as command_line
from tests.support.database import Connection
from tests.support.dead_letters import die_of_a_fault
from tests.support.documents import creation, merge
from tests.support.factories import Json, envelope, new_id
from tests.support.harness import Client, serving

SERVICE, INVENTORY, SCHEDULER = "genlock", "inventory", "scheduler"


@pytest.fixture(scope="module")
def rabbit(programs: Programs) -> Iterator[LocalRabbit]:
    """A broker with a user for the service and two for publishers."""
    with LocalRabbit(programs) as rabbit:
        for user in (SERVICE, INVENTORY, SCHEDULER):
            rabbit.control("add_user", user, "x")
            rabbit.control("set_permissions", user, ".*", ".*", ".*")
        yield rabbit


def at(rabbit: LocalRabbit, user: str) -> str:
    return f"amqp://{user}:x@127.0.0.1:{rabbit.port}/"


@pytest.fixture
def amqp_url(rabbit: LocalRabbit) -> str:
    """Where the service logs in."""
    return at(rabbit, SERVICE)


@asynccontextmanager
async def publisher(rabbit: LocalRabbit, user: str, namespace: str) -> AsyncIterator[Client]:
    """A publisher that knows AMQP alone and sees all events."""
    async with await aio_pika.connect(at(rabbit, user)) as connection:
        channel = await connection.channel()
        topology = Topology(namespace)
        client = Client(channel, topology, await channel.get_exchange(topology.commands))
        await client.subscribe()
        yield client


@pytest.mark.usefixtures("client")
async def test_outcomes_winners_and_history_tell_the_user(settings: Settings, rabbit: LocalRabbit) -> None:
    subject, place = new_id(), settings.namespace

    def put(expected: int | None) -> genlock.Command:
        return genlock.command(DocumentPut(expected_generation=expected, body={}), subject=subject)

    async with (
        serving(settings),
        genlock.connect(at(rabbit, INVENTORY), namespace=place, source="/forged") as inventory,
        genlock.connect(at(rabbit, SCHEDULER), namespace=place) as scheduler,
    ):
        created = await inventory.send(put(None))
        assert created.user == INVENTORY
        merging = genlock.command(DocumentMerge(patch={"a": 1}), subject=subject)
        [merged] = await scheduler.send_bulk([merging])
        assert merged.user == SCHEDULER
        lost = await inventory.send(put(0))
        assert isinstance(lost, genlock.Conflict)
        assert lost.winner is not None
        assert (lost.user, lost.winner.user) == (INVENTORY, SCHEDULER)
        history = await inventory.query("record.history", subject, kind="document")
    assert [(change["source"], change["user"]) for change in history["records"]] == [
        ("/forged", INVENTORY),
        ("/genlock-client", SCHEDULER),
    ]


async def test_command_whose_broker_tells_no_user_has_none(client: Client, settings: Settings) -> None:
    command = creation()
    async with serving(settings):
        [created] = await client.ask(command)
        [lost] = await client.ask(envelope("document.put", command["subject"], command["data"]))
    assert "user" not in created
    assert "user" not in lost["data"]["winner"]


async def test_publisher_can_name_no_other_user(client: Client, settings: Settings, rabbit: LocalRabbit) -> None:
    forged = {USER_HEADER: SCHEDULER}
    plain, signed = creation(), creation()
    async with serving(settings), publisher(rabbit, INVENTORY, settings.namespace) as inventory:
        for user in (SCHEDULER, SERVICE):
            async with await aio_pika.connect(at(rabbit, INVENTORY)) as connection:
                channel = await connection.channel()
                commands = await channel.get_exchange(client.topology.commands)
                with pytest.raises(aiormq.exceptions.ChannelPreconditionFailed, match="authenticated user was"):
                    await commands.publish(aio_pika.Message(b"{}", user_id=user), "document.put")
        await inventory.send(plain, headers=forged)
        await inventory.send(signed, headers=forged, user_id=INVENTORY)
        first, second = await client.decided(plain, signed)
    assert "user" not in first
    assert second["user"] == INVENTORY


async def test_message_without_a_verdict_keeps_its_author_when_it_is_retried(
    client: Client, settings: Settings, rabbit: LocalRabbit
) -> None:
    """The broker moved one of them to the dead letters, and the service the other."""
    document = creation()
    failing = merge(document["subject"])
    async with publisher(rabbit, INVENTORY, settings.namespace) as inventory:
        expired = creation()
        await inventory.send(expired, user_id=INVENTORY, expiration=0.001, headers={USER_HEADER: SCHEDULER})
        await client.until_depth(client.topology.dead_letters, 1)
        async with serving(settings):
            await client.ask(document)
        await die_of_a_fault(inventory, settings, failing, user_id=INVENTORY, headers={USER_HEADER: SCHEDULER})
    ran = await command_line(settings, "dead", "retry", "--all")
    assert ran.code == 0, ran
    new_ids = [row["as"] for row in ran.rows]
    assert expired["id"] in new_ids
    async with serving(settings):
        outcomes = await client.decided(*({"id": each} for each in new_ids))
    assert [outcome["user"] for outcome in outcomes] == [INVENTORY, INVENTORY]


async def test_dead_letter_of_a_forger_that_the_broker_moved_tells_no_other_user(
    client: Client, settings: Settings, rabbit: LocalRabbit
) -> None:
    command = creation()
    headers = {USER_HEADER: SCHEDULER, "x-genlock-reason": "internal_error"}
    async with publisher(rabbit, INVENTORY, settings.namespace) as inventory:
        await inventory.send(command, expiration=0.001, headers=headers)
        await client.until_depth(client.topology.dead_letters, 1)
    assert (await command_line(settings, "dead", "retry", "--all")).code == 0
    async with serving(settings):
        [outcome] = await client.decided(command)
    assert outcome["type"] == "document.put.succeeded"
    assert "user" not in outcome


async def test_command_that_is_moved_into_lanes_and_back_keeps_its_author(
    client: Client, settings: Settings, rabbit: LocalRabbit
) -> None:
    known, unknown = creation(), creation()
    async with publisher(rabbit, INVENTORY, settings.namespace) as inventory:
        await inventory.send_addressed(known, user_id=INVENTORY)
        await inventory.send(unknown, headers={USER_HEADER: SCHEDULER})
        for lanes in (4, 1):
            changed = settings.model_copy(update={"lanes": lanes})
            async with open_session(changed, declare=False) as session:
                moved = await change_lanes(session, changed, quiet_s=0.3)
            assert sum(moved.values()) == 2
        async with serving(settings):
            first, second = await client.decided(known, unknown)
    assert first["user"] == INVENTORY
    assert "user" not in second


async def test_command_of_an_unknown_user_is_rejected_where_users_are_required(
    client: Client, settings: Settings, rabbit: LocalRabbit, second: Connection
) -> None:
    before, plain, signed = creation(), creation(), creation()
    bulk = [creation(), creation()]
    async with serving(settings):
        [told] = await client.ask(before)
    async with (
        serving(settings, require_user=True),
        publisher(rabbit, INVENTORY, settings.namespace) as inventory,
    ):
        await inventory.send(plain)
        await inventory.send_bulk(bulk)
        for refused in await client.decided(plain, *bulk):
            assert refused["type"] == "document.put.rejected"
            assert refused["data"]["code"] == "user_required"
        await inventory.send(signed, user_id=INVENTORY)
        [succeeded] = await client.decided(signed)
        assert (succeeded["type"], succeeded["user"]) == ("document.put.succeeded", INVENTORY)
        # Commands that were decided before are answered as before.
        await inventory.send(before)
        await client.decided(before, before)
        assert client.bodies[before["id"]][0] == client.bodies[before["id"]][1]
    assert told["type"] == "document.put.succeeded"
    assert await second.fetchval("SELECT count(*) FROM documents") == 2


@pytest.mark.usefixtures("client")
async def test_session_is_opened_while_the_broker_answers_no_publisher(settings: Settings, rabbit: LocalRabbit) -> None:
    async with open_session(settings) as session:
        assert session.user == SERVICE
    await asyncio.to_thread(rabbit.control, "set_vm_memory_high_watermark", "0.0000001")
    try:
        async with open_session(settings, declare=False) as session:
            assert session.user == SERVICE
    finally:
        await asyncio.to_thread(rabbit.control, "set_vm_memory_high_watermark", "0.6")


async def test_winner_of_an_older_program_has_no_user_of_an_earlier_one(
    client: Client, settings: Settings, rabbit: LocalRabbit, second: Connection
) -> None:
    """It does not know the column, and leaves in it what an earlier command wrote there."""
    command = creation()
    async with serving(settings):
        async with publisher(rabbit, INVENTORY, settings.namespace) as inventory:
            await inventory.send(command, user_id=INVENTORY)
            await client.decided(command)
        await second.execute(
            "UPDATE documents SET generation = 1, sequence = 2, maker_id = gen_random_uuid(), maker_source = '/older'"
        )
        [lost] = await client.ask(envelope("document.put", command["subject"], command["data"]))
    winner: Json = lost["data"]["winner"]
    assert winner["source"] == "/older"
    assert "user" not in winner
