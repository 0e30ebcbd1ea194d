"""Plans over 100,000 rows a table: deciding looks everything up by key, also where statistics lag behind."""

import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from genlock import servers as servers_module
from genlock.servers import Servers
from genlock.service.database.statements import statement, statement_files
from genlock.service.database.transactions import DECIDING_PLANS, READING_PLANS
from genlock.service.ledger.retention import SLICE_BATCHES, SLICE_COMMANDS
from tests.support.database import Connection

ROWS = 100_000

MAKER = "gen_random_uuid(), 'x', '/tests', '2026-03-01T12:00:00.000000Z'"

# In the order of their keys, which takes half the time.
FILL = f"""
INSERT INTO documents (id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time)
SELECT 'document ' || n, 1, 2, '{{}}', {MAKER} FROM generate_series(1, {ROWS}) AS n ORDER BY 1;

INSERT INTO stacks (
    id, sequence, name, action, status, status_reason, traversal, template, disable_rollback,
    maker_id, maker_type, maker_source, maker_time
)
SELECT
    md5(n::text)::uuid, 2, 'stack ' || n, 'CREATE', CASE WHEN n % 10 = 0 THEN 'FAILED' ELSE 'COMPLETE' END, '',
    md5('traversal ' || n)::uuid, '{{}}', true, {MAKER}
FROM generate_series(1, {ROWS}) AS n ORDER BY 1;

INSERT INTO names (kind, name, record_id) SELECT 'stack', name, id FROM stacks ORDER BY name;

INSERT INTO changes (
    kind, record_id, sequence, token, command_id, command_type, command_source, decided_at
)
SELECT 'stack', id, n, traversal, {MAKER} FROM stacks CROSS JOIN generate_series(1, 2) AS n;

INSERT INTO batches (confirmed_at) SELECT clock_timestamp() FROM generate_series(1, {ROWS} / 10);

INSERT INTO ledger (id, content_hash, verdict, event, batch_id)
SELECT md5('command ' || n)::uuid, ''::bytea, 'succeeded', '{{}}', n / 10 + 1
FROM generate_series(1, {ROWS}) AS n ORDER BY 1;

INSERT INTO outbox (
    batch_id, position, command_id, kind, record_kind, record_id, exchange, routing_key, mandatory, message_id,
    message_type, subject, correlation_id, time, body
)
SELECT
    n, 1, md5('command ' || n)::uuid, 'work', 'stack', n, 'work', 'a', true, n, 'work', n, NULL,
    '2026-03-01T12:00:00Z', ''
FROM generate_series(1, {ROWS} / 10) AS n;

INSERT INTO waiting_messages (exchange, routing_key, mandatory, properties, body)
SELECT 'events', 'queue ' || n % 1000, true, n::text::bytea, '' FROM generate_series(1, {ROWS}) AS n;

INSERT INTO destinations (exchange, routing_key, next_at)
SELECT 'events', 'queue ' || n, clock_timestamp() FROM generate_series(1, 1000) AS n;
"""  # noqa: S608 - a number of our own


READS_ONLY = {
    "get_document",
    "get_stack",
    "get_outcome",
    "list_changes",
    "list_stacks",
    "count_unconfirmed",
    "count_waiting",
    "find_decided_since",
    # One end of an index, for which PostgreSQL 17 needs no condition.
    "find_oldest_batch",
    "find_newest_batch",
}
NOW = datetime.now(UTC)
PAST = NOW - timedelta(days=14)
# They go along the oldest batches, and no further.
FORGETTING: dict[str, tuple[Any, ...]] = {
    "find_oldest_reliable": (NOW + timedelta(days=1),),
    "find_forgettable": (PAST, NOW + timedelta(days=1), NOW - timedelta(days=1), SLICE_BATCHES),
    "delete_ledger": (None, SLICE_COMMANDS),
    "delete_batches": (None, SLICE_COMMANDS),
    "delete_outbox": (None, SLICE_COMMANDS),
    "give_up_waiting": (PAST, SLICE_COMMANDS),
}
# The statements of other records need tables full of those: test_provider_plans.py.
FILLED = {"documents", "stacks", "names", "changes", "batches", "ledger", "outbox", "waiting_messages", "destinations"}


def _is_ours(name: str) -> bool:
    tables = set(re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(\w+)", statement(name))) - {
        "unnest",
        "found",
        "batch",
        "LATERAL",
        "OF",
        "SET",
    }
    return name not in READS_ONLY | FORGETTING.keys() and tables <= FILLED


