"""One decider and PostgreSQL: each rule about consumers and what they have, with its neighbours in one batch."""

from collections.abc import AsyncIterator, Callable

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command
from genlock.service.database.transactions import Pool
from tests.support.allocation_batch import Arena, inventories, open_arena
from tests.support.allocation_rows import allocated, changes_of, generations, used
from tests.support.consumer_factories import reshape, set_allocations, set_many, wanted
from tests.support.database import Connection
from tests.support.factories import merge, new_id, put
from tests.support.provider_factories import delete_provider, provider_command

Made = Callable[[Arena, str, str], Command]
"""Makes a command from the arena, a consumer that has 2 VCPU of each provider, and one that is removed."""

GENERATION = 4
"""Of the other provider, which the command is about as a rule."""


@pytest.fixture
async def arena(pool: Pool, second: Connection) -> AsyncIterator[Arena]:
    """Providers to allocate from; in the end `used` must equal the sum of the allocations."""
    async with open_arena(pool, second) as made:
        yield made


def moved(arena: Arena, amount: int) -> dict[str, dict[str, int]]:
    return {arena.other: {"VCPU": amount}}


RULES: dict[str, tuple[Made, str]] = {
    "moved": (lambda arena, there, _: set_allocations(there, 1, moved(arena, 5)), "succeeded"),
    "removed": (lambda _arena, there, _: set_allocations(there, 1, {}), "succeeded"),
    "created again": (lambda arena, _, gone: set_allocations(gone, None, moved(arena, 1)), "succeeded"),
    "swapped": (
        lambda arena, there, gone: set_many({there: wanted(1, {}), gone: wanted(None, moved(arena, 2))}),
        "succeeded",
    ),
    "reshaped": (
        lambda arena, there, _: reshape(
            inventories(arena.other, GENERATION, DISK_GB=8), {there: wanted(1, {arena.other: {"DISK_GB": 8}})}
        ),
        "succeeded",
    ),
    "exists": (lambda arena, there, _: set_allocations(there, None, moved(arena, 1)), Reason.EXISTS),
    "stale": (lambda arena, there, _: set_allocations(there, 0, moved(arena, 1)), Reason.STALE),
    "ahead": (lambda arena, there, _: set_allocations(there, 2, moved(arena, 1)), Reason.AHEAD),
    "missing": (lambda arena, _, gone: set_allocations(gone, 2, moved(arena, 1)), Reason.MISSING),
    "provider stale": (
        lambda arena, there, _: set_allocations(there, 1, moved(arena, 1), {arena.other: 1}),
        Reason.STALE,
    ),
    "provider missing": (
        lambda _arena, there, gone: set_allocations(there, 1, {gone: {"VCPU": 1}}, {gone: 1}),
        Reason.MISSING,
    ),
    "one of many stale": (
        lambda arena, there, _: set_many({new_id(): wanted(None, moved(arena, 1)), there: wanted(0, {})}),
        Reason.STALE,
    ),
    "reshape stale": (lambda arena, there, _: reshape(inventories(arena.one, 1), {there: wanted(1, {})}), Reason.STALE),
    "not found": (lambda _arena, _, gone: set_allocations(gone, None, {}), Code.NOT_FOUND),
    "provider not found": (lambda _arena, there, gone: set_allocations(there, 1, {gone: {"VCPU": 1}}), Code.NOT_FOUND),
    "unknown class": (
        lambda arena, there, _: set_allocations(there, 1, {arena.one: {"CPUS": 1}}),
        Code.UNKNOWN_RESOURCE_CLASS,
    ),
    "no inventory": (lambda arena, there, _: set_allocations(there, 1, {arena.one: {"VGPU": 1}}), Code.NO_INVENTORY),
    "unit": (
        lambda arena, there, _: reshape(
            {
                arena.other: {
                    "expected_generation": GENERATION,
                    "inventories": {"VCPU": {"total": 8, "step_size": 4}},
                }
            },
            {there: wanted(1, moved(arena, 2))},
        ),
        Code.UNIT_CONSTRAINT_VIOLATED,
    ),
    "capacity": (lambda arena, there, _: set_allocations(there, 1, moved(arena, 9)), Code.CAPACITY_EXCEEDED),
    "class in use": (
        lambda arena, _there, _gone: reshape(inventories(arena.other, GENERATION), {}),
        Code.INVENTORY_IN_USE,
    ),
    "inventories in use": (
        lambda arena, _there, _gone: provider_command("set_inventories", arena.other, expected_generation=GENERATION),
        Code.INVENTORY_IN_USE,
    ),
    "inventory in use": (
        lambda arena, _there, _gone: provider_command("delete_inventory", arena.other, expected_generation=GENERATION),
        Code.INVENTORY_IN_USE,
    ),
    "provider in use": (lambda arena, _there, _gone: delete_provider(arena.other, GENERATION), Code.PROVIDER_IN_USE),
    "shrunk": (
        lambda arena, _there, _gone: provider_command(
            "put_inventory", arena.other, expected_generation=GENERATION, inventory={"total": 1}
        ),
        "succeeded",
    ),
}


@pytest.mark.parametrize("rule", RULES)
async def test_command_takes_its_neighbours_neither_up_nor_down(arena: Arena, second: Connection, rule: str) -> None:
    there, gone, before, after, document = (new_id() for _ in range(5))
    await arena.decide(
        set_allocations(there, None, {arena.one: {"VCPU": 2}, arena.other: {"VCPU": 2}}),
        set_allocations(gone, None, moved(arena, 1)),
        put(document, None),
    )
    await arena.decide(
        set_allocations(gone, 1, {}), provider_command("put_inventory", arena.one, expected_generation=2)
    )
    amounts = {arena.one: {"VCPU": 3}}
    make, expected = RULES[rule]
    untouched = await generations(second)
    assert untouched[arena.other] == GENERATION
    sent = make(arena, there, gone)
    said = await arena.decide(
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
        assert found[there] == {arena.one: {"VCPU": 2}, arena.other: {"VCPU": 2}}
        assert (await used(second))[arena.other] == {"VCPU": 2}
    # Each record goes up by one for each command that has changed it, and by no more.
    for record, generation in untouched.items():
        ups = (record in changed) + 2 * (record == arena.one)
        assert now[record] == generation + ups, record
    assert all(now[record] == int(token) or record == arena.one for record, (_, token) in changed.items())
