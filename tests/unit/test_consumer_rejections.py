"""Rejections of allocations: names, inventories, units and capacity; their order and their messages."""

from typing import Any

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command
from genlock.schemas.faults import ERRORS_MAX
from genlock.schemas.outcomes import RejectedData, Shortage
from genlock.schemas.providers import Inventory
from genlock.service.deciding.state import State
from tests.support.consumer_factories import (
    consumer_at,
    consumer_of,
    placed,
    reshape,
    set_allocations,
    set_many,
    wanted,
    with_room,
)
from tests.support.factories import Json, accepted, conflicting, new_id, turned_down
from tests.support.provider_factories import delete_provider, provider_at, provider_command, provider_of


def refused(state: State, sent: Command) -> RejectedData:
    """Turn the command down, and see that nothing has changed."""
    before = dict(state.records)
    verdict = turned_down(state, sent)
    assert state.records == before
    assert verdict.command == sent.echo
    return verdict


def test_class_that_is_no_class_is_unknown() -> None:
    provider = with_room(VCPU=8)
    verdict = refused(
        placed([provider]), set_allocations(new_id(), None, {provider.id: {"VCPU": 1, "VCPUS": 1, "CUSTOM_": 1}})
    )
    assert verdict.code is Code.UNKNOWN_RESOURCE_CLASS
    assert "VCPUS (did you mean VCPU" in verdict.message
    assert "CUSTOM_" in verdict.message


def test_class_that_the_provider_does_not_have_is_no_inventory() -> None:
    one, other, consumer = with_room(VCPU=8), with_room(VGPU=8), new_id()
    amounts = {one.id: {"VCPU": 1, "VGPU": 1}, other.id: {"CUSTOM_GOLD": 1}}
    verdict = refused(placed([one, other]), set_allocations(consumer, None, amounts))
    assert verdict.code is Code.NO_INVENTORY
    assert [error.path for error in verdict.errors] == [
        f"data.allocations.{one.id}.resources.VGPU",
        f"data.allocations.{other.id}.resources.CUSTOM_GOLD",
    ]
    assert one.id in verdict.message
    assert "VGPU" in verdict.message
    assert verdict.message.endswith("And 1 more.")
    assert verdict.shortages is None


def test_amount_that_does_not_suit_its_inventory_is_refused_however_much_is_free() -> None:
    inventory = Inventory(total=100, min_unit=2, max_unit=8, step_size=2)
    provider, consumer = provider_at(0, inventories={"VCPU": inventory}), new_id()
    verdict = refused(placed([provider]), set_allocations(consumer, None, {provider.id: {"VCPU": 9}}))
    assert verdict.code is Code.UNIT_CONSTRAINT_VIOLATED
    assert [error.path for error in verdict.errors] == [f"data.allocations.{provider.id}.resources.VCPU"]
    assert "max_unit 8" in verdict.message
    assert "step_size 2" in verdict.message


def test_more_than_there_is_is_refused_and_told_with_all_figures() -> None:
    provider = provider_at(0, inventories={"VCPU": Inventory(total=8, reserved=2, allocation_ratio=1.5)})
    neighbour = consumer_at(1, {provider.id: {"VCPU": 7}})
    state, consumer = placed([provider], neighbour), new_id()
    verdict = refused(state, set_allocations(consumer, None, {provider.id: {"VCPU": 3}}))
    assert verdict.code is Code.CAPACITY_EXCEEDED
    assert (verdict.kind, verdict.id, verdict.sequence) == ("consumer", consumer, 0)
    assert verdict.shortages == [Shortage(provider_id=provider.id, resource_class="VCPU", asked=3, used=7, capacity=9)]
    assert [error.path for error in verdict.errors] == [f"data.allocations.{provider.id}.resources.VCPU"]
    accepted(state, set_allocations(consumer, None, {provider.id: {"VCPU": 2}}))


def test_every_shortage_is_told() -> None:
    providers = [with_room(VCPU=4, MEMORY_MB=512) for _ in range(3)]
    amounts = {provider.id: {"VCPU": 5, "MEMORY_MB": 512} for provider in providers}
    amounts[providers[1].id] = {"VCPU": 4, "MEMORY_MB": 513}
    verdict = refused(placed(providers), set_allocations(new_id(), None, amounts))
    assert [(short.provider_id, short.resource_class) for short in verdict.shortages or []] == [
        (providers[0].id, "VCPU"),
        (providers[1].id, "MEMORY_MB"),
        (providers[2].id, "VCPU"),
    ]
    assert len(verdict.errors) == 3
    assert verdict.message.endswith("And 2 more.")


def test_what_the_consumer_has_already_counts_for_it() -> None:
    provider = with_room(VCPU=8)
    consumer = consumer_at(1, {provider.id: {"VCPU": 6}})
    state = placed([provider], consumer)
    verdict = refused(state, set_allocations(consumer.id, 1, {provider.id: {"VCPU": 9}}))
    assert verdict.shortages == [Shortage(provider_id=provider.id, resource_class="VCPU", asked=9, used=0, capacity=8)]
    accepted(state, set_allocations(consumer.id, 1, {provider.id: {"VCPU": 8}}))
    assert provider_of(state, provider.id).used == {"VCPU": 8}


