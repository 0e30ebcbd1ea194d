"""A large database of providers, their inventories and their consumers; and the plans of statements there.

By default it is as large as plans need to be those of a large one. GENLOCK_TEST_PROVIDERS=100000 makes it full size:
100,000 providers, 5 inventories each, a million allocations.
"""

import json
import os
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import md5
from typing import Any, Self, cast

import asyncpg

from genlock.schemas.queries import QUERIES
from genlock.service.database.statements import statement
from genlock.service.database.transactions import Pool
from genlock.service.reading.reads import Answer, QueryError
from tests.support.database import Connection
from tests.support.factories import Json
from tests.support.reads import read

PROVIDERS = int(os.environ.get("GENLOCK_TEST_PROVIDERS", "20000"))
CONSUMERS = PROVIDERS * 10 // 3 + 1
"""Each has three allocations."""

RARE = PROVIDERS // 100
"""The number of traits, and of resource classes, that a hundred providers have each."""

SMALL_PROJECTS = CONSUMERS // 100

MAKER = "gen_random_uuid(), 'x', '/tests', '2026-03-01T12:00:00.000000Z'"

# Trees of ten: a root, three below it, and two below each of these. Ten trees share a rack, a third of all a zone.
# VCPU is free on one of 500 providers, VGPU on none, MEMORY_MB on every other one; of DISK_GB 32 are left there, and
# more on all others. The fifth class is on a hundred providers. A tenth of the consumers are of one project, all others
# of small ones.
# All in the order of their keys, which takes half the time.
FILL = f"""
INSERT INTO providers (
    id, generation, sequence, name, parent_id, traits, aggregates, deleted,
    maker_id, maker_type, maker_source, maker_time
)
SELECT
    md5('provider ' || n)::uuid, 0, 1, 'provider ' || n,
    CASE
        WHEN n % 10 > 3 THEN md5('provider ' || n - 3)::uuid
        WHEN n % 10 > 0 THEN md5('provider ' || n - n % 10)::uuid
    END,
    ARRAY['CUSTOM_ALL', 'CUSTOM_TENTH_' || n % 10, 'CUSTOM_RARE_' || n % {RARE}],
    ARRAY[md5('zone ' || n % 3)::uuid, md5('rack ' || n / 100)::uuid],
    false, {MAKER}
FROM generate_series(0, {PROVIDERS - 1}) AS n
ORDER BY 1;

INSERT INTO names (kind, name, record_id) SELECT 'provider', name, id FROM providers ORDER BY name;

INSERT INTO consumers (
    id, generation, sequence, project_id, user_id, consumer_type, deleted,
    maker_id, maker_type, maker_source, maker_time
)
SELECT
    md5('consumer ' || n)::uuid, 1, 1,
    CASE WHEN n % 10 = 0 THEN 'large' ELSE 'project ' || n % {SMALL_PROJECTS} END, 'user ' || n % {PROVIDERS // 10},
    CASE n % 4 WHEN 1 THEN 'MIGRATION' WHEN 2 THEN 'INSTANCE' END,
    false, {MAKER}
FROM generate_series(0, {CONSUMERS - 1}) AS n
ORDER BY 1;

INSERT INTO allocations (consumer_id, provider_id, resource_class, amount)
SELECT md5('consumer ' || n)::uuid, md5('provider ' || n % {PROVIDERS})::uuid, class, 1 + n % 7
FROM generate_series(0, {CONSUMERS - 1}) AS n, unnest(ARRAY['VCPU', 'MEMORY_MB', 'DISK_GB']) AS class
ORDER BY 1, 2, class COLLATE "C";

INSERT INTO inventories (
    provider_id, resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio, used
)
SELECT
    md5('provider ' || n)::uuid, class,
    CASE
        WHEN class = 'VGPU' OR class = 'VCPU' AND n % 500 > 0 OR class = 'MEMORY_MB' AND n % 2 > 0
        THEN coalesce(used, 1)
        WHEN class = 'DISK_GB' AND n % 2 = 0 THEN coalesce(used, 0) + 32
        ELSE 640
    END,
    CASE class WHEN 'VGPU' THEN 1 ELSE 0 END, 1, 64, 1, 1.0, coalesce(used, 0)
FROM generate_series(0, {PROVIDERS - 1}) AS n
CROSS JOIN LATERAL unnest(ARRAY['VCPU', 'MEMORY_MB', 'DISK_GB', 'VGPU', 'CUSTOM_RARE_' || n % {RARE}]) AS class
LEFT JOIN (
    SELECT provider_id, resource_class, sum(amount) AS used FROM allocations GROUP BY provider_id, resource_class
) AS taken ON taken.provider_id = md5('provider ' || n)::uuid AND taken.resource_class = class
ORDER BY 1, class COLLATE "C";
"""  # noqa: S608 - numbers of our own


