"""Queries of many large records at once: a replica with default settings stays within the manifest's memory limit."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aio_pika
import pytest
from aio_pika.abc import AbstractIncomingMessage

from genlock.schemas.outcomes import CONTENT_TYPE
from genlock.service.settings import Settings
from tests.hostile.resident import replica
from tests.hostile.rows import ALLOCATIONS, CONSUMERS, INVENTORIES, PROJECT, PROVIDERS, STACKS
from tests.support.database import Connection
from tests.support.factories import Json, envelope, json_bytes, new_id
from tests.support.harness import Client

ANSWERED_WITHIN_S = 90.0


async def ask_all(client: Client, queries: list[Json]) -> list[Json]:
    """Ask everything at once, and wait for all answers."""
    left = {query["id"] for query in queries}
    answers: list[Json] = []
    done = asyncio.Event()

    async def on_reply(message: AbstractIncomingMessage) -> None:
        assert message.correlation_id is not None
        left.discard(message.correlation_id)
        answers.append(json.loads(message.body)["data"])
        if not left:
            done.set()

    queue = await client.channel.declare_queue(exclusive=True)
    await queue.consume(on_reply, no_ack=True)
    reads = await client.channel.get_exchange(client.topology.reads)
    for query in queries:
        asked = aio_pika.Message(
            json_bytes(query), content_type=CONTENT_TYPE, reply_to=queue.name, correlation_id=query["id"]
        )
        await reads.publish(asked, routing_key=query["type"])
    async with asyncio.timeout(ANSWERED_WITHIN_S):
        await done.wait()
    return answers


def query(query_type: str, subject: str | None = None, **filters: Any) -> Json:
    return envelope(query_type, subject, filters)


async def test_lists_of_providers_with_thousands_of_classes_stay_within_the_limit(
    client: Client, settings: Settings, second: Connection, tmp_path: Path
) -> None:
    await second.execute(PROVIDERS, 60)
    await second.execute(INVENTORIES, 60, 4_000)
    async with replica(settings, tmp_path / "log") as running:
        whole = [query("provider.list", limit=1_000) for _ in range(16)]
        answers = await ask_all(client, whole)
        assert {answer["error"]["code"] for answer in answers} == {"too_large"}
        # As many as one answer may have, and single ones that are large too.
        pages = [query("provider.list", limit=15) for _ in range(4)]
        answers = await ask_all(client, pages)
        assert {len(answer["records"]) for answer in answers} == {15}
        first = answers[0]["records"][0]["id"]
        answers = await ask_all(client, [query("provider.get", first) for _ in range(12)])
        assert {len(answer["record"]["inventories"]) for answer in answers} == {4_000}
        running.check()


async def test_lists_of_allocations_and_usages_of_thousands_of_classes_stay_within_the_limit(
    client: Client, settings: Settings, second: Connection, tmp_path: Path
) -> None:
    await second.execute(PROVIDERS, 1)
    await second.execute(CONSUMERS, 60)
    await second.execute(ALLOCATIONS, 60, 4_000)
    provider = await second.fetchval("SELECT id::text FROM providers")
    async with replica(settings, tmp_path / "log") as running:
        for limit in (1_000, 20):
            asked = [query("provider.allocations", provider, limit=limit) for _ in range(3)]
            asked += [query("project.usages", PROJECT, limit=limit) for _ in range(3)]
            answers = await ask_all(client, asked)
            assert {len(answer["records"]) for answer in answers} == {min(limit, 60)}
        running.check()


async def test_lists_of_stacks_with_large_templates_stay_within_the_limit(
    client: Client, settings: Settings, second: Connection, tmp_path: Path
) -> None:
    template = json.dumps({"a": [{}] * 170_000})
    await second.execute(STACKS, 300, template)
    stack = await second.fetchval("SELECT id::text FROM stacks LIMIT 1")
    async with replica(settings, tmp_path / "log") as running:
        answers = await ask_all(client, [query("stack.list", limit=1_000) for _ in range(16)])
        assert {len(answer["records"]) for answer in answers} == {300}
        answers = await ask_all(client, [query("stack.get", stack) for _ in range(12)])
        assert all(answer["record"]["previous_template"] for answer in answers)
        running.check()


@pytest.mark.parametrize(("queries", "mib"), [(8, 1), (16, 16)])
async def test_large_bodies_of_queries_stay_within_the_limit(
    client: Client, settings: Settings, tmp_path: Path, queries: int, mib: int
) -> None:
    reads = await client.channel.get_exchange(client.topology.reads)
    body = b'{"data":[' + b"{}," * (mib * 2**20 // 3 - 1_000) + b"{}]}"
    async with replica(settings, tmp_path / "log") as running:
        for _ in range(queries):
            await reads.publish(aio_pika.Message(body, reply_to="nowhere"), routing_key="document.get")
        answers = await ask_all(client, [query("document.get", new_id())])
        assert answers[0]["error"]["code"] == "not_found"
        running.check()
