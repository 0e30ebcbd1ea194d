"""A command that kills the process which decides it is isolated, and rejected in the end; its neighbours succeed."""

import asyncio
import json
import os
import sys
from typing import TypeAlias

import asyncpg

from genlock.service.decide import DEATHS_MAX
from tests.factories import envelope
from tests.harness import DEADLINE_S, Client

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

STARTS_MAX = 10


async def test_command_that_kills_its_process_is_given_up_and_its_neighbours_succeed(
    database_url: str, amqp_url: str, client: Client, second: Connection
) -> None:
    before, deadly, after = (
        envelope("document.put", subject, {"expected_generation": None, "body": {}})
        for subject in ("before", "deadly", "after")
    )
    await client.send(before, deadly, after)

    deaths = await _start_until_decided(database_url, amqp_url, client, deadly["id"])

    # Twice with its neighbours, for the broker's count says nothing before; then alone.
    assert deaths == 2 + DEATHS_MAX
    types = [event["type"] for event in await client.decided(before, deadly, after)]
    assert types == ["document.put.succeeded", "document.put.rejected", "document.put.succeeded"]
    (rejected,) = set(client.bodies[deadly["id"]])
    assert json.loads(rejected)["data"]["code"] == "internal_error"
    (letter,) = await client.drain(client.topology.dead_letters)
    assert json.loads(letter.body)["id"] == deadly["id"]
    assert await second.fetchval("SELECT count(*) FROM suspects") == 0


async def _start_until_decided(database_url: str, amqp_url: str, client: Client, command_id: str) -> int:
    """Start replicas one after the other; return how many died before the command was decided."""
    variables = {
        "GENLOCK_DATABASE_URL": database_url,
        "GENLOCK_AMQP_URL": amqp_url,
        "GENLOCK_NAMESPACE": client.topology.namespace,
        "GENLOCK_HTTP_PORT": "0",
    }
    for deaths in range(STARTS_MAX):
        replica = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.e2e.deadly", env=os.environ | variables, stderr=asyncio.subprocess.DEVNULL
        )
        died = asyncio.create_task(replica.wait())
        answered = asyncio.create_task(client.decided({"id": command_id}))
        async with asyncio.timeout(DEADLINE_S):
            await asyncio.wait({died, answered}, return_when=asyncio.FIRST_COMPLETED)
        if answered.done():
            replica.terminate()
            assert await died == 0
            return deaths
        answered.cancel()
    raise AssertionError(f"{STARTS_MAX} replicas died")
