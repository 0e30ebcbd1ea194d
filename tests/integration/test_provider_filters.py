"""What provider.list lets pass: terms of aggregates and traits, and room for resources; however it is looked for."""

import random
from typing import Any

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.outcomes import Rejected, Succeeded
from genlock.schemas.queries import ProviderList
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.kinds.providers.reads import LIMITS, ListLimits, list_providers
from genlock.service.reading.reads import QueryError
from tests.support.consumer_factories import set_allocations
from tests.support.factories import Json, new_id
from tests.support.harness import outcomes
from tests.support.provider_factories import AMOUNT_MAX, create_provider, delete_provider, provider_command
from tests.support.reads import read

TRAITS = {"a": ["X"], "b": ["X", "Y"], "c": ["Y", "Z"], "d": ["Z"], "e": [], "gone": ["X", "Y", "Z"]}
AGGREGATES = {"a": ["zone"], "b": ["zone", "rack"], "c": ["rack"], "d": ["row"], "e": [], "gone": ["zone", "rack"]}


@pytest.fixture(params=[(0, 1), (1, 10_000), (3, 1), (500, 1)], ids=str)
def limits(request: pytest.FixtureRequest) -> ListLimits:
    """How many providers are looked at before the indexes are asked (none, some, all), and how many are few."""
    walk, few = request.param
    return ListLimits(walk_min=walk, walk_for_each=0, few_providers=few)


@pytest.fixture
async def shelf(decider: Decider) -> dict[str, str]:
    """Providers with traits and aggregates: the ids by name."""
    ids = {name: new_id() for name in (*TRAITS, "zone", "rack", "row", "nowhere")}
    commands = []
    for name, words in TRAITS.items():
        traits = [f"CUSTOM_{word}" for word in words]
        aggregates = [ids[aggregate] for aggregate in AGGREGATES[name]]
        commands += [
            create_provider(ids[name], name),
            provider_command("set_traits", ids[name], expected_generation=0, traits=traits),
            provider_command("set_aggregates", ids[name], expected_generation=1, aggregates=aggregates),
        ]
    await decider.decide([*commands, delete_provider(ids["gone"], 2)])
    return ids


async def listed(pool: Pool, limits: ListLimits = LIMITS, **filters: Any) -> set[str]:
    """The ids of a list, read page by page."""
    seen: list[str] = []
    after = None
    while True:
        answer = await list_providers(pool, "", ProviderList.model_validate(filters | {"after": after}), limits)
        assert not isinstance(answer, QueryError), answer
        seen += [record["id"] for record in answer["records"]]
        after = answer["next"]
        if after is None:
            break
    assert seen == sorted(set(seen))
    return set(seen)


TERMS: list[tuple[Json, str]] = [
    ({"required": ["X"]}, "a b"),
    ({"required": ["X", "Y"]}, "b"),
    ({"required": ["X", "Z"]}, ""),
    ({"required": ["!X"]}, "c d e"),
    ({"required": ["!X", "!Z"]}, "e"),
    ({"required": ["X", "!Y"]}, "a"),
    ({"required": ["X", "!X"]}, ""),
    ({"required": ["in:X"]}, "a b"),
    ({"required": ["in:X,Z"]}, "a b c d"),
    ({"required": ["in:X,Z", "in:Y,W"]}, "b c"),
    ({"required": ["in:X,Z", "in:Y,W", "in:X,W"]}, "b"),
    ({"required": ["in:X,Z", "in:Y,W", "in:W,V"]}, ""),
    ({"required": ["in:X,Z", "Z", "!Y"]}, "d"),
    ({"member_of": "zone"}, "a b"),
    ({"member_of": ["zone"]}, "a b"),
    ({"member_of": []}, "a b c d e"),
    ({"member_of": ["zone", "rack"]}, "b"),
    ({"member_of": "in:zone"}, "a b"),
    ({"member_of": "in:zone,row"}, "a b d"),
    ({"member_of": "in:nowhere,row"}, "d"),
    ({"member_of": ["in:zone,row", "in:rack,row"]}, "b d"),
    ({"member_of": ["in:zone,row", "in:rack,row", "in:row,nowhere"]}, "d"),
    ({"member_of": "!zone"}, "c d e"),
    ({"member_of": "!in:zone"}, "c d e"),
    ({"member_of": "!in:zone,row"}, "c e"),
    ({"member_of": ["!zone", "!row"]}, "c e"),
    ({"member_of": ["rack", "!zone"]}, "c"),
    ({"member_of": ["in:zone,rack", "!in:row,nowhere"], "required": ["in:X,Z", "!W"]}, "a b c"),
    ({"member_of": "rack", "required": ["Y"], "name": "c"}, "c"),
    ({"member_of": "rack", "required": ["!Y"], "in_tree": "c"}, ""),
]


