"""What tests of allocations look up in the database: rows as plain values, by id."""

from collections import defaultdict
from typing import Any

from tests.support.database import Connection

Amounts = dict[str, dict[str, dict[str, int]]]
"""By consumer, provider and class."""

UNSOUND = """
SELECT inventories.provider_id::text, inventories.resource_class, used, allocated.amount
FROM inventories
FULL JOIN (
    SELECT provider_id, resource_class, sum(amount) AS amount FROM allocations GROUP BY provider_id, resource_class
) AS allocated USING (provider_id, resource_class)
WHERE coalesce(used, -1) <> coalesce(allocated.amount, 0)
"""


async def allocated(connection: Connection) -> Amounts:
    """All allocations."""
    found: Amounts = defaultdict(lambda: defaultdict(dict))
    for row in await connection.fetch("SELECT * FROM allocations"):
        found[str(row["consumer_id"])][str(row["provider_id"])][row["resource_class"]] = row["amount"]
    return {consumer: dict(providers) for consumer, providers in found.items()}


async def used(connection: Connection) -> dict[str, dict[str, int]]:
    """How much is used of each inventory."""
    found: dict[str, dict[str, int]] = defaultdict(dict)
    for row in await connection.fetch("SELECT provider_id::text, resource_class, used FROM inventories"):
        found[row["provider_id"]][row["resource_class"]] = row["used"]
    return dict(found)


async def generations(connection: Connection) -> dict[str, int]:
    """The generations of all consumers and providers; in all of them the sequence follows the generation."""
    consumers = await connection.fetch("SELECT id::text, generation, sequence FROM consumers")
    providers = await connection.fetch("SELECT id::text, generation, sequence FROM providers")
    assert all(row["sequence"] == row["generation"] for row in consumers)
    assert all(row["sequence"] == row["generation"] + 1 for row in providers)
    return {row["id"]: row["generation"] for row in (*consumers, *providers)}


async def changes_of(connection: Connection, command_id: str) -> dict[str, tuple[str, str]]:
    """The records that a command has changed: kind and new token, by id; nothing is changed twice."""
    rows = await connection.fetch("SELECT * FROM changes WHERE command_id = $1", command_id)
    found = {row["record_id"]: (row["kind"], row["token"]) for row in rows}
    assert len(found) == len(rows)
    return found


async def consumer_row(connection: Connection, consumer: str) -> dict[str, Any]:
    """What the row of a consumer says of it, less its id and its counts."""
    row = await connection.fetchrow("SELECT * FROM consumers WHERE id = $1", consumer)
    assert row is not None
    names = ("project_id", "user_id", "consumer_type", "deleted", "maker_type", "maker_source")
    return {name: row[name] for name in names} | {"maker_id": str(row["maker_id"])}


async def check_sums(connection: Connection) -> None:
    """`used` is the sum of the allocations of each provider and class, and each allocation has its inventory."""
    assert await connection.fetch(UNSOUND) == []
    empty = "SELECT id FROM consumers WHERE NOT deleted AND id NOT IN (SELECT consumer_id FROM allocations)"
    assert await connection.fetch(empty) == []
    ghosts = "SELECT consumer_id FROM allocations WHERE consumer_id NOT IN (SELECT id FROM consumers WHERE NOT deleted)"
    assert await connection.fetch(ghosts) == []
