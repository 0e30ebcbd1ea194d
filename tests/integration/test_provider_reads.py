"""Providers in PostgreSQL: reads show the decided state, and lists hold exactly the records that match."""

import json
from typing import Any

import asyncpg
import pytest

from genlock.schemas.base import Kind
from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, GenerationToken, Succeeded
from genlock.schemas.queries import NoFilters, ProviderList, RecordHistory
from genlock.service.database.transactions import READING_PLANS, Pool, open_pool
from genlock.service.deciding.decide import Decider
from genlock.service.reading.reads import Answer, QueryError
from tests.support.database import Connection
from tests.support.factories import Json, new_id, put
from tests.support.harness import outcomes
from tests.support.provider_factories import (
    AMOUNT_MAX,
    create_provider,
    delete_provider,
    move_provider,
    provider_command,
    rename_provider,
)
from tests.support.reads import read

# Every field at the ends of what it may be, and ratios that are no sums of few powers of two.
INVENTORIES: Json = {
    "VCPU": {"total": 64, "reserved": 64, "min_unit": 2, "max_unit": 16, "step_size": 3, "allocation_ratio": 0.1},
    "MEMORY_MB": {
        "total": AMOUNT_MAX,
        "reserved": AMOUNT_MAX,
        "min_unit": AMOUNT_MAX,
        "max_unit": AMOUNT_MAX,
        "step_size": AMOUNT_MAX,
        "allocation_ratio": 3.40282e38,
    },
    "CUSTOM_" + "X" * 248: {
        "total": 1,
        "reserved": 0,
        "min_unit": 1,
        "max_unit": 1,
        "step_size": 1,
        "allocation_ratio": 5e-324,
    },
    "DISK_GB": {
        "total": 7,
        "reserved": 0,
        "min_unit": 1,
        "max_unit": AMOUNT_MAX,
        "step_size": 1,
        "allocation_ratio": 16.0,
    },
}


async def record_of(decider: Decider, *commands: Command) -> Json:
    """Decide the commands in one batch, and return the record that the last one's event shows."""
    last = outcomes(await decider.decide(commands))[-1]
    assert isinstance(last, Succeeded), last
    return last.record or {}


async def get(pool: Pool, provider: str) -> Answer:
    return await read(pool, "provider.get", provider, NoFilters())


def pairs(rows: list[asyncpg.Record]) -> dict[str, str]:
    """Rows of two columns as a dictionary."""
    return {str(first): str(second) for first, second in rows}


async def listed(pool: Pool, **filters: Any) -> list[str]:
    """The ids of a list, which must fit onto its page."""
    answer = await read(pool, "provider.list", "", ProviderList(**filters))
    assert not isinstance(answer, QueryError)
    assert answer["next"] is None
    return [record["id"] for record in answer["records"]]


async def full(decider: Decider) -> tuple[str, str, Json]:
    """A root, and a provider below it that has something in every field: its record."""
    root, provider = new_id(), new_id()
    aggregates = [new_id(), new_id()]
    record = await record_of(
        decider,
        create_provider(root),
        create_provider(provider, "Rechner é😀 \\ \"'", parent_id=root),
        provider_command("set_inventories", provider, expected_generation=0, inventories=INVENTORIES),
        provider_command("set_traits", provider, expected_generation=1, traits=["HW_NIC_SRIOV", "CUSTOM_A"]),
        provider_command("set_aggregates", provider, expected_generation=2, aggregates=aggregates),
    )
    expected = {"inventories": INVENTORIES, "aggregates": sorted(aggregates), "traits": ["CUSTOM_A", "HW_NIC_SRIOV"]}
    assert record == record | expected
    return root, provider, record


