"""What providers have: inventories, traits and aggregates, how each is changed, and which values are invalid."""

from typing import Any

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.providers import Inventory
from tests.support.factories import Json, accepted, decided, key, new_id, refused_command, turned_down
from tests.support.provider_factories import (
    AMOUNT_MAX,
    INVENTORY,
    below,
    forest,
    provider_at,
    provider_command,
    provider_of,
    shown,
)

DEFAULTS: Json = {"reserved": 0, "min_unit": 1, "max_unit": AMOUNT_MAX, "step_size": 1, "allocation_ratio": 1.0}


def test_set_inventories_replaces_all_and_fills_in_defaults() -> None:
    provider = provider_at(7)
    inventories = {"MEMORY_MB": {"total": 4096}, "VCPU": INVENTORY}
    sent = provider_command("set_inventories", provider.id, expected_generation=7, inventories=inventories)
    state = forest(provider)
    verdict = accepted(state, sent)
    expected = {"MEMORY_MB": {"total": 4096} | DEFAULTS, "VCPU": INVENTORY}
    assert verdict.record == shown(provider, generation=8, inventories=expected)
    assert provider_of(state, provider.id).inventories["MEMORY_MB"].max_unit == AMOUNT_MAX


def test_set_inventories_to_none_removes_all() -> None:
    provider = provider_at(7)
    verdict = accepted(forest(provider), provider_command("set_inventories", provider.id, expected_generation=7))
    assert verdict.record == shown(provider, generation=8, inventories={})


@pytest.mark.parametrize("resource_class", ["VCPU", "DISK_GB", "CUSTOM_NEW"])
def test_put_inventory_adds_or_replaces_one_and_keeps_the_rest(resource_class: str) -> None:
    provider = provider_at(7)
    data = {"resource_class": resource_class, "inventory": {"total": 5}}
    verdict = accepted(forest(provider), provider_command("put_inventory", provider.id, expected_generation=7, **data))
    assert verdict.record is not None
    assert verdict.record["inventories"] == shown(provider)["inventories"] | {resource_class: {"total": 5} | DEFAULTS}


def test_put_inventory_takes_no_amount_from_the_inventory_before() -> None:
    provider = provider_at(7, inventories={"VCPU": Inventory(**INVENTORY)})
    verdict = accepted(forest(provider), provider_command("put_inventory", provider.id, expected_generation=7))
    assert verdict.record == shown(provider, generation=8, inventories={"VCPU": {"total": 8} | DEFAULTS})


def test_delete_inventory_removes_one_and_keeps_the_rest() -> None:
    provider = provider_at(7)
    verdict = accepted(forest(provider), provider_command("delete_inventory", provider.id, expected_generation=7))
    kept = {"CUSTOM_GOLD": {"total": 1} | DEFAULTS}
    assert verdict.record == shown(provider, generation=8, inventories=kept)


@pytest.mark.parametrize("resource_class", ["DISK_GB", "CUSTOM_NEW", "NOPE"])
def test_inventory_that_is_not_there_is_not_deleted(resource_class: str) -> None:
    provider = provider_at(7)
    state = forest(provider)
    data = {"expected_generation": 7, "resource_class": resource_class}
    verdict = turned_down(state, provider_command("delete_inventory", provider.id, **data))
    assert (verdict.code, verdict.sequence) == (Code.NO_INVENTORY, 8)
    assert resource_class in verdict.message
    assert state.records == {key(provider): provider}


def test_inventory_of_the_parent_is_no_inventory_of_the_child() -> None:
    root = provider_at(0)
    leaf = below(root, 7, inventories={})
    sent = provider_command("delete_inventory", leaf.id, expected_generation=7)
    assert turned_down(forest(root, leaf), sent).code is Code.NO_INVENTORY


@pytest.mark.parametrize("name", ["VCPUS", "CUSTOMS_X", "CUSTOM_", "X_CUSTOM_Y", "HW_CPU_X86_AVX2"])
def test_unknown_resource_class_is_not_taken(name: str) -> None:
    provider = provider_at(7)
    for sent in (
        provider_command("put_inventory", provider.id, expected_generation=7, resource_class=name),
        provider_command(
            "set_inventories",
            provider.id,
            expected_generation=7,
            inventories={"VCPU": {"total": 1}, name: {"total": 1}},
        ),
    ):
        state = forest(provider)
        verdict = turned_down(state, sent)
        assert (verdict.code, verdict.sequence) == (Code.UNKNOWN_RESOURCE_CLASS, 8)
        assert name in verdict.message
        assert verdict.command == sent.echo
        assert state.records == {key(provider): provider}


