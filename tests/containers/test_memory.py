"""The memory limit of the manifest, kept by the kernel: no permitted load has a replica killed."""

import asyncio
from collections.abc import AsyncIterator

import aio_pika
import pytest

from genlock.consumers.amqp.topology import Topology
from tests.containers.system import START_TIMEOUT_S, System
from tests.hostile.resident import limit_bytes
from tests.support.factories import Json, envelope, json_bytes, new_id
from tests.support.harness import Client, until

pytestmark = pytest.mark.timeout(600)

STALE = 1_000
LARGE, AT_ONCE = 1_100, 20


@pytest.fixture
async def limited(system: System, replica: str) -> AsyncIterator[str]:
    """A replica with the memory that the manifest allows. It must not have been killed in the end."""
    limit = limit_bytes()
    system.docker("update", f"--memory={limit}", f"--memory-swap={limit}", replica)
    assert system.inspect(replica, "HostConfig.Memory") == str(limit)
    restarts = system.inspect(replica, "RestartCount")
    yield replica
    assert system.inspect(replica, "State.OOMKilled") == "false"
    assert system.inspect(replica, "RestartCount") == restarts


@pytest.fixture
async def publisher(system: System) -> AsyncIterator[Client]:
    """A client that asks for no outcome and sees none."""
    topology = Topology("genlock")
    async with await aio_pika.connect(system.amqp_url) as connection:
        channel = await connection.channel()
        yield Client(channel, topology, await channel.get_exchange(topology.commands))


async def until_all(system: System, verdict: str, commands: list[Json]) -> None:
    """Return when each command has that verdict."""
    ids = ",".join(f"'{command['id']}'" for command in commands)
    count = f"SELECT count(*) FROM ledger WHERE verdict = '{verdict}' AND id IN ({ids})"  # noqa: S608 - our own ids

    async def all_have() -> bool:
        return int(await asyncio.to_thread(system.psql, count)) == len(commands)

    await until(all_have, START_TIMEOUT_S)


@pytest.mark.usefixtures("limited")
async def test_conflicts_of_one_bulk_message_that_come_to_half_a_gigabyte(system: System, publisher: Client) -> None:
    document = new_id()
    first = envelope("document.put", document, {"expected_generation": None, "body": {"a": "x" * 500_000}})
    merges = [envelope("document.merge", document, {"expected_generation": 7, "patch": {}}) for _ in range(STALE)]
    await publisher.send(first)
    await publisher.send_bulk(merges)
    await until_all(system, "succeeded", [first])
    await until_all(system, "conflict", merges)


async def test_more_than_a_gigabyte_of_large_messages_that_wait_when_it_starts(
    system: System, limited: str, publisher: Client
) -> None:
    body = {"a": "x" * 1_000_000}
    commands = [envelope("document.put", new_id(), {"expected_generation": None, "body": body}) for _ in range(LARGE)]
    await asyncio.to_thread(system.stop, limited)
    for start in range(0, LARGE, AT_ONCE):
        together = commands[start : start + AT_ONCE]
        await asyncio.gather(*(publisher.publish(json_bytes(command), command["type"]) for command in together))
    await asyncio.to_thread(system.start, limited)
    await until_all(system, "rejected", commands)
