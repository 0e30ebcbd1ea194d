"""The ledger's memory in a running service: what it has forgotten is refused by its time, and never applied again."""

import json
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg

from genlock.service.database.verify import verify
from genlock.service.settings import Settings
from tests.factories import Json, envelope, new_id
from tests.harness import Client, serving, until

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

RETENTION_DAYS = 3


def merge(subject: str, number: int, days: float) -> Json:
    """A merge that nothing protects but the ledger, made so many days ago."""
    return envelope("document.merge", subject, {"patch": {f"n{number}": number}}, time=days_ago(days))


def days_ago(days: float) -> str:
    return (datetime.now(UTC) - timedelta(days=days)).isoformat()


def told(client: Client, command: Json) -> list[str]:
    """What each outcome of a command has said: its code, or that it succeeded."""
    events = [json.loads(body) for body in client.bodies[command["id"]]]
    return [event["data"].get("code") or event["type"].rpartition(".")[2] for event in events]


async def test_command_that_the_service_has_forgotten_is_expired(
    client: Client, second: Connection, settings: Settings, database_url: str
) -> None:
    document = new_id()
    created = envelope("document.put", document, {"expected_generation": None, "body": {}})
    first, last = merge(document, 1, 0), merge(document, 2, 0)
    async with serving(settings, ledger_retention_days=RETENTION_DAYS):
        await client.ask(created, first, last)
    await second.execute("UPDATE batches SET decided_at = decided_at - interval '4 days'")
    await second.execute("UPDATE changes SET decided_at = '2020-01-01T00:00:00.000000Z'")

    async def forgotten() -> bool:
        count: int = await second.fetchval("SELECT count(*) FROM ledger")
        return count == 0

    first_again = first | {"time": days_ago(4)}
    # A day before anything of its age is forgotten a command that nobody knows is refused.
    old, young = merge(document, 3, RETENTION_DAYS - 0.9), merge(document, 4, RETENTION_DAYS - 1.1)
    async with serving(settings, ledger_retention_days=RETENTION_DAYS):
        await until(forgotten)
        await client.send(first_again, last, old, young)
        await client.decided(first, first, last, last, old, young)
    assert told(client, first) == ["succeeded", "expired"]
    # The record itself knows who made its token.
    assert told(client, last) == ["succeeded", "succeeded"]
    assert told(client, old) == ["expired"]
    assert told(client, young) == ["succeeded"]
    row = await second.fetchrow("SELECT sequence, body FROM documents")
    assert row is not None
    assert (row["sequence"], json.loads(row["body"])) == (4, {"n1": 1, "n2": 2, "n4": 4})
    assert [checked.claim async for checked in verify(database_url) if checked.offences] == []