def test_inventory_of_a_class_that_is_no_longer_known_does_not_stop_another_one() -> None:
    """The standard names come from a package, whose next release may know fewer."""
    provider = provider_at(7, inventories={"ONCE_STANDARD": Inventory(total=1)})
    verdict = accepted(forest(provider), provider_command("put_inventory", provider.id, expected_generation=7))
    assert verdict.record is not None
    assert sorted(verdict.record["inventories"]) == ["ONCE_STANDARD", "VCPU"]


def test_set_traits_replaces_all_and_shows_them_sorted() -> None:
    provider = provider_at(7)
    traits = ["HW_NIC_SRIOV", "CUSTOM_B", "CUSTOM_A"]
    verdict = accepted(
        forest(provider), provider_command("set_traits", provider.id, expected_generation=7, traits=traits)
    )
    assert verdict.record == shown(provider, generation=8, traits=["CUSTOM_A", "CUSTOM_B", "HW_NIC_SRIOV"])


@pytest.mark.parametrize("name", ["HW_CPU_X86_AVX3", "CUSTOM_", "CUSTOMS_X", "VCPU"])
def test_unknown_trait_is_not_taken(name: str) -> None:
    provider = provider_at(7)
    state = forest(provider)
    sent = provider_command("set_traits", provider.id, expected_generation=7, traits=["CUSTOM_A", name])
    verdict = turned_down(state, sent)
    assert (verdict.code, verdict.sequence) == (Code.UNKNOWN_TRAIT, 8)
    assert name in verdict.message
    assert "CUSTOM_A" not in verdict.message
    assert state.records == {key(provider): provider}


def test_set_aggregates_replaces_all_and_shows_them_sorted_in_lower_case() -> None:
    provider = provider_at(7)
    aggregates = sorted(new_id() for _ in range(3))
    data = {"expected_generation": 7, "aggregates": [aggregate.upper() for aggregate in reversed(aggregates)]}
    verdict = accepted(forest(provider), provider_command("set_aggregates", provider.id, **data))
    assert verdict.record == shown(provider, generation=8, aggregates=aggregates)


@pytest.mark.parametrize("verb", ["set_traits", "set_aggregates"])
def test_empty_list_removes_all(verb: str) -> None:
    provider = provider_at(7)
    emptied = verb.removeprefix("set_")
    verdict = accepted(forest(provider), provider_command(verb, provider.id, expected_generation=7))
    assert verdict.record == shown(provider, generation=8, **{emptied: []})


AGGREGATE = "7d2f0c2e-3b1a-4f7e-9d5c-0242ac120002"
TWICE = [
    ("set_traits", {"traits": ["CUSTOM_A", "CUSTOM_B", "CUSTOM_A"]}),
    ("set_aggregates", {"aggregates": [AGGREGATE, AGGREGATE]}),
    ("set_aggregates", {"aggregates": [AGGREGATE, AGGREGATE.upper()]}),
]


@pytest.mark.parametrize(("verb", "data"), TWICE)
def test_list_that_names_something_twice_is_invalid(verb: str, data: Json) -> None:
    refusal = refused_command(f"provider.{verb}", new_id(), {"expected_generation": 0} | data).data
    assert getattr(refusal, "code", None) is Code.INVALID_DATA


VALID: list[Json] = [
    {"total": 1},
    {"total": AMOUNT_MAX, "reserved": AMOUNT_MAX, "min_unit": AMOUNT_MAX, "max_unit": AMOUNT_MAX},
    {"total": 5, "reserved": 5},
    {"total": 5, "step_size": AMOUNT_MAX},
    {"total": 5, "max_unit": 10},
    {"total": 5, "allocation_ratio": 16},
    {"total": 5, "allocation_ratio": 0.0625},
    {"total": 5, "allocation_ratio": 3.40282e38},
]


