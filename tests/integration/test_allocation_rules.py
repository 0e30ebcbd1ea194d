"""One decider and PostgreSQL: each rule about consumers and what they have, with its neighbours in one batch."""

from collections.abc import AsyncIterator, Callable
from typing import TypeAlias

import asyncpg
import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command
from genlock.service.database.transactions import Pool
from tests.allocation_batch import Yard, inventories, open_yard
from tests.allocation_rows import allocated, changes_of, generations, used
from tests.consumer_factories import reshape, set_allocations, set_many, wanted
from tests.factories import merge, new_id, put
from tests.provider_factories import delete_provider, provider_command

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

Made = Callable[[Yard, str, str], Command]
"""Makes a command from the yard, a consumer that has 2 VCPU of each provider, and one that is removed."""

GENERATION = 4
"""Of the other provider, which the command is about as a rule."""


@pytest.fixture
async def yard(pool: Pool, second: Connection) -> AsyncIterator[Yard]:
    """Providers to allocate from; in the end `used` must be what is allocated."""
    async with open_yard(pool, second) as made:
        yield made


def moved(yard: Yard, amount: int) -> dict[str, dict[str, int]]:
    return {yard.other: {"VCPU": amount}}


RULES: dict[str, tuple[Made, str]] = {
    "moved": (lambda yard, there, _: set_allocations(there, 1, moved(yard, 5)), "succeeded"),
    "removed": (lambda _yard, there, _: set_allocations(there, 1, {}), "succeeded"),
    "created again": (lambda yard, _, gone: set_allocations(gone, None, moved(yard, 1)), "succeeded"),
    "swapped": (
        lambda yard, there, gone: set_many({there: wanted(1, {}), gone: wanted(None, moved(yard, 2))}),
        "succeeded",
    ),
    "reshaped": (
        lambda yard, there, _: reshape(
            inventories(yard.other, GENERATION, DISK_GB=8), {there: wanted(1, {yard.other: {"DISK_GB": 8}})}
        ),
        "succeeded",
    ),
    "exists": (lambda yard, there, _: set_allocations(there, None, moved(yard, 1)), Reason.EXISTS),
    "stale": (lambda yard, there, _: set_allocations(there, 0, moved(yard, 1)), Reason.STALE),
    "ahead": (lambda yard, there, _: set_allocations(there, 2, moved(yard, 1)), Reason.AHEAD),
    "missing": (lambda yard, _, gone: set_allocations(gone, 2, moved(yard, 1)), Reason.MISSING),
    "provider stale": (
        lambda yard, there, _: set_allocations(there, 1, moved(yard, 1), {yard.other: 1}),
        Reason.STALE,
    ),
    "provider missing": (
        lambda _yard, there, gone: set_allocations(there, 1, {gone: {"VCPU": 1}}, {gone: 1}),
        Reason.MISSING,
    ),
    "one of many stale": (
        lambda yard, there, _: set_many({new_id(): wanted(None, moved(yard, 1)), there: wanted(0, {})}),
        Reason.STALE,
    ),
    "reshape stale": (lambda yard, there, _: reshape(inventories(yard.one, 1), {there: wanted(1, {})}), Reason.STALE),
    "not found": (lambda _yard, _, gone: set_allocations(gone, None, {}), Code.NOT_FOUND),
    "provider not found": (lambda _yard, there, gone: set_allocations(there, 1, {gone: {"VCPU": 1}}), Code.NOT_FOUND),
    "unknown class": (
        lambda yard, there, _: set_allocations(there, 1, {yard.one: {"CPUS": 1}}),
        Code.UNKNOWN_RESOURCE_CLASS,
    ),
    "no inventory": (lambda yard, there, _: set_allocations(there, 1, {yard.one: {"VGPU": 1}}), Code.NO_INVENTORY),
    "unit": (
        lambda yard, there, _: reshape(
            {
                yard.other: {
                    "expected_generation": GENERATION,
                    "inventories": {"VCPU": {"total": 8, "step_size": 4}},
                }
            },
            {there: wanted(1, moved(yard, 2))},
        ),
        Code.UNIT_CONSTRAINT_VIOLATED,
    ),
    "capacity": (lambda yard, there, _: set_allocations(there, 1, moved(yard, 9)), Code.CAPACITY_EXCEEDED),
    "class in use": (
        lambda yard, _there, _gone: reshape(inventories(yard.other, GENERATION), {}),
        Code.INVENTORY_IN_USE,
    ),
    "inventories in use": (
        lambda yard, _there, _gone: provider_command("set_inventories", yard.other, expected_generation=GENERATION),
        Code.INVENTORY_IN_USE,
    ),
    "inventory in use": (
        lambda yard, _there, _gone: provider_command("delete_inventory", yard.other, expected_generation=GENERATION),
        Code.INVENTORY_IN_USE,
    ),
    "provider in use": (lambda yard, _there, _gone: delete_provider(yard.other, GENERATION), Code.PROVIDER_IN_USE),
    "shrunk": (
        lambda yard, _there, _gone: provider_command(
            "put_inventory", yard.other, expected_generation=GENERATION, inventory={"total": 1}
        ),
        "succeeded",
    ),
}


@pytest.mark.parametrize("rule", RULES)
async def test_command_takes_its_neighbours_neither_up_nor_down(yard: Yard, second: Connection, rule: str) -> None:
    there, gone, before, after, document = (new_id() for _ in range(5))
    await yard.decide(
        set_allocations(there, None, {yard.one: {"VCPU": 2}, yard.other: {"VCPU": 2}}),
        set_allocations(gone, None, moved(yard, 1)),
        put(document, None),
    )
    await yard.decide(set_allocations(gone, 1, {}), provider_command("put_inventory", yard.one, expected_generation=2))
    amounts = {yard.one: {"VCPU": 3}}
    make, expected = RULES[rule]
    untouched = await generations(second)
    assert untouched[yard.other] == GENERATION
    sent = make(yard, there, gone)
    said = await yard.decide(
        set_allocations(before, None, amounts),
        merge(document, {"a": 1}),
        sent,
        set_allocations(after, None, amounts),
        merge(document, {"a": 2}),
    )
    assert said == ["succeeded", "succeeded", expected, "succeeded", "succeeded"]
    found = await allocated(second)
    assert (found[before], found[after]) == (amounts, amounts)
    now = await generations(second)
    changed = await changes_of(second, sent.id)
    if expected == "succeeded":
        assert changed
    else:
        assert changed == {}
        assert found[there] == {yard.one: {"VCPU": 2}, yard.other: {"VCPU": 2}}
        assert (await used(second))[yard.other] == {"VCPU": 2}
    # Each record goes up by one for each command that has changed it, and by no more.
    for record, generation in untouched.items():
        ups = (record in changed) + 2 * (record == yard.one)
        assert now[record] == generation + ups, record
    assert all(now[record] == int(token) or record == yard.one for record, (_, token) in changed.items())
