"""Batches about providers, inventories, consumers and allocations look everything up by key, whatever their size.

At full size (large_database.py) each statement touches 3 to 28 pages for each row, for 1, 100 and 500 of them.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import asyncpg
import pytest

from genlock.service.database.statements import statement_files
from genlock.service.database.transactions import DECIDING_PLANS
from genlock.service.deciding.limits import SEVERAL
from tests.support.database import Connection
from tests.support.large_database import named, prepared_plan

Columns = list[Sequence[Any]]
Arguments = Sequence[Sequence[Any] | int]


def consumers(count: int) -> list[str]:
    return [named(f"consumer {7 * number}") for number in range(count)]


def providers(count: int) -> list[str]:
    """The providers that these consumers have something of."""
    return [named(f"provider {7 * number}") for number in range(count)]


def strangers(count: int) -> list[str]:
    return [named(f"stranger {number}") for number in range(count)]


def _every_other(count: int) -> list[bool]:
    return [number % 2 == 0 for number in range(count)]


def _maker(count: int) -> Columns:
    return [
        [named("command")] * count,
        ["x"] * count,
        ["/tests"] * count,
        ["2026-03-01T12:00:00.000000Z"] * count,
        ["user"] * count,
    ]


def _provider_rows(ids: list[str], generation: int) -> Columns:
    n = len(ids)
    known: Columns = [
        ids,
        [generation] * n,
        [generation + 1] * n,
        ids,
        [None] * n,
        ["CUSTOM_A"] * n,
        [ids[0]] * n,
        [False] * n,
    ]
    return [*known, *_maker(n), ["VCPU:640:0:1:64:1:3ff0000000000000"] * n]


def _consumer_rows(ids: list[str], generation: int) -> Columns:
    n = len(ids)
    known: Columns = [ids, [generation] * n, [generation] * n, ["p"] * n, ["u"] * n, [None] * n, [False] * n]
    return [*known, *_maker(n), [f"{ids[0]}:VCPU:1"] * n]


def _inventory_rows(ids: list[str], name: str) -> Columns:
    n = len(ids)
    return [ids, [name] * n, [640] * n, [0] * n, [1] * n, [64] * n, [1] * n, [1.0] * n]


BATCHES: dict[str, tuple[Callable[[int], Arguments], set[str], int]] = {
    "lock_providers": (lambda n: [providers(n), SEVERAL.bytes], {"providers_pkey"}, 6),
    "share_providers": (lambda n: [providers(n), _every_other(n), SEVERAL.bytes], {"providers_pkey"}, 12),
    "find_locked_providers": (lambda n: [providers(n), providers(n)], {"providers_pkey"}, 24),
    "find_ancestors": (lambda n: [providers(n)], {"providers_pkey"}, 14),
    "find_children": (lambda n: [providers(n)], {"providers_parent"}, 6),
    # They are counted before they are read.
    "find_inventories": (lambda n: [providers(n), SEVERAL.rows], {"inventories_pkey"}, 8),
    "insert_providers": (lambda n: _provider_rows(strangers(n), 0), set(), 60),
    "update_providers": (lambda n: [*_provider_rows(providers(n), 1), [0] * n], {"providers_pkey"}, 80),
    "insert_inventories": (lambda n: [*_inventory_rows(strangers(n), "VCPU"), [0] * n], set(), 20),
    "update_inventories": (
        lambda n: [*_inventory_rows(providers(n), "VGPU"), [1] * n, [0] * n, [True] * n],
        {"inventories_pkey"},
        24,
    ),
    "delete_inventories": (lambda n: [providers(n), ["VGPU"] * n, [0] * n], {"inventories_pkey"}, 6),
    "lock_consumers": (lambda n: [consumers(n)], {"consumers_pkey"}, 6),
    "share_consumers": (lambda n: [consumers(n), _every_other(n)], {"consumers_pkey"}, 12),
    "find_locked_consumers": (lambda n: [consumers(n), consumers(n)], {"consumers_pkey"}, 24),
    "insert_consumers": (lambda n: _consumer_rows(strangers(n), 1), set(), 20),
    "update_consumers": (lambda n: [*_consumer_rows(consumers(n), 2), [1] * n], {"consumers_pkey"}, 20),
    "find_allocations": (lambda n: [consumers(n), SEVERAL.rows], {"allocations_pkey"}, 6),
    "find_allocated_providers": (lambda n: [consumers(n), SEVERAL.rows], {"allocations_pkey"}, 6),
    "put_allocations": (lambda n: [consumers(n), providers(n), ["VCPU"] * n, [9] * n], set(), 20),
    "delete_allocations": (lambda n: [consumers(n), providers(n), ["VCPU"] * n], set(), 8),
    "find_names": (lambda n: [["provider"] * n, providers(n)], {"names_pkey"}, 6),
}
"""The rows of a batch of so many, the indexes that they are looked up with, and the most pages for each of them."""


@pytest.mark.parametrize("rows", [1, 100, 500])
@pytest.mark.parametrize("name", BATCHES)
async def test_batch_touches_what_it_names_and_nothing_else(deciding: Connection, name: str, rows: int) -> None:
    columns, indexes, pages = BATCHES[name]
    plan = await prepared_plan(deciding, name, columns(rows))
    assert plan.whole == set()
    assert indexes <= plan.indexes
    assert plan.pages < 200 + pages * rows


@pytest.fixture
async def early(database_url: str) -> AsyncIterator[Connection]:
    """A connection as deciding uses it, to a database that is empty and was never analysed."""
    connection = await asyncpg.connect(database_url, server_settings=DECIDING_PLANS)
    yield connection
    await connection.close()


@pytest.mark.parametrize("name", [name for name, (_, indexes, _) in BATCHES.items() if indexes])
async def test_plan_made_for_empty_tables_looks_rows_up_by_key(early: Connection, name: str) -> None:
    """A pool prepares its statements when the service is new, and keeps their plans."""
    columns, indexes, _ = BATCHES[name]
    plan = await prepared_plan(early, name, columns(1))
    assert plan.whole == set()
    assert indexes <= plan.indexes


READS = {
    "get_provider",
    "list_providers",
    "find_later_provider",
    "find_scarcest_classes",
    "list_provider_allocations",
    "list_provider_usages",
    "get_consumer",
    "list_project_usages",
}
"""Held to their plans in test_provider_plans.py and test_consumer_plans.py."""

ABOUT = ("provider", "inventor", "ancestors", "children", "consumer", "allocat", "class", "usages")


async def test_every_statement_about_providers_and_consumers_is_planned() -> None:
    assert {name for name in statement_files() if any(word in name for word in ABOUT)} == (BATCHES.keys() | READS) - {
        "find_names"
    }