async def test_list_holds_what_all_terms_let_pass(pool: Pool, shelf: dict[str, str], limits: ListLimits) -> None:
    traits = {name: f"CUSTOM_{name}" for name in "VWXYZ"}
    for filters, expected in TERMS:
        meant = filters | {"required": [_spelt(term, traits) for term in filters.get("required", [])]}
        if isinstance(terms := filters.get("member_of", []), str):
            meant["member_of"] = _spelt(terms, shelf)
        else:
            meant["member_of"] = [_spelt(term, shelf).upper().replace("IN:", "in:") for term in terms]
        if "in_tree" in filters:
            meant["in_tree"] = shelf[filters["in_tree"]]
        for limit in (1, 2, 100):
            assert await listed(pool, limits, **meant, limit=limit) == {shelf[name] for name in expected.split()}, (
                filters
            )


def _spelt(term: str, names: dict[str, str]) -> str:
    """A term with the names that stand for those in it."""
    lead = "".join(sign for sign in ("!", "in:") if sign in term)
    return lead + ",".join(names[name] for name in term.removeprefix(lead).split(","))


async def test_no_filter_lets_all_live_providers_pass(pool: Pool, shelf: dict[str, str], limits: ListLimits) -> None:
    assert await listed(pool, limits, limit=2) == {shelf[name] for name in "abcde"}


@pytest.mark.parametrize(
    ("filters", "code", "told"),
    [
        ({"required": ["HW_CPU_X86_AVX9"]}, Code.UNKNOWN_TRAIT, "HW_CPU_X86_AVX"),
        ({"required": ["!NO_SUCH"]}, Code.UNKNOWN_TRAIT, "NO_SUCH"),
        ({"required": ["in:CUSTOM_X,NO_SUCH", "AND_NO_OTHER"]}, Code.UNKNOWN_TRAIT, "AND_NO_OTHER, NO_SUCH"),
        ({"resources": {"VCPUS": 1}}, Code.UNKNOWN_RESOURCE_CLASS, "VCPU"),
        ({"resources": {"VCPU": 1, "CUSTOM_": 1}}, Code.UNKNOWN_RESOURCE_CLASS, "CUSTOM_"),
    ],
)
async def test_name_that_nothing_can_have_is_an_error(pool: Pool, filters: Json, code: Code, told: str) -> None:
    """Placement refuses them too: they are slips, and an empty list would hide them."""
    answer = await read(pool, "provider.list", "", ProviderList.model_validate(filters))
    assert isinstance(answer, QueryError)
    assert answer.code is code
    assert told in answer.message


async def stocked(decider: Decider, inventories: Json, used: dict[str, int] | None = None) -> str:
    """A provider with these inventories, of which so much is used."""
    provider = new_id()
    commands = [
        create_provider(provider),
        provider_command("set_inventories", provider, expected_generation=0, inventories=inventories),
    ]
    if used:
        commands.append(set_allocations(new_id(), None, {provider: used}))
    answers = outcomes(await decider.decide(commands))
    assert all(isinstance(outcome, Succeeded) for outcome in answers), answers[-1]
    return provider


ROOM: list[tuple[Json, int, list[int], list[int]]] = [
    ({"total": 8}, 0, [1, 7, 8], [9, AMOUNT_MAX]),
    ({"total": 8}, 5, [1, 2, 3], [4, 8]),
    ({"total": 8}, 8, [], [1, 8]),
    ({"total": 8, "reserved": 8}, 0, [], [1]),
    ({"total": 8, "reserved": 1}, 3, [4], [5]),
    ({"total": 8, "max_unit": 3}, 0, [1, 3], [4]),
    ({"total": 8, "min_unit": 3}, 0, [3, 8], [1, 2]),
    ({"total": 8, "step_size": 3}, 0, [3, 6], [1, 2, 4, 8, 9]),
    ({"total": 100, "allocation_ratio": 2.3}, 0, [229], [230]),
    ({"total": 100, "allocation_ratio": 2.3}, 100, [129], [130]),
    ({"total": 3, "allocation_ratio": 0.4}, 0, [1], [2]),
    ({"total": 1, "allocation_ratio": 5e-324}, 0, [], [1]),
    ({"total": AMOUNT_MAX}, 0, [1, AMOUNT_MAX], []),
    ({"total": AMOUNT_MAX, "allocation_ratio": 3.40282e38}, AMOUNT_MAX, [1, AMOUNT_MAX], []),
]
"""An inventory, its usage, amounts that still fit, and amounts that do not."""


