"""How reads of providers go in a large database: what they show is found by an index, and little else is touched.

At full size (large_database.py; PostgreSQL 15, all in memory) a page of a hundred providers touches 2,000 pages and
takes 4 ms of processor time, with room for resources up to 11,000 pages and 16 ms, whether many providers pass or none.
"""

from typing import Any

import pytest

from tests.support.database import Connection
from tests.support.factories import Json
from tests.support.large_database import RARE, explained, named

RACK, NEXT_RACK, ZONE = named("rack 7"), named("rack 8"), named("zone 1")
ELSEWHERE = f"in:{named('zone 0')},{named('zone 2')}"
NUMBER = 777 % RARE
RARE_TRAIT, RARE_CLASS = f"CUSTOM_RARE_{NUMBER}", f"CUSTOM_RARE_{NUMBER}"
PROVIDER = named(f"provider {700 + NUMBER % 100}")

PAGE = 100

START = "f8000000-0000-0000-0000-000000000000"
"""One of 32 providers comes after it."""


async def test_one_provider_is_read_by_keys(reading: Connection) -> None:
    found = await explained(reading, "provider.get", PROVIDER)
    assert found.indexes == {"providers_pkey", "inventories_pkey"}
    assert found.whole == set()
    assert found.pages < 100


FOUND: dict[str, tuple[Json, int, set[str], int]] = {
    "a name": ({"name": "provider 777"}, 1, {"names_pkey", "providers_pkey"}, 100),
    "a tree": ({"in_tree": named("provider 777")}, 10, {"providers_parent", "providers_pkey"}, 600),
    "no such tree": ({"in_tree": named("nothing")}, 0, {"providers_pkey"}, 50),
    "an aggregate": ({"member_of": RACK}, 100, {"providers_aggregates"}, 4_000),
    "no such aggregate": ({"member_of": named("nowhere")}, 0, {"providers_aggregates"}, 100),
    "either aggregate": ({"member_of": f"in:{RACK},{NEXT_RACK}"}, PAGE, {"providers_aggregates"}, 4_000),
    "one of these aggregates and one of those": (
        {"member_of": [f"in:{RACK},{NEXT_RACK}", ELSEWHERE]},
        PAGE,
        {"providers_aggregates"},
        4_000,
    ),
    "an aggregate and not another": ({"member_of": [RACK, f"!{ZONE}"]}, 66, {"providers_aggregates"}, 4_000),
    "a trait": ({"required": [RARE_TRAIT]}, 100, {"providers_traits"}, 4_000),
    "a trait and not another": ({"required": [RARE_TRAIT, "!CUSTOM_ALL"]}, 0, {"providers_traits"}, 1_000),
    "either trait": ({"required": [f"in:{RARE_TRAIT},CUSTOM_RARE_1"]}, PAGE, {"providers_traits"}, 4_000),
    "two traits that no provider has both": (
        {"required": ["CUSTOM_TENTH_1", "CUSTOM_TENTH_2"]},
        0,
        {"providers_traits"},
        200,
    ),
    "an aggregate and a trait": ({"member_of": RACK, "required": [RARE_TRAIT]}, 1, set(), 300),
    "room for what few have": ({"resources": {"VCPU": 8}}, 40, {"inventories_room"}, 14_000),
    "room for a class that no provider has": ({"resources": {"VGPU": 1}}, 0, {"inventories_room"}, 10_000),
    "room for a rare class": ({"resources": {RARE_CLASS: 1}}, 100, {"inventories_room"}, 14_000),
    "room for three classes": (
        {"resources": {"DISK_GB": 1, "MEMORY_MB": 8, "VCPU": 2}},
        40,
        {"inventories_room"},
        14_000,
    ),
    "room for one class, and for another that no provider has": (
        {"resources": {"DISK_GB": 1, "VGPU": 1}},
        0,
        {"inventories_room"},
        10_000,
    ),
    "room for two classes that half of all have, and none has both": (
        {"resources": {"DISK_GB": 64, "MEMORY_MB": 8}},
        0,
        {"inventories_room"},
        30_000,
    ),
    # 3,757 on PostgreSQL 15 and 4,134 on 17.
    "room in an aggregate": ({"member_of": RACK, "resources": {"DISK_GB": 1}}, 100, {"providers_aggregates"}, 4_500),
    "room and a trait": ({"required": [RARE_TRAIT], "resources": {"DISK_GB": 1}}, 100, {"providers_traits"}, 5_000),
    "room, a trait and an aggregate": (
        {"member_of": RACK, "required": ["CUSTOM_TENTH_7"], "resources": {"DISK_GB": 1}},
        10,
        {"providers_aggregates"},
        2_000,
    ),
    "all of it": (
        {
            "name": "provider 777",
            "in_tree": named("provider 770"),
            "member_of": [RACK, ELSEWHERE.replace(named("zone 2"), ZONE)],
            "required": ["CUSTOM_ALL", "in:CUSTOM_TENTH_6,CUSTOM_TENTH_7", "!CUSTOM_TENTH_8"],
            "resources": {"DISK_GB": 1},
        },
        1,
        {"names_pkey"},
        300,
    ),
}
"""Filters, how many pass (all those that fit onto a page), what finds them, and the most pages that may be touched."""