async def test_every_field_comes_back_as_it_was_decided(decider: Decider, pool: Pool) -> None:
    root, provider, record = await full(decider)
    assert await get(pool, provider) == {"record": record, "sequence": 4}
    assert record["root_id"] == record["parent_id"] == root
    assert record["name"] == "Rechner é😀 \\ \"'"
    page = await read(pool, "provider.list", "", ProviderList(name=record["name"]))
    assert page == {"records": [record], "next": None}
    # The next batch sees it the same way.
    [conflict] = outcomes(await decider.decide([delete_provider(provider, 7)]))
    assert isinstance(conflict, Conflict)
    assert conflict.current == record
    # Types too: a ratio of 16 is a number with a point, in events as in reads.
    answer = await get(pool, provider)
    assert not isinstance(answer, QueryError)
    assert json.dumps(answer["record"], sort_keys=True) == json.dumps(record, sort_keys=True)


async def test_inventories_are_written_one_by_one(decider: Decider, pool: Pool, second: Connection) -> None:
    _, provider, record = await full(decider)
    versions = "SELECT resource_class, xmin::text FROM inventories WHERE provider_id = $1"
    before = pairs(await second.fetch(versions, provider))
    await record_of(decider, provider_command("put_inventory", provider, expected_generation=3))
    after = pairs(await second.fetch(versions, provider))
    assert {name for name in before if before[name] != after[name]} == {"VCPU"}
    last = await record_of(decider, provider_command("delete_inventory", provider, expected_generation=4))
    assert last["inventories"] == {name: kept for name, kept in record["inventories"].items() if name != "VCPU"}
    assert await get(pool, provider) == {"record": last, "sequence": 6}


async def test_inventory_that_is_put_and_deleted_in_one_batch_leaves_nothing(decider: Decider, pool: Pool) -> None:
    _, provider, record = await full(decider)
    last = await record_of(
        decider,
        provider_command("delete_inventory", provider, expected_generation=3),
        provider_command("put_inventory", provider, expected_generation=4, resource_class="VGPU"),
        provider_command("delete_inventory", provider, expected_generation=5, resource_class="VGPU"),
        provider_command(
            "put_inventory", provider, expected_generation=6, inventory=record["inventories"]["VCPU"] | {"reserved": 1}
        ),
    )
    assert sorted(last["inventories"]) == sorted(record["inventories"])
    assert await get(pool, provider) == {"record": last, "sequence": 8}


async def test_deleted_provider_leaves_a_tombstone_without_a_name_and_without_inventories(
    decider: Decider, pool: Pool, second: Connection
) -> None:
    root, provider, _ = await full(decider)
    await record_of(decider, delete_provider(provider, 3), delete_provider(root, 0))
    answer = await get(pool, provider)
    assert isinstance(answer, QueryError)
    assert answer.code is Code.NOT_FOUND
    assert await listed(pool) == await listed(pool, in_tree=provider) == await listed(pool, in_tree=root) == []
    rows = await second.fetch("SELECT deleted, parent_id, traits, aggregates FROM providers")
    assert [tuple(row) for row in rows] == [(True, None, [], [])] * 2
    assert await second.fetchval("SELECT count(*) FROM inventories") == 0
    assert await second.fetchval("SELECT count(*) FROM names") == 0
    history = await read(pool, "record.history", provider, RecordHistory(kind="provider"))
    assert not isinstance(history, QueryError)
    assert [(row["sequence"], row["token"], row["type"]) for row in history["records"]] == [
        (1, {"generation": 0}, "provider.create"),
        (2, {"generation": 1}, "provider.set_inventories"),
        (3, {"generation": 2}, "provider.set_traits"),
        (4, {"generation": 3}, "provider.set_aggregates"),
        (5, {"generation": 4}, "provider.delete"),
    ]


async def test_provider_created_again_goes_on_from_its_tombstone(decider: Decider, pool: Pool) -> None:
    root, provider, _ = await full(decider)
    await record_of(decider, delete_provider(provider, 3))
    record = await record_of(decider, create_provider(provider, "again", parent_id=root))
    assert (record["generation"], record["inventories"], record["traits"], record["aggregates"]) == (5, {}, [], [])
    assert await get(pool, provider) == {"record": record, "sequence": 6}


