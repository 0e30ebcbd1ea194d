"""Plans over 100,000 providers: what is read is looked up in an index, whatever the statistics say or do not say."""

import json
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from hashlib import md5
from importlib import resources
from typing import Any, TypeAlias

import asyncpg
import pytest
import pytest_asyncio

from genlock import servers as servers_module
from genlock.servers import Servers
from genlock.service.database import DECIDING_PLANS, READING_PLANS
from genlock.service.sql import statement

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

PROVIDERS = 100_000
PAGE = 101

# Trees of ten: a root, three below it, and two below each of these. Ten trees share a rack, a third of all a zone.
# In the order of their keys, which takes half the time.
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
    ARRAY['CUSTOM_ALL', 'CUSTOM_TENTH_' || n % 10, 'CUSTOM_RARE_' || n % 1000],
    ARRAY[md5('zone ' || n % 3)::uuid, md5('rack ' || n / 100)::uuid],
    false, gen_random_uuid(), 'provider.create', '/tests', '2026-03-01T12:00:00.000000Z'
FROM generate_series(0, {PROVIDERS - 1}) AS n
ORDER BY 1;

INSERT INTO names (kind, name, record_id) SELECT 'provider', name, id FROM providers ORDER BY name;

INSERT INTO inventories (
    provider_id, resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio
)
SELECT id, class, 64, 0, 1, 64, 1, 1.5
FROM providers, unnest(ARRAY['VCPU', 'MEMORY_MB', 'DISK_GB', 'VGPU', 'CUSTOM_GOLD']) AS class
ORDER BY id, class COLLATE "C";