@pytest.mark.parametrize(("filters", "rows", "indexes", "pages"), FOUND.values(), ids=FOUND)
async def test_what_few_pass_is_found_by_an_index(
    reading: Connection, filters: Json, rows: int, indexes: set[str], pages: int
) -> None:
    found = await explained(reading, "provider.list", **filters)
    # Of the providers with few, there are more in a larger database.
    assert len(found.records) == min(rows * RARE // 200 if rows == 40 else rows, PAGE)
    assert found.whole == set()
    assert indexes <= found.indexes
    assert found.pages < pages


COMMON: dict[str, Json] = {
    "no filter": {},
    "a third of all": {"member_of": ZONE},
    "two thirds of all": {"member_of": f"!{ZONE}"},
    "a tenth of all": {"required": ["CUSTOM_TENTH_3"]},
    "all": {"required": ["CUSTOM_ALL"]},
    "all have room": {"resources": {"DISK_GB": 1}},
    "half has room": {"resources": {"DISK_GB": 1, "MEMORY_MB": 8}},
    "a sixth has room": {"member_of": ZONE, "resources": {"MEMORY_MB": 8}},
}


@pytest.mark.parametrize("filters", COMMON.values(), ids=COMMON)
@pytest.mark.parametrize("after", [None, named("provider 5")])
async def test_page_of_many_is_read_along_the_ids(reading: Connection, filters: Json, after: str | None) -> None:
    """Where a filter lets many pass, a page costs what it holds, and a look at a few more providers than that."""
    found = await explained(reading, "provider.list", **filters, after=after)
    assert len(found.records) == PAGE
    assert found.whole == set()
    assert "providers_pkey" in found.indexes
    assert found.pages < (12_000 if "resources" in filters else 6_000)


@pytest.mark.parametrize("limit", [1, 1_000])
async def test_page_costs_what_it_holds(reading: Connection, limit: int) -> None:
    found = await explained(reading, "provider.list", limit=limit, required=["CUSTOM_ALL"])
    assert len(found.records) == limit
    assert found.pages < 200 + 25 * limit


async def test_last_pages_are_as_quick_as_the_first(reading: Connection) -> None:
    after: str | None = START
    ids = set()
    while after:
        found = await explained(reading, "provider.list", after=after, member_of=ZONE)
        assert found.whole == set()
        assert found.pages < 6_000
        ids |= {record["id"] for record in found.records}
        answer: Any = found.answer
        after = answer["next"]
    last = await reading.fetch("SELECT id::text FROM providers WHERE id > $1 AND $2 = ANY (aggregates)", START, ZONE)
    assert ids == {row["id"] for row in last}


async def test_use_of_a_provider_is_read_by_keys(reading: Connection) -> None:
    usages = await explained(reading, "provider.usages", PROVIDER)
    assert len(usages.records) == 5
    assert usages.indexes == {"providers_pkey", "inventories_pkey"}
    assert usages.whole == set()
    assert usages.pages < 30
    allocations = await explained(reading, "provider.allocations", PROVIDER)
    assert len(allocations.records) >= 3
    assert allocations.indexes == {"providers_pkey", "allocations_provider", "consumers_pkey"}
    assert allocations.whole == set()
    assert allocations.pages < 60