async def test_provider_deleted_and_created_again_in_one_batch_keeps_no_inventory(
    decider: Decider, pool: Pool, second: Connection
) -> None:
    _, provider, _ = await full(decider)
    again = [
        delete_provider(provider, 3),
        create_provider(provider, "again"),
        provider_command("put_inventory", provider, expected_generation=5, resource_class="VCPU"),
    ]
    record = await record_of(decider, *again)
    assert list(record["inventories"]) == ["VCPU"]
    assert await get(pool, provider) == {"record": record, "sequence": 7}
    assert await second.fetchval("SELECT count(*) FROM inventories") == 1


async def test_names_swapped_in_one_batch_are_swapped(decider: Decider, pool: Pool) -> None:
    one, other = new_id(), new_id()
    await record_of(decider, create_provider(one, "red"), create_provider(other, "blue"))
    await record_of(
        decider, rename_provider(one, 0, "free"), rename_provider(other, 0, "red"), rename_provider(one, 1, "blue")
    )
    assert await listed(pool, name="red") == [other]
    assert await listed(pool, name="blue") == [one]
    assert await listed(pool, name="free") == []


async def test_name_freed_in_a_batch_is_taken_in_it(decider: Decider, pool: Pool) -> None:
    old, new = new_id(), new_id()
    await record_of(decider, create_provider(old, "wanted"))
    await record_of(decider, delete_provider(old, 0), create_provider(new, "wanted"))
    assert await listed(pool, name="wanted") == [new]


async def test_move_takes_all_below_along_and_touches_one_row(decider: Decider, pool: Pool, second: Connection) -> None:
    top, middle, leaf, other = (new_id() for _ in range(4))
    await record_of(
        decider,
        create_provider(top),
        create_provider(middle, parent_id=top),
        create_provider(leaf, parent_id=middle),
        create_provider(other),
    )
    before = pairs(await second.fetch("SELECT id::text, xmin::text FROM providers"))
    await record_of(decider, move_provider(middle, 0, other))
    after = pairs(await second.fetch("SELECT id::text, xmin::text FROM providers"))
    assert {provider for provider in before if before[provider] != after[provider]} == {middle}
    answer = await get(pool, leaf)
    assert not isinstance(answer, QueryError)
    assert (answer["record"]["root_id"], answer["record"]["generation"], answer["sequence"]) == (other, 0, 1)
    assert await listed(pool, in_tree=leaf) == sorted([other, middle, leaf])
    assert await listed(pool, in_tree=top) == [top]


@pytest.fixture
async def shelf(decider: Decider) -> dict[str, str]:
    """Two trees, with traits and aggregates: the ids by name."""
    ids = {name: new_id() for name in ("a", "a1", "a2", "b", "b1", "gone", "zone", "rack")}
    parents = {"a1": "a", "a2": "a1", "b1": "b"}
    traits = {"a": ["CUSTOM_X"], "a1": ["CUSTOM_X", "CUSTOM_Y"], "b": ["CUSTOM_Y"], "gone": ["CUSTOM_X"]}
    aggregates = {"a": ["zone"], "a2": ["zone", "rack"], "b1": ["rack"], "gone": ["zone"]}
    commands = []
    for name in ("a", "a1", "a2", "b", "b1", "gone"):
        parent = ids[parents[name]] if name in parents else None
        commands += [
            create_provider(ids[name], name, parent_id=parent),
            provider_command("set_traits", ids[name], expected_generation=0, traits=traits.get(name, [])),
            provider_command(
                "set_aggregates",
                ids[name],
                expected_generation=1,
                aggregates=[ids[aggregate] for aggregate in aggregates.get(name, [])],
            ),
        ]
    await decider.decide([*commands, delete_provider(ids["gone"], 2)])
    return ids


