"""Many large messages: a replica with default settings stays within the manifest's limit, and decides all of them."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from genlock.service.settings import Settings
from tests.hostile.resident import replica
from tests.support.database import Connection
from tests.support.factories import Json, envelope, json_bytes, new_id
from tests.support.harness import Client, until

DECIDED_WITHIN_S = 100.0

HELD_MIB = 250
"""What a replica may take at most, of 300 MiB that come at once while it can decide nothing. It begins with some 75."""


async def publish_all(client: Client, commands: list[Json]) -> None:
    """Publish commands, some at once; with lanes the header tells which lane."""
    for start in range(0, len(commands), 16):
        await asyncio.gather(
            *(
                client.publish(json_bytes(command), command["type"], headers={"subject": command["subject"]})
                for command in commands[start : start + 16]
            )
        )


def decided(second: Connection, count: int) -> Callable[[], Awaitable[bool]]:
    async def all_are() -> bool:
        return bool(await second.fetchval("SELECT count(*) = $1 FROM ledger", count))

    return all_are


@pytest.mark.parametrize("lanes", [1, 2])
async def test_small_messages_that_turn_large_at_once_are_held_within_the_limit(
    client: Client, settings: Settings, lanes: int, second: Connection, tmp_path: Path
) -> None:
    document = new_id()
    small = [
        envelope("document.put", document, {"expected_generation": number - 1 if number else None, "body": {}})
        for number in range(2_000)
    ]
    large = [
        envelope("document.put", document, {"expected_generation": None, "body": {"a": "x" * 1_000_000}})
        for _ in range(300)
    ]
    async with replica(settings, tmp_path / "log", GENLOCK_LANES=str(lanes)) as running:
        await publish_all(client, small)
        await until(decided(second, len(small)), DECIDED_WITHIN_S)
        async with second.transaction():
            await second.execute("LOCK TABLE documents")
            await publish_all(client, large)
            await until(running.says("no room"), DECIDED_WITHIN_S)
            if lanes == 1:
                await client.until_empty(client.topology.inbox)
            assert running.peak_bytes < HELD_MIB * 2**20
        await until(decided(second, len(small) + len(large)), DECIDED_WITHIN_S)
        running.check()
    assert await client.depth(client.topology.dead_letters) == 0


async def test_conflicts_of_one_bulk_message_on_a_large_document_stay_within_the_limit(
    client: Client, settings: Settings, second: Connection, tmp_path: Path
) -> None:
    """Six hundred conflicts of half a megabyte each are asked for by a message of a tenth of one."""
    document = new_id()
    body = {"a": "x" * 500_000}
    stale = {"expected_generation": 7, "patch": {}}
    merges = [envelope("document.merge", document, stale) for _ in range(600)]
    async with replica(settings, tmp_path / "log") as running:
        await client.ask(envelope("document.put", document, {"expected_generation": None, "body": body}))
        await client.send_bulk(merges)
        await until(decided(second, 1 + len(merges)), DECIDED_WITHIN_S)
        running.check()
    rows = await second.fetch("SELECT event::json ->> 'type' AS type, count(*) FROM ledger GROUP BY 1 ORDER BY 1")
    assert [tuple(row) for row in rows] == [("document.merge.conflict", 600), ("document.put.succeeded", 1)]


async def test_messages_that_become_thirty_times_as_large_stay_within_the_limit(
    client: Client, settings: Settings, second: Connection, tmp_path: Path
) -> None:
    """JSON of objects in objects; half of them are accepted, the others are too large for a document."""
    commands = []
    for number in range(120):
        items: list[Json] = [{"": {}}] * (59_000 if number % 2 else 115_000)
        commands.append(envelope("document.put", new_id(), {"expected_generation": None, "body": {"a": items}}))
    async with replica(settings, tmp_path / "log") as running:
        async with second.transaction():
            await second.execute("LOCK TABLE documents")
            await publish_all(client, commands)
        await until(decided(second, len(commands)), DECIDED_WITHIN_S)
        running.check()
    assert await second.fetchval("SELECT count(*) FROM documents") == 60