async def test_resources_pass_where_they_could_be_served(decider: Decider, pool: Pool, limits: ListLimits) -> None:
    """Each inventory is of a class of its own, on a provider of its own."""
    for number, (inventory, used, fitting, unfit) in enumerate(ROOM):
        name = f"CUSTOM_{number}"
        provider = await stocked(decider, {name: inventory}, {name: used} if used else None)
        for amount in fitting:
            assert await listed(pool, limits, resources={name: amount}) == {provider}, (inventory, used, amount)
        for amount in unfit:
            assert await listed(pool, limits, resources={name: amount}) == set(), (inventory, used, amount)


async def test_all_resources_must_be_there_at_once(decider: Decider, pool: Pool, limits: ListLimits) -> None:
    both = await stocked(decider, {"VCPU": {"total": 4}, "MEMORY_MB": {"total": 64}})
    little = await stocked(decider, {"VCPU": {"total": 4}, "MEMORY_MB": {"total": 8}})
    one = await stocked(decider, {"VCPU": {"total": 4}})
    full = await stocked(decider, {"VCPU": {"total": 4}, "MEMORY_MB": {"total": 64}}, {"VCPU": 4})
    assert await listed(pool, limits, resources={"VCPU": 1}, limit=1) == {both, little, one}
    assert await listed(pool, limits, resources={"VCPU": 1, "MEMORY_MB": 8}, limit=1) == {both, little}
    assert await listed(pool, limits, resources={"MEMORY_MB": 16, "VCPU": 1}, limit=1) == {both}
    assert await listed(pool, limits, resources={"MEMORY_MB": 16}, limit=1) == {both, full}
    assert await listed(pool, limits, resources={"VCPU": 1, "MEMORY_MB": 1, "DISK_GB": 1}, limit=1) == set()
    assert await listed(pool, limits, resources={}, limit=1) == {both, little, one, full}


async def test_room_left_by_a_shrunk_inventory_is_none(decider: Decider, pool: Pool) -> None:
    provider = await stocked(decider, {"VCPU": {"total": 8}}, {"VCPU": 6})
    assert await listed(pool, resources={"VCPU": 2}) == {provider}
    shrink = provider_command("put_inventory", provider, expected_generation=2, inventory={"total": 4})
    await decider.decide([shrink])
    assert await listed(pool, resources={"VCPU": 1}) == set()
    grow = provider_command("put_inventory", provider, expected_generation=3, inventory={"total": 7})
    await decider.decide([grow])
    assert await listed(pool, resources={"VCPU": 1}) == {provider}


@pytest.mark.parametrize("seed", range(3))
async def test_listed_providers_are_those_an_allocation_gets(
    decider: Decider, pool: Pool, seed: int, limits: ListLimits
) -> None:
    """The filter in SQL and the rules in Python say the same of inventories of any kind."""
    chance = random.Random(seed)
    wanted = {"VCPU": chance.randint(1, 12), "MEMORY_MB": chance.choice([1, 64, 100])}
    providers = []
    for _ in range(40):
        inventories = {}
        for name, amount in wanted.items():
            total = chance.randint(amount, 4 * amount)
            inventories[name] = {
                "total": total,
                "reserved": chance.randint(0, total // 3),
                "min_unit": chance.randint(1, amount + 1),
                "max_unit": chance.randint(amount - 1 or 1, 4 * amount),
                "step_size": chance.choice([1, 1, 2, amount]),
                "allocation_ratio": chance.choice([1.0, 0.5, 1.5, chance.uniform(0.3, 3)]),
            }
        provider = await stocked(decider, inventories)
        providers.append(provider)
        # Half of them have usage, if that is allowed.
        if chance.random() < 0.5:
            some = {name: chance.randint(1, amount) for name, amount in wanted.items()}
            await decider.decide([set_allocations(new_id(), None, {provider: some})])
    found = await listed(pool, limits, resources=wanted, limit=7)
    granted = set()
    for provider in providers:
        [outcome] = outcomes(await decider.decide([set_allocations(new_id(), None, {provider: wanted})]))
        assert isinstance(outcome, Succeeded | Rejected)
        if isinstance(outcome, Succeeded):
            granted.add(provider)
    assert found == granted
    assert granted
    assert len(granted) < len(providers)
