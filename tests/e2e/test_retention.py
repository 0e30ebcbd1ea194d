"""The ledger's memory in a running service: what it has forgotten is refused by its time, and never applied again."""

import json
from datetime import UTC, datetime, timedelta

from genlock.service.database.transactions import Pool
from genlock.service.database.verify import verify
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.retention import Retention
from genlock.service.settings import Settings
from tests.support.ageing import age
from tests.support.database import Connection
from tests.support.factories import Json, envelope, new_id
from tests.support.forgetting import at_once
from tests.support.harness import Client, serving

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
    client: Client, second: Connection, settings: Settings, database_url: str, pool: Pool
) -> None:
    document = new_id()
    created = envelope("document.put", document, {"expected_generation": None, "body": {}})
    first, last = merge(document, 1, 0), merge(document, 2, 0)
    async with serving(settings, ledger_retention_days=RETENTION_DAYS):
        await client.ask(created, first, last)
    await age(second, 4)
    retention = timedelta(days=RETENTION_DAYS)
    assert await Retention(pool, retention, 20, horizon=at_once(retention)).purge() == 3
    first_again = first | {"time": days_ago(4)}
    # An unknown command is refused a day before rows of its age are purged.
    old, young = merge(document, 3, RETENTION_DAYS - 0.9), merge(document, 4, RETENTION_DAYS - 1.1)
    async with serving(settings, ledger_retention_days=RETENTION_DAYS):
        await client.send(first_again, last, old, young)
        await client.decided(first, first, last, last, old, young)
    assert told(client, first) == ["succeeded", "expired"]
    # The record itself holds the id of the command that made its token.
    assert told(client, last) == ["succeeded", "succeeded"]
    assert told(client, old) == ["expired"]
    assert told(client, young) == ["succeeded"]
    row = await second.fetchrow("SELECT sequence, body FROM documents")
    assert row is not None
    assert (row["sequence"], json.loads(row["body"])) == (4, {"n1": 1, "n2": 2, "n4": 4})
    assert [checked.claim async for checked in verify(database_url, KINDS) if checked.violations] == []
