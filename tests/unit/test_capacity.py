"""Capacity: which requests fit, which do not, and the messages about these. Pure arithmetic, without any command."""

from collections import Counter
from typing import Any

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.outcomes import Shortage
from genlock.schemas.providers import Inventory
from genlock.service.kinds.providers.capacity import (
    AllocationRequest,
    CapacityViolation,
    ProviderUsage,
    capacity_of,
    in_use,
    violations,
)
from tests.support.provider_factories import AMOUNT_MAX, provider_at


def load_of(
    inventories: dict[str, Inventory],
    *,
    used: dict[str, int] | None = None,
    others: dict[str, int] | None = None,
    asked: dict[str, int] | None = None,
) -> ProviderUsage:
    """A provider with this much `used` before, and in the end used by `others` and as `asked`."""
    provider = provider_at(3, inventories=inventories, used=used or {})
    return ProviderUsage(provider, inventories, Counter(used if others is None else others), Counter(asked or {}))


def found(usage: ProviderUsage, *amounts: int, resource_class: str = "VCPU") -> list[CapacityViolation]:
    """The violations of asking for these amounts of one class."""
    requests = [
        AllocationRequest(usage.before.id, resource_class, amount, ("data", number))
        for number, amount in enumerate(amounts)
    ]
    return list(violations({usage.before.id: usage}, requests))


def codes(usage: ProviderUsage, *amounts: int, resource_class: str = "VCPU") -> list[Code]:
    return [violation.fault.code for violation in found(usage, *amounts, resource_class=resource_class)]


@pytest.mark.parametrize(
    ("inventory", "capacity"),
    [
        ({"total": 50}, 50),
        ({"total": 50, "reserved": 8}, 42),
        ({"total": 50, "reserved": 50}, 0),
        ({"total": 50, "allocation_ratio": 1.5}, 75),
        ({"total": 50, "reserved": 10, "allocation_ratio": 16}, 640),
        ({"total": 5, "allocation_ratio": 0.5}, 2),
        ({"total": 1, "allocation_ratio": 0.1}, 0),
        # As double-precision floats have it: 2.3 is a little less, and so is the product.
        ({"total": 100, "allocation_ratio": 2.3}, 229),
        ({"total": 3, "allocation_ratio": 1.1}, 3),
        ({"total": AMOUNT_MAX, "allocation_ratio": 1.0}, AMOUNT_MAX),
    ],
)
def test_capacity_is_the_unreserved_total_times_the_ratio_rounded_down(inventory: Any, capacity: int) -> None:
    assert capacity_of(Inventory(**inventory)) == capacity


def test_largest_inventory_has_a_capacity() -> None:
    assert capacity_of(Inventory(total=AMOUNT_MAX, allocation_ratio=3.40282e38)) > 10**47


@pytest.mark.parametrize(
    ("inventory", "used", "asked", "fits"),
    [
        ({"total": 10}, 0, 10, True),
        ({"total": 10}, 0, 11, False),
        ({"total": 10}, 7, 3, True),
        ({"total": 10}, 7, 4, False),
        ({"total": 10, "reserved": 4}, 0, 6, True),
        ({"total": 10, "reserved": 4}, 0, 7, False),
        ({"total": 10, "reserved": 10}, 0, 1, False),
        ({"total": 10, "allocation_ratio": 1.5}, 14, 1, True),
        ({"total": 10, "allocation_ratio": 1.5}, 14, 2, False),
        ({"total": 10, "reserved": 2, "allocation_ratio": 2.0}, 10, 6, True),
        ({"total": 10, "reserved": 2, "allocation_ratio": 2.0}, 10, 7, False),
        ({"total": 100, "allocation_ratio": 2.3}, 0, 229, True),
        ({"total": 100, "allocation_ratio": 2.3}, 0, 230, False),
        ({"total": 1, "allocation_ratio": 0.1}, 0, 1, False),
    ],
)
def test_use_of_others_and_request_fit_together_up_to_the_capacity(
    inventory: Any, used: int, asked: int, fits: bool
) -> None:
    usage = load_of({"VCPU": Inventory(**inventory)}, used={"VCPU": used}, asked={"VCPU": asked})
    assert codes(usage, asked) == ([] if fits else [Code.CAPACITY_EXCEEDED])


@pytest.mark.parametrize(
    ("others", "asked", "fits"),
    [
        # 16 of 10 are in use. A consumer that has 6 of them asks for more, as much, less.
        (10, 7, False),
        (10, 6, True),
        (10, 5, True),
        (10, 1, True),
        # Another consumer comes, and gives nothing back.
        (16, 1, False),
    ],
)
def test_overage_that_is_there_must_not_get_worse(others: int, asked: int, fits: bool) -> None:
    usage = load_of({"VCPU": Inventory(total=10)}, used={"VCPU": 16}, others={"VCPU": others}, asked={"VCPU": asked})
    assert codes(usage, asked) == ([] if fits else [Code.CAPACITY_EXCEEDED])