def test_of_two_that_fit_alone_but_not_together_the_first_is_accepted() -> None:
    provider = with_room(VCPU=8)
    state = placed([provider])
    accepted(state, set_allocations(new_id(), None, {provider.id: {"VCPU": 5}}))
    verdict = refused(state, set_allocations(new_id(), None, {provider.id: {"VCPU": 5}}))
    assert [(short.asked, short.used) for short in verdict.shortages or []] == [(5, 5)]


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_inventory_may_shrink_below_its_use_and_has_no_room_from_then_on(ratio: float) -> None:
    provider = with_room(0, VCPU=8)
    big, small = consumer_at(1, {provider.id: {"VCPU": 6}}), consumer_at(1, {provider.id: {"VCPU": 2}})
    state = placed([provider], big, small)
    shrunk = {"total": 4, "allocation_ratio": ratio}
    accepted(state, provider_command("put_inventory", provider.id, expected_generation=0, inventory=shrunk))
    # Neither a new consumer nor an existing one gets more; reducing and moving allocations is always possible.
    refused(state, set_allocations(new_id(), None, {provider.id: {"VCPU": 1}}))
    refused(state, set_allocations(small.id, 1, {provider.id: {"VCPU": 3}}))
    accepted(state, set_allocations(small.id, 1, {provider.id: {"VCPU": 2}}))
    accepted(state, set_allocations(big.id, 1, {provider.id: {"VCPU": 5}}))
    refused(state, set_allocations(big.id, 2, {provider.id: {"VCPU": 6}}))
    accepted(state, set_allocations(big.id, 2, {}))
    assert provider_of(state, provider.id).used == {"VCPU": 2}


def test_overage_of_one_class_does_not_keep_another_from_growing() -> None:
    provider = with_room(VCPU=4, DISK_GB=100)
    consumer = consumer_at(1, {provider.id: {"VCPU": 6}})
    state = placed([provider], consumer)
    accepted(state, set_allocations(consumer.id, 1, {provider.id: {"VCPU": 6, "DISK_GB": 100}}))


def test_amount_that_was_granted_is_refused_when_its_inventory_no_longer_takes_it() -> None:
    provider = with_room(VCPU=8)
    consumer = consumer_at(1, {provider.id: {"VCPU": 3}})
    state = placed([provider], consumer)
    stepped = {"total": 8, "step_size": 2}
    accepted(state, provider_command("put_inventory", provider.id, expected_generation=0, inventory=stepped))
    verdict = refused(state, set_allocations(consumer.id, 1, {provider.id: {"VCPU": 3}}))
    assert verdict.code is Code.UNIT_CONSTRAINT_VIOLATED


# The order of the checks.


def worst(state: State, left: list[str]) -> Command:
    """A reshape with these violations out of all possible ones."""
    [provider_id] = [record.id for record in state.records.values() if record.kind == "provider"]
    provider = provider_of(state, provider_id)
    amounts: Json = {"VCPU": 1}
    if "unit" in left:
        amounts["DISK_GB"] = 3
    if "capacity" in left:
        amounts["MEMORY_MB"] = 1000
    if "no_inventory" in left:
        amounts["VGPU"] = 1
    if "name" in left:
        amounts["NOPE"] = 1
    # The existing consumer uses VCPU.
    kept = {"DISK_GB": {"total": 100, "step_size": 2}, "MEMORY_MB": {"total": 10}}
    if "in_use" in left:
        del amounts["VCPU"]
        amounts["DISK_GB"] = amounts.get("DISK_GB", 2)
    else:
        kept["VCPU"] = {"total": 10}
    expected = provider.generation - ("token" in left)
    asking: Json = {new_id(): wanted(None, {provider_id: amounts})}
    if "existence" in left:
        asking[new_id()] = wanted(None, {})
    return reshape({provider_id: {"expected_generation": expected, "inventories": kept}}, asking)


ORDER: list[tuple[str, Any]] = [
    ("existence", Code.NOT_FOUND),
    ("token", Reason.STALE),
    ("name", Code.UNKNOWN_RESOURCE_CLASS),
    ("in_use", Code.INVENTORY_IN_USE),
    ("no_inventory", Code.NO_INVENTORY),
    ("unit", Code.UNIT_CONSTRAINT_VIOLATED),
    ("capacity", Code.CAPACITY_EXCEEDED),
]


@pytest.mark.parametrize("number", range(len(ORDER)))
def test_checks_are_made_in_the_order_of_the_contract(number: int) -> None:
    provider = provider_at(3, inventories={"VCPU": Inventory(total=10)})
    state = placed([provider], consumer_at(1, {provider.id: {"VCPU": 1}}))
    sent = worst(state, [what for what, _ in ORDER[number:]])
    why = ORDER[number][1]
    if isinstance(why, Reason):
        assert conflicting(state, sent).reason is why
    else:
        assert refused(state, sent).code is why