@pytest.mark.parametrize("inventory", VALID)
def test_inventory_within_bounds_is_taken_as_it_is(inventory: Json) -> None:
    provider = provider_at(0)
    sent = provider_command("put_inventory", provider.id, expected_generation=0, inventory=inventory)
    verdict = accepted(forest(provider), sent)
    assert verdict.record is not None
    assert verdict.record["inventories"]["VCPU"] == DEFAULTS | inventory
    assert isinstance(verdict.record["inventories"]["VCPU"]["allocation_ratio"], float)


INVALID: list[Any] = [
    {},
    {"total": 0},
    {"total": -1},
    {"total": AMOUNT_MAX + 1},
    {"total": None},
    {"total": 1.0},
    {"total": "1"},
    {"total": True},
    {"total": 5, "reserved": 6},
    {"total": 5, "reserved": -1},
    {"total": 5, "min_unit": 0},
    {"total": 5, "max_unit": 0},
    {"total": 5, "max_unit": AMOUNT_MAX + 1},
    {"total": 5, "step_size": 0},
    {"total": 5, "allocation_ratio": 0},
    {"total": 5, "allocation_ratio": -1.0},
    {"total": 5, "allocation_ratio": 3.5e38},
    {"total": 5, "allocation_ratio": "1.5"},
    {"total": 5, "allocation_ratio": True},
    {"total": 5, "unknown": 1},
    5,
    None,
]


@pytest.mark.parametrize("inventory", INVALID)
def test_inventory_out_of_bounds_is_invalid(inventory: Any) -> None:
    for verb, data in (
        ("put_inventory", {"resource_class": "VCPU", "inventory": inventory}),
        ("set_inventories", {"inventories": {"VCPU": inventory}}),
    ):
        refusal = refused_command(f"provider.{verb}", new_id(), {"expected_generation": 0} | data).data
        assert getattr(refusal, "code", None) is Code.INVALID_DATA


@pytest.mark.parametrize("name", ["", "vcpu", "VCPU ", "VCPU\n", "V-CPU", "ÉCLAIR", "X" * 256, "CUSTOM_" + "X" * 249])
def test_name_that_no_class_and_no_trait_can_have_is_invalid(name: str) -> None:
    for verb, data in (
        ("put_inventory", {"resource_class": name, "inventory": {"total": 1}}),
        ("set_inventories", {"inventories": {name: {"total": 1}}}),
        ("delete_inventory", {"resource_class": name}),
        ("set_traits", {"traits": [name]}),
    ):
        refusal = refused_command(f"provider.{verb}", new_id(), {"expected_generation": 0} | data).data
        assert getattr(refusal, "code", None) is Code.INVALID_DATA


def test_custom_name_of_255_characters_is_taken() -> None:
    provider, name = provider_at(0), "CUSTOM_" + "X" * 248
    accepted(
        forest(provider),
        provider_command("put_inventory", provider.id, expected_generation=0, resource_class=name),
        provider_command("set_traits", provider.id, expected_generation=1, traits=[name]),
    )


@pytest.mark.parametrize("aggregate", ["", "no uuid", AGGREGATE.replace("-", ""), f"{{{AGGREGATE}}}", 1, None])
def test_aggregate_that_is_no_uuid_is_invalid(aggregate: Any) -> None:
    data = {"expected_generation": 0, "aggregates": [aggregate]}
    refusal = refused_command("provider.set_aggregates", new_id(), data).data
    assert getattr(refusal, "code", None) is Code.INVALID_DATA


def test_several_changes_of_one_batch_build_on_one_another() -> None:
    provider = provider_at(0, inventories={}, traits=frozenset(), aggregates=frozenset())
    state = forest(provider)
    commands = [
        provider_command("put_inventory", provider.id, expected_generation=0, resource_class="VCPU"),
        provider_command("put_inventory", provider.id, expected_generation=1, resource_class="DISK_GB"),
        provider_command("delete_inventory", provider.id, expected_generation=2, resource_class="VCPU"),
        provider_command("set_traits", provider.id, expected_generation=3, traits=["CUSTOM_A"]),
        provider_command("set_aggregates", provider.id, expected_generation=4, aggregates=[AGGREGATE]),
        provider_command("update", provider.id, expected_generation=5, name="new"),
    ]
    for command in commands:
        decided(state, command)
    record = provider_of(state, provider.id)
    assert (record.generation, record.provider_name) == (6, "new")
    assert sorted(record.inventories) == ["DISK_GB"]
    assert record.traits == {"CUSTOM_A"}
    assert record.aggregates == {AGGREGATE}