def test_earlier_use_within_the_capacity_allows_no_overage() -> None:
    usage = load_of({"VCPU": Inventory(total=10)}, used={"VCPU": 9}, others={"VCPU": 4}, asked={"VCPU": 7})
    assert codes(usage, 7) == [Code.CAPACITY_EXCEEDED]


def test_shortage_tells_provider_class_asked_used_and_capacity() -> None:
    inventory = Inventory(total=10, reserved=1, allocation_ratio=1.5)
    usage = load_of({"VCPU": inventory}, used={"VCPU": 12}, others={"VCPU": 9}, asked={"VCPU": 5})
    [violation] = found(usage, 2, 3)
    assert violation.shortage == Shortage(
        provider_id=usage.before.id, resource_class="VCPU", asked=5, used=9, capacity=13
    )
    # Told once, where the class is asked for first.
    assert violation.fault.at == ("data", 0)
    for word in (usage.before.id, "VCPU", "5", "9", "13"):
        assert word in violation.fault.message


@pytest.mark.parametrize(
    ("amount", "fits"), [(1, False), (2, False), (3, False), (4, True), (6, True), (7, False), (8, True), (10, False)]
)
def test_single_amounts_obey_min_unit_max_unit_and_step_size(amount: int, fits: bool) -> None:
    inventory = Inventory(total=100, min_unit=3, max_unit=8, step_size=2)
    usage = load_of({"VCPU": inventory}, asked={"VCPU": amount})
    assert codes(usage, amount) == ([] if fits else [Code.UNIT_CONSTRAINT_VIOLATED])


def test_everything_that_is_wrong_with_one_amount_is_said() -> None:
    usage = load_of({"VCPU": Inventory(total=100, min_unit=6, max_unit=4, step_size=2)}, asked={"VCPU": 5})
    [violation] = found(usage, 5)
    assert violation.fault.at == ("data", 0)
    for words in ("min_unit 6", "max_unit 4", "step_size 2", "5 of VCPU", usage.before.id):
        assert words in violation.fault.message


def test_units_are_a_matter_of_each_amount_and_not_of_their_sum() -> None:
    usage = load_of({"VCPU": Inventory(total=100, max_unit=4, step_size=4)}, asked={"VCPU": 8})
    assert codes(usage, 4, 4) == []
    assert codes(usage, 2, 6) == [Code.UNIT_CONSTRAINT_VIOLATED] * 2


def test_class_without_inventory_is_told_for_each_amount_and_has_no_shortage() -> None:
    usage = load_of({"VCPU": Inventory(total=10)}, asked={"VGPU": 3})
    found_violations = found(usage, 1, 2, resource_class="VGPU")
    assert [(violation.fault.code, violation.fault.at, violation.shortage) for violation in found_violations] == [
        (Code.NO_INVENTORY, ("data", 0), None),
        (Code.NO_INVENTORY, ("data", 1), None),
    ]
    assert "VGPU" in found_violations[0].fault.message
    assert usage.before.id in found_violations[0].fault.message


def test_amount_that_does_not_suit_is_still_counted_against_the_capacity() -> None:
    usage = load_of({"VCPU": Inventory(total=10, max_unit=4)}, used={"VCPU": 9}, asked={"VCPU": 5})
    assert codes(usage, 5) == [Code.UNIT_CONSTRAINT_VIOLATED, Code.CAPACITY_EXCEEDED]


def test_classes_in_use_must_have_their_inventory_in_the_end() -> None:
    usage = load_of({"DISK_GB": Inventory(total=10)}, used={"VCPU": 3, "DISK_GB": 1, "VGPU": 2, "MEMORY_MB": 0})
    found_violations = found(usage)
    assert [(violation.fault.code, violation.fault.at) for violation in found_violations] == [
        (Code.INVENTORY_IN_USE, ("data", "inventories", usage.before.id))
    ] * 2
    assert ["VCPU" in violation.fault.message for violation in found_violations] == [True, False]
    assert ["VGPU" in violation.fault.message for violation in found_violations] == [False, True]


def test_released_amount_is_not_in_use() -> None:
    usage = load_of({}, used={"VCPU": 3}, others={"VCPU": 0})
    assert codes(usage) == []
    assert in_use(usage.before.id, {}, usage.used) == []


def test_used_in_the_end_is_use_of_others_and_request_and_never_nothing() -> None:
    usage = load_of({}, others={"VCPU": 2, "DISK_GB": 0, "VGPU": 5}, asked={"VCPU": 3, "MEMORY_MB": 1})
    assert usage.used == {"VCPU": 5, "VGPU": 5, "MEMORY_MB": 1}