ANALYZE;
"""  # noqa: S608 - a number of our own


def named(what: str) -> str:
    """The id that PostgreSQL makes of the words."""
    return str(uuid.UUID(md5(what.encode(), usedforsecurity=False).hexdigest()))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def full_url(servers: Servers, database_template: str) -> AsyncIterator[str]:
    """The URL of a database with many providers."""
    async with servers_module.database(servers.database_url, template=database_template) as url:
        connection = await asyncpg.connect(url)
        await connection.execute(FILL)
        await connection.close()
        yield url


@pytest.fixture
async def reading(full_url: str) -> AsyncIterator[Connection]:
    """A connection as reads use it."""
    connection = await asyncpg.connect(full_url, server_settings=READING_PLANS)
    yield connection
    await connection.close()


@pytest.fixture(params=["full", "empty and never analysed"])
async def deciding(request: pytest.FixtureRequest, full_url: str, database_url: str) -> AsyncIterator[Connection]:
    """A connection as deciding uses it."""
    url = full_url if request.param == "full" else database_url
    connection = await asyncpg.connect(url, server_settings=DECIDING_PLANS)
    yield connection
    await connection.close()


@dataclass
class Plan:
    """The indexes that a statement uses, the tables that it reads whole, and how many pages it touched."""

    indexes: set[str] = field(default_factory=set)
    whole: set[str] = field(default_factory=set)
    pages: int = 0
    rows: int = 0

    def __init__(self, text: str) -> None:
        [explained] = json.loads(text)
        nodes = list(_nodes(explained["Plan"]))
        self.indexes = {node["Index Name"] for node in nodes if "Index Name" in node}
        self.whole = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
        self.pages = nodes[0].get("Shared Hit Blocks", 0) + nodes[0].get("Shared Read Blocks", 0)
        self.rows = nodes[0].get("Actual Rows", 0)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)


async def read_plan(connection: Connection, name: str, *arguments: Any) -> Plan:
    """How a read with these arguments goes."""
    return Plan(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement(name)}", *arguments))


async def test_one_provider_is_read_by_keys(reading: Connection) -> None:
    plan = await read_plan(reading, "get_provider", named("provider 777"))
    assert plan.indexes == {"providers_pkey", "inventories_pkey"}
    assert (plan.whole, plan.rows) == (set(), 1)
    assert plan.pages < 100


NAME = ("provider 777", None, None, None)
TREE = (None, named("provider 777"), None, None)
RACK = (None, None, [named("rack 7")], None)
RARE = (None, None, None, ["CUSTOM_RARE_777"])
RACK_AND_TRAIT = (None, None, [named("rack 7")], ["CUSTOM_RARE_777"])
ALL_FOUR = ("provider 777", named("provider 770"), [named("rack 7")], ["CUSTOM_ALL", "CUSTOM_RARE_777"])
NO_RACK = (None, None, [named("no rack")], None)
NO_TREE = (None, named("no provider"), None, None)

FILTERS: list[tuple[str, tuple[Any, ...], int, set[str]]] = [
    ("name", NAME, 1, {"names_pkey", "providers_pkey"}),
    ("in_tree", TREE, 10, {"providers_parent", "providers_pkey"}),
    ("member_of", RACK, 100, {"providers_aggregates"}),
    ("required", RARE, 100, {"providers_traits"}),
    ("member_of, required", RACK_AND_TRAIT, 1, set()),
    ("all four", ALL_FOUR, 1, {"names_pkey"}),
    ("member_of nobody", NO_RACK, 0, {"providers_aggregates"}),
    ("in_tree of nobody", NO_TREE, 0, {"providers_pkey"}),
]


@pytest.mark.parametrize(("what", "filters", "rows", "indexes"), FILTERS, ids=[row[0] for row in FILTERS])
async def test_each_filter_is_served_by_its_index(
    reading: Connection, what: str, filters: tuple[Any, ...], rows: int, indexes: set[str]
) -> None:
    plan = await read_plan(reading, "list_providers", *filters, None, PAGE)
    assert plan.rows == rows, what
    assert plan.whole == set()
    assert indexes <= plan.indexes
    # Some pages to find them, and about 25 for each one's root and inventories.
    assert plan.pages < 400 + 30 * rows


COMMON = {
    "no filter": (None, None, None, None),
    "a third of all": (None, None, [named("zone 1")], None),
    "a tenth of all": (None, None, None, ["CUSTOM_TENTH_3"]),
    "nearly all": (None, None, None, ["CUSTOM_ALL"]),
}


@pytest.mark.parametrize("filters", COMMON.values(), ids=COMMON)
@pytest.mark.parametrize("after", [None, named("provider 5")])
async def test_page_of_many_is_read_in_the_order_of_ids(
    reading: Connection, filters: tuple[Any, ...], after: str | None
) -> None:
    """Where a filter lets many pass, walking them in order is the best there is: a page costs what a page holds."""
    plan = await read_plan(reading, "list_providers", *filters, after, PAGE)
    assert plan.rows == PAGE
    assert plan.whole == set()
    assert "providers_pkey" in plan.indexes
    assert plan.pages < 6_000


DECIDING: dict[str, tuple[int, set[str]]] = {
    "lock_providers": (1, {"providers_pkey"}),
    "find_ancestors": (1, {"providers_pkey"}),
    "find_children": (1, {"providers_parent"}),
    "find_inventories": (1, {"inventories_pkey"}),
    "find_names": (2, {"names_pkey"}),
    "update_providers": (13, {"providers_pkey"}),
    "insert_providers": (12, set()),
    "delete_inventories": (2, {"inventories_pkey"}),
    "put_inventories": (8, set()),
    "delete_names": (3, {"names_pkey"}),
    "insert_names": (3, set()),
}
"""How many arguments each takes, and the indexes that it looks rows up with."""


@pytest.mark.parametrize("name", DECIDING)
async def test_deciding_looks_rows_up_by_key(deciding: Connection, name: str) -> None:
    """Prepared as a pool prepares it, so that the plan is the one that every batch gets, whatever its size."""
    arguments, indexes = DECIDING[name]
    await deciding.execute(f"PREPARE planned AS {statement(name)}")
    nulls = ", ".join(["NULL"] * arguments)
    plan = Plan(await deciding.fetchval(f"EXPLAIN (FORMAT JSON) EXECUTE planned ({nulls})"))
    assert plan.whole == set()
    assert indexes <= plan.indexes


async def test_moves_in_a_tree_read_no_more_than_what_is_above(full_url: str) -> None:
    """Held to pages that are touched: 200 providers with all that is above them, and their inventories."""
    connection = await asyncpg.connect(full_url, server_settings=DECIDING_PLANS)
    ids = [named(f"provider {number}") for number in range(0, 100_000, 500)]
    for name, pages in (("find_ancestors", 4_000), ("find_children", 2_000), ("find_inventories", 3_000)):
        plan = await read_plan(connection, name, ids)
        assert plan.whole == set()
        assert plan.pages < pages, name
    await connection.close()


async def test_every_statement_about_providers_is_planned_here() -> None:
    files = {file.name.removesuffix(".sql") for file in resources.files("genlock.service.sql").iterdir()}
    about = {name for name in files if any(word in name for word in ("provider", "inventor", "ancestors", "children"))}
    assert about <= DECIDING.keys() | {"get_provider", "list_providers"}