FILTERS: list[tuple[Json, str]] = [
    ({}, "a a1 a2 b b1"),
    ({"name": "a1"}, "a1"),
    ({"name": "gone"}, ""),
    ({"name": "A"}, ""),
    ({"in_tree": "a"}, "a a1 a2"),
    ({"in_tree": "a2"}, "a a1 a2"),
    ({"in_tree": "b1"}, "b b1"),
    ({"in_tree": "gone"}, ""),
    ({"in_tree": "zone"}, ""),
    ({"member_of": "zone"}, "a a2"),
    ({"member_of": "rack"}, "a2 b1"),
    ({"member_of": "a"}, ""),
    ({"required": ["CUSTOM_X"]}, "a a1"),
    ({"required": ["CUSTOM_X", "CUSTOM_Y"]}, "a1"),
    ({"required": ["CUSTOM_X", "CUSTOM_Z"]}, ""),
    ({"required": []}, "a a1 a2 b b1"),
    ({"in_tree": "a", "required": ["CUSTOM_Y"]}, "a1"),
    ({"in_tree": "b", "member_of": "rack"}, "b1"),
    ({"name": "a", "in_tree": "b"}, ""),
    ({"name": "a", "in_tree": "a1", "member_of": "zone", "required": ["CUSTOM_X"]}, "a"),
]


async def test_list_holds_what_passes_every_filter(pool: Pool, shelf: dict[str, str]) -> None:
    for filters, expected in FILTERS:
        ids = {name: shelf[value] for name, value in filters.items() if name in ("in_tree", "member_of")}
        assert await listed(pool, **filters | ids) == sorted(shelf[name] for name in expected.split()), filters


async def test_list_comes_in_pages_that_hold_everything_once(database_url: str, shelf: dict[str, str]) -> None:
    async with await open_pool(database_url, size=1, timeout_s=20, plans=READING_PLANS) as reading:
        seen, after = [], None
        for size in (2, 2, 1):
            answer = await read(reading, "provider.list", "", ProviderList(limit=2, after=after))
            assert not isinstance(answer, QueryError)
            assert len(answer["records"]) == size
            seen += [record["id"] for record in answer["records"]]
            after = answer["next"]
        assert after is None
        assert seen == sorted(shelf[name] for name in ("a", "a1", "a2", "b", "b1"))


async def test_list_and_get_show_the_same(pool: Pool, shelf: dict[str, str]) -> None:
    answer = await read(pool, "provider.list", "", ProviderList())
    assert not isinstance(answer, QueryError)
    for record in answer["records"]:
        assert await get(pool, record["id"]) == {"record": record, "sequence": 3}
    assert {record["name"]: record["root_id"] for record in answer["records"]} == {
        name: shelf[name[0]] for name in ("a", "a1", "a2", "b", "b1")
    }


@pytest.mark.parametrize("query", ["provider.get", "provider.list"])
async def test_text_that_is_no_uuid_is_no_id_and_no_cursor(pool: Pool, query: str) -> None:
    filters = NoFilters() if query == "provider.get" else ProviderList(after="no uuid")
    with pytest.raises(ValueError, match=r"pattern|after: is not the next of any page"):
        await read(pool, query, "no uuid", filters)


@pytest.mark.parametrize(("kind", "other"), [("document", "provider"), ("provider", "document")])
async def test_same_id_of_another_kind_is_another_record(decider: Decider, pool: Pool, kind: Kind, other: Kind) -> None:
    record = new_id()
    commands = {"document": put(record, None), "provider": create_provider(record)}
    await decider.decide([commands[kind]])
    assert isinstance(await read(pool, f"{other}.get", record, NoFilters()), QueryError)
    [outcome] = outcomes(await decider.decide([commands[other]]))
    assert isinstance(outcome, Succeeded)
    assert outcome.token == GenerationToken(generation=0)