def test_command_without_any_of_these_violations_is_accepted() -> None:
    provider = provider_at(3, inventories={"VCPU": Inventory(total=10)})
    state = placed([provider], consumer_at(1, {provider.id: {"VCPU": 1}}))
    accepted(state, worst(state, []))


def test_all_violations_of_the_last_picture_are_told_in_the_order_of_the_checks() -> None:
    provider = provider_at(3, inventories={"VCPU": Inventory(total=10)})
    state = placed([provider], consumer_at(1, {provider.id: {"VCPU": 1}}))
    verdict = refused(state, worst(state, ["in_use", "no_inventory", "unit", "capacity"]))
    said = [error.message for error in verdict.errors]
    assert len(said) == 4
    for words, message in zip(("in use", "no inventory", "step_size", "cannot serve"), said, strict=True):
        assert words in message
    assert [short.resource_class for short in verdict.shortages or []] == ["MEMORY_MB"]


def test_rejection_of_hundreds_tells_the_first_hundred_and_how_many_there_are() -> None:
    providers = [with_room(VCPU=1) for _ in range(150)]
    amounts = {provider.id: {"VCPU": 2} for provider in providers}
    for sent in (set_allocations(new_id(), None, amounts), set_many({new_id(): wanted(None, amounts)})):
        verdict = refused(placed(providers), sent)
        assert len(verdict.errors) == len(verdict.shortages or []) == ERRORS_MAX == 100
        assert verdict.message.endswith("And 149 more.")


# Inventories and providers in use.


@pytest.mark.parametrize(
    ("verb", "data"),
    [
        ("set_inventories", {"inventories": {}}),
        ("set_inventories", {"inventories": {"MEMORY_MB": {"total": 1}}}),
        ("delete_inventory", {"resource_class": "VCPU"}),
    ],
)
def test_class_in_use_keeps_its_inventory(verb: str, data: Json) -> None:
    provider = with_room(3, VCPU=8, DISK_GB=8, MEMORY_MB=8)
    consumer = consumer_at(1, {provider.id: {"VCPU": 2, "DISK_GB": 1}})
    state = placed([provider], consumer)
    verdict = refused(state, provider_command(verb, provider.id, expected_generation=3, **data))
    assert verdict.code is Code.INVENTORY_IN_USE
    assert "2 of VCPU are in use" in verdict.message
    # All classes that are in the way are named, and no others.
    assert ("DISK_GB" in verdict.message) == (verb == "set_inventories")
    assert "MEMORY_MB" not in verdict.message
    accepted(state, set_allocations(consumer.id, 1, {}))
    accepted(state, provider_command(verb, provider.id, expected_generation=4, **data))


def test_class_that_is_not_in_use_may_go_while_others_are() -> None:
    provider = with_room(3, VCPU=8, DISK_GB=8)
    state = placed([provider], consumer_at(1, {provider.id: {"VCPU": 2}}))
    accepted(state, provider_command("delete_inventory", provider.id, expected_generation=3, resource_class="DISK_GB"))
    one = {"VCPU": {"total": 1}}
    accepted(state, provider_command("set_inventories", provider.id, expected_generation=4, inventories=one))
    assert provider_of(state, provider.id).used == {"VCPU": 2}


def test_provider_in_use_is_not_deleted() -> None:
    provider = with_room(3, VCPU=8, DISK_GB=8)
    consumer = consumer_at(1, {provider.id: {"VCPU": 2, "DISK_GB": 1}})
    state = placed([provider], consumer)
    verdict = refused(state, delete_provider(provider.id, 3))
    assert verdict.code is Code.PROVIDER_IN_USE
    for word in ("2 of VCPU", "1 of DISK_GB"):
        assert word in verdict.message
    accepted(state, set_allocations(consumer.id, 1, {}), delete_provider(provider.id, 4))


def test_provider_with_children_and_allocations_is_refused_for_its_children() -> None:
    provider = with_room(3, VCPU=8)
    state = placed([provider, provider_at(0, parent_id=provider.id)], consumer_at(1, {provider.id: {"VCPU": 2}}))
    assert refused(state, delete_provider(provider.id, 3)).code is Code.PROVIDER_HAS_CHILDREN


def test_provider_created_again_has_nothing_in_use_and_nothing_to_give() -> None:
    provider = with_room(3, VCPU=8)
    consumer = consumer_at(1, {provider.id: {"VCPU": 2}})
    state = placed([provider], consumer)
    accepted(state, set_allocations(consumer.id, 1, {}), delete_provider(provider.id, 4))
    accepted(state, provider_command("create", provider.id))
    sent = set_allocations(new_id(), None, {provider.id: {"VCPU": 1}})
    assert refused(state, sent).code is Code.NO_INVENTORY
    accepted(state, provider_command("put_inventory", provider.id, expected_generation=6))
    accepted(state, sent)
    assert consumer_of(state, sent.subject).generation == 1
    assert provider_of(state, provider.id).used == {"VCPU": 1}