DECIDING = sorted(filter(_is_ours, statement_files()))
NO_CONDITION_NEEDED = {"batches_unconfirmed", "destinations_next"}
"""Indexes whose every entry is wanted."""


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


async def nodes_of(connection: Connection, name: str) -> list[dict[str, Any]]:
    """The generic plan of a statement that was prepared under its own name."""
    count = len(set(re.findall(r"\$\d+", statement(name))))
    arguments = f"({', '.join(['NULL'] * count)})" if count else ""
    [explained] = json.loads(await connection.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE {name} {arguments}"))
    return list(_nodes(explained["Plan"]))


def reads_by_key(nodes: list[dict[str, Any]]) -> bool:
    """Tell whether no table is read whole, neither as it lies nor along an index from end to end."""
    return not any(
        node["Node Type"] == "Seq Scan"
        or ("Index Name" in node and "Index Cond" not in node and node["Index Name"] not in NO_CONDITION_NEEDED)
        for node in nodes
        if "ModifyTable" not in node["Node Type"]
    )


@dataclass(frozen=True)
class Full:
    """A database with many records, and how its statements went that were prepared when it was empty."""

    url: str
    by_key: dict[str, bool]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def full(servers: Servers, database_template: str) -> AsyncIterator[Full]:
    """A database that a pool had connected to when it was empty, and that has grown since."""
    async with servers_module.database(servers.database_url, template=database_template) as url:
        early = await asyncpg.connect(url, server_settings=DECIDING_PLANS)
        for name in DECIDING:
            await early.execute(f"PREPARE {name} AS {statement(name)}")
            await nodes_of(early, name)
        await early.execute(FILL)
        by_key = {name: reads_by_key(await nodes_of(early, name)) for name in DECIDING}
        await early.execute("ANALYZE")
        await early.close()
        yield Full(url, by_key)


def test_plans_made_for_empty_tables_read_by_key_when_the_tables_have_grown(full: Full) -> None:
    """A pool prepares its statements on a new, never analysed database, and keeps their plans."""
    assert full.by_key == dict.fromkeys(DECIDING, True)


async def test_deciding_reads_by_key_in_large_and_analysed_tables(full: Full) -> None:
    connection = await asyncpg.connect(full.url, server_settings=DECIDING_PLANS)
    by_key = {}
    for name in DECIDING:
        await connection.execute(f"PREPARE {name} AS {statement(name)}")
        by_key[name] = reads_by_key(await nodes_of(connection, name))
    await connection.close()
    assert by_key == dict.fromkeys(DECIDING, True)


@pytest.mark.parametrize(
    ("name", "arguments", "pages"),
    [
        ("get_document", ("document 777",), 10),
        ("get_stack", ("c4ca4238-a0b9-2382-0dcc-509a6f75849b",), 10),
        ("get_outcome", ("c4ca4238-a0b9-2382-0dcc-509a6f75849b", None), 10),
        ("get_outcome", ("c4ca4238-a0b9-2382-0dcc-509a6f75849b", "stack"), 10),
        ("list_changes", ("stack", "c4ca4238-a0b9-2382-0dcc-509a6f75849b", 0, 101), 20),
        ("list_stacks", ("stack 777", None, None, None, 101), 20),
        # In the order of ids, which are scattered over the table: a page for each row that is looked at.
        ("list_stacks", (None, None, None, None, 101), 200),
        ("list_stacks", (None, None, "FAILED", "c4ca4238-a0b9-2382-0dcc-509a6f75849b", 101), 2_000),
    ],
)
async def test_reads_touch_no_more_than_what_they_return(
    full: Full, name: str, arguments: tuple[Any, ...], pages: int
) -> None:
    connection = await asyncpg.connect(full.url, server_settings=READING_PLANS)
    plan = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement(name)}", *arguments)
    await connection.close()
    [explained] = json.loads(plan)
    nodes = list(_nodes(explained["Plan"]))
    assert all(node["Node Type"] != "Seq Scan" for node in nodes)
    assert nodes[0]["Shared Hit Blocks"] + nodes[0]["Shared Read Blocks"] <= pages


@pytest.mark.parametrize("name", sorted(FORGETTING))
async def test_forgetting_looks_at_the_oldest_batches_alone(full: Full, name: str) -> None:
    """Also where none of them is old enough, as it is most of the time."""
    connection = await asyncpg.connect(full.url, server_settings=DECIDING_PLANS)
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement(name)}"
    [explained] = json.loads(await connection.fetchval(explain, *FORGETTING[name]))
    await connection.close()
    assert explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"] <= 50
