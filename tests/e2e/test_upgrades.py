"""An upgrade from one version to the next under load: replicas of both work side by side, and nothing is lost."""

import asyncio
import json
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Self

from genlock.consumers.commands.deciding import FOR_NEWER
from genlock.servers import Role
from genlock.service.database.migrate import migrate
from genlock.service.database.verify import verify
from genlock.service.kinds.registry import KINDS
from genlock.service.settings import Settings
from tests.support.command_line import ended, genlock, lines_until, start
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.factories import Json, envelope, new_id
from tests.support.harness import Client, serving, until
from tests.support.upgrades import next_migration, upgraded

NEW_TYPE = "document.merge"
"""What the older replica does not know."""


def merge(subject: str, number: int) -> Json:
    return envelope("document.merge", subject, {"patch": {f"n{number}": number}})


@asynccontextmanager
async def older_replica(settings: Settings) -> AsyncIterator[Process]:
    """A replica as a process of its own that does not know one type; it is stopped in good order in the end."""
    process = await start(settings, NEW_TYPE, module="tests.e2e.programs.previous_version", GENLOCK_HTTP_PORT="0")
    try:
        await lines_until(process, "ready")
        yield process
        process.send_signal(signal.SIGTERM)
        code, _ = await ended(process)
        assert code == 0
    finally:
        if process.returncode is None:
            process.kill()


async def violations(database_url: str) -> list[str]:
    return [checked.claim async for checked in verify(database_url, KINDS) if checked.violations]


class Merging:
    """Merges on some documents, one on each at once and then the next ones, for as long as the context lasts."""

    def __init__(self, client: Client) -> None:
        self.sent: list[Json] = []
        self._client = client
        self._documents = [creation() for _ in range(20)]
        self._stopping = False

    async def __aenter__(self) -> Self:
        await self._client.ask(*self._documents)
        self._sending = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        await self._sending

    async def _send(self) -> None:
        while not self._stopping:
            count = len(self.sent)
            batch = [merge(document["subject"], count + n) for n, document in enumerate(self._documents)]
            await self._client.flood(batch)
            await self._client.decided(*batch)
            self.sent += batch

    async def until_answered(self, more: int = 60) -> None:
        """Return when so many more were decided."""
        enough = len(self.sent) + more

        async def answered() -> bool:
            return len(self.sent) >= enough

        await until(answered)


async def test_upgrade_under_load_loses_and_repeats_nothing(
    client: Client, second: Connection, settings: Settings, owner_url: str, service_role: Role
) -> None:
    few = settings.model_copy(update={"batch_size_max": 8, "prefetch": 16})
    async with AsyncExitStack() as newer, serving(few):
        async with Merging(client) as load:
            async with serving(few):
                await load.until_answered()
                with upgraded(next_migration()):
                    applied = await asyncio.gather(*(migrate(owner_url, service_role.name) for _ in range(2)))
                assert sorted(map(len, applied)) == [0, 1]
                await load.until_answered()
            with upgraded(next_migration()):
                await newer.enter_async_context(serving(few))
            await load.until_answered()
            # One of the version before is started again, after a crash say.
            async with serving(few):
                await load.until_answered()
        events = await client.decided(*load.sent)
    assert {event["type"] for event in events} == {"document.merge.succeeded"}
    assert all(len(set(bodies)) == 1 for bodies in client.bodies.values())
    for document in {command["subject"] for command in load.sent}:
        numbers = [command["data"]["patch"] for command in load.sent if command["subject"] == document]
        row = await second.fetchrow("SELECT sequence, body FROM documents WHERE id = $1", document)
        assert row is not None
        assert row["sequence"] == 1 + len(numbers)
        assert json.loads(row["body"]) == {name: n for patch in numbers for name, n in patch.items()}
    assert await client.depth(client.topology.dead_letters) == 0
    assert await violations(service_role.at(owner_url)) == []


async def test_command_of_a_new_type_that_an_older_replica_gets_is_decided_after_the_upgrade(
    client: Client, second: Connection, settings: Settings
) -> None:
    document = creation()
    known = merge(document["subject"], 0)
    async with serving(settings):
        [_, told] = await client.ask(document, known)
    alone, bulk = merge(document["subject"], 1), [merge(document["subject"], n) for n in (2, 3)]
    misspelt = envelope("document.mrege", new_id(), {"patch": {}})
    async with older_replica(settings):
        await client.send(alone, known)
        await client.send_bulk(bulk)
        [rejected] = await client.ask(misspelt)
        # Either replica answers a command that has its verdict.
        await client.decided(known, known)
        await client.until_depth(client.topology.dead_letters, 3)
    assert rejected["data"]["code"] == "unknown_type"
    assert len(set(client.bodies[known["id"]])) == 1
    listed = await genlock(settings, "dead", "list", "--reason", "unknown_type")
    assert [(row["id"], row["reason"]) for row in listed.rows] == [(c["id"], FOR_NEWER) for c in (alone, *bulk)]
    assert await second.fetchval("SELECT count(*) FROM ledger") == 3

    async with serving(settings):
        retried = await genlock(settings, "dead", "retry", "--reason", "unknown_type")
        assert [(row["result"], row["as"]) for row in retried.rows] == [("retried", c["id"]) for c in (alone, *bulk)]
        events = await client.decided(alone, *bulk)
    assert [event["data"]["token"] for event in events] == [{"generation": n} for n in (2, 3, 4)]
    assert told["data"]["token"] == {"generation": 1}
    assert await client.depth(client.topology.dead_letters) == 0


async def test_new_type_that_both_versions_get_is_decided_once_each_before_or_after_the_upgrade(
    client: Client, second: Connection, settings: Settings, database_url: str
) -> None:
    document = creation()
    merges = [merge(document["subject"], n) for n in range(100)]
    few = settings.model_copy(update={"batch_size_max": 4, "prefetch": 4})
    async with serving(few):
        await client.ask(document)
        async with older_replica(few):
            await client.flood(merges)
            await client.until_empty(client.topology.inbox)
        left = await client.depth(client.topology.dead_letters)
        assert left > 0
        # Its publisher has waited for one of them in vain, and sends it again.
        again = next(command for command in merges if command["id"] not in client.bodies)
        await client.ask(again)
        retried = await genlock(few, "dead", "retry", "--all")
        assert retried.code == 0, retried
        assert sorted(row["result"] for row in retried.rows) == ["already decided"] + ["retried"] * (left - 1)
        await client.decided(*merges)
    assert await second.fetchval("SELECT sequence FROM documents") == 1 + len(merges)
    assert {len(set(bodies)) for bodies in client.bodies.values()} == {1}
    assert await client.depth(client.topology.dead_letters) == 0
    assert await violations(database_url) == []


async def test_replica_that_meets_a_schema_it_cannot_run_on_holds_what_it_has(
    client: Client, second: Connection, settings: Settings
) -> None:
    """Against the documented order: an incompatible migration while older replicas run."""
    document = creation()
    async with serving(settings, retry_delay_max_s=0.2) as older:
        await second.execute("ALTER TABLE documents RENAME COLUMN body TO content")
        await client.send(document)
        held = older.registry.get_sample_value

        async def holding() -> bool:
            return (held("genlock_database_trouble_total") or 0) > 1

        await until(holding)
        assert await client.depth(client.topology.dead_letters) == 0
        await second.execute("ALTER TABLE documents RENAME COLUMN content TO body")
        [event] = await client.decided(document)
    assert event["type"] == "document.put.succeeded"