ALL_VISIBLE = """
SELECT bool_and(relallvisible = relpages)
FROM pg_class
WHERE relkind = 'r' AND relname IN ('providers', 'inventories', 'allocations', 'names') AND reltuples >= 0
"""
"""Whether all pages of the tables are known to be visible to all transactions; null before the first VACUUM."""


async def fill(url: str) -> None:
    """Fill an empty database, and let its statistics be known. Takes 3 s, at full size 15 s."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(FILL, timeout=120)
        # While another session has a snapshot from before, such as an ANALYZE of autovacuum, the rows are not visible
        # to all, and index-only scans look at the tables too: a quarter more pages.
        while not await connection.fetchval(ALL_VISIBLE):
            await connection.execute("VACUUM ANALYZE", timeout=120)
    finally:
        await connection.close()


def named(what: str) -> str:
    """The id that PostgreSQL makes of the words."""
    return str(uuid.UUID(md5(what.encode(), usedforsecurity=False).hexdigest()))


@dataclass(frozen=True)
class Plan:
    """How a statement runs: the indexes it uses, the tables it scans, the pages it touches, and its time."""

    indexes: frozenset[str]
    whole: frozenset[str]
    pages: int
    rows: int
    milliseconds: float

    @classmethod
    def read(cls, text: str) -> Self:
        """Read what EXPLAIN says in JSON."""
        [explained] = json.loads(text)
        top = explained["Plan"]
        # A node that was planned but never executed reads nothing.
        nodes = [node for node in _nodes(top) if node.get("Actual Loops", 1)]
        return cls(
            indexes=frozenset(node["Index Name"] for node in nodes if "Index Name" in node),
            whole=frozenset(node["Relation Name"] for node in nodes if _is_whole(node)),
            pages=top.get("Shared Hit Blocks", 0) + top.get("Shared Read Blocks", 0),
            rows=top.get("Actual Rows", 0),
            milliseconds=explained.get("Execution Time", 0.0),
        )


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


def _is_whole(node: dict[str, Any]) -> bool:
    """Tell whether a table is read from end to end, as it lies or along an index without a place to start from."""
    if node["Node Type"] == "Seq Scan":
        return True
    if "Index Name" not in node or "Index Cond" in node:
        return False
    looked_at: int = node.get("Actual Rows", PROVIDERS) + node.get("Rows Removed by Filter", 0)
    return looked_at >= PROVIDERS


class Explaining:
    """Runs reads as a pool does, and keeps how each statement went."""

    def __init__(self, connection: Connection) -> None:
        self.plans: list[Plan] = []
        self._connection = connection

    async def fetch(self, query: str, *arguments: Any) -> list[asyncpg.Record]:
        text = await self._connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *arguments)
        self.plans.append(Plan.read(text))
        return await self._connection.fetch(query, *arguments)

    async def fetchrow(self, query: str, *arguments: Any) -> asyncpg.Record | None:
        rows = await self.fetch(query, *arguments)
        return rows[0] if rows else None

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        row = await self.fetchrow(query, *arguments)
        return row[0] if row else None


@dataclass(frozen=True)
class Explained:
    """A read: its answer, and how all its statements went."""

    answer: Answer
    indexes: frozenset[str]
    whole: frozenset[str]
    pages: int
    milliseconds: float

    @property
    def records(self) -> list[Json]:
        assert not isinstance(self.answer, QueryError), self.answer
        records: list[Json] = self.answer["records"]
        return records


async def explained(connection: Connection, query: str, subject: str = "", **filters: Any) -> Explained:
    """Ask a query, and see how it goes."""
    explaining = Explaining(connection)
    answer = await read(cast("Pool", explaining), query, subject, QUERIES[query].model_validate(filters))
    return Explained(
        answer,
        indexes=frozenset(name for plan in explaining.plans for name in plan.indexes),
        whole=frozenset(name for plan in explaining.plans for name in plan.whole),
        pages=sum(plan.pages for plan in explaining.plans),
        milliseconds=sum(plan.milliseconds for plan in explaining.plans),
    )


async def prepared_plan(connection: Connection, name: str, arguments: Sequence[Sequence[Any] | int]) -> Plan:
    """How a statement of a batch runs with these columns of rows, and limits, by its generic plan. Changes nothing."""
    await connection.execute(f"PREPARE planned AS {statement(name)}")
    written = ", ".join(str(one) if isinstance(one, int) else _array(one) for one in arguments)
    transaction = connection.transaction()
    await transaction.start()
    try:
        text = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE planned ({written})")
    finally:
        await transaction.rollback()
        await connection.execute("DEALLOCATE planned")
    return Plan.read(text)


def _array(values: Sequence[Any]) -> str:
    """An array as PostgreSQL reads it; EXECUTE takes no parameters of its own."""
    written = ", ".join("NULL" if value is None else f'"{value}"' for value in values)
    return f"'{{{written}}}'"
