"""Capacity: what providers can serve, and whether a request fits. Pure, like the rules that use it.

The rules are OpenStack Placement's. Its arithmetic too, which is that of double-precision floats: 100 at a ratio of
2.3 serve 229. PostgreSQL calculates alike, which the fence in update_inventories.sql relies on.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from genlock.schemas.codes import Code
from genlock.schemas.faults import Fault, Place
from genlock.schemas.outcomes import Shortage
from genlock.schemas.providers import Inventory
from genlock.service.kinds.providers.record import Provider

DEMANDS = {"min_unit": "at least", "max_unit": "at most", "step_size": "a multiple of"}
"""What each constraint of an inventory demands of an amount, as a sentence says it."""


@dataclass(frozen=True, slots=True)
class AllocationRequest:
    """How much one consumer is to have of one provider, and where the command says so."""

    provider_id: str
    resource_class: str
    amount: int
    at: Place


@dataclass(frozen=True, slots=True)
class ProviderUsage:
    """What becomes of one provider: its final inventories, what others use of it, and what the command requests."""

    before: Provider
    inventories: Mapping[str, Inventory]
    others: Counter[str]
    asked: Counter[str]

    @property
    def used(self) -> dict[str, int]:
        """How much of each class is used in the end."""
        return dict(self.others + self.asked)


@dataclass(frozen=True, slots=True)
class CapacityViolation:
    """Why something that was asked cannot be had."""

    fault: Fault
    shortage: Shortage | None = None


def violations(
    usages: Mapping[str, ProviderUsage], requests: Iterable[AllocationRequest]
) -> Iterator[CapacityViolation]:
    """Violations of the state after the command: an inventory in use is missing, an amount or a sum does not fit."""
    for usage in usages.values():
        at = ("data", "inventories", usage.before.id)
        for fault in in_use(usage.before.id, usage.inventories, usage.others, at=at):
            yield CapacityViolation(fault)
    first: dict[tuple[str, str], AllocationRequest] = {}
    for request in requests:
        first.setdefault((request.provider_id, request.resource_class), request)
        if misfit := _misfit(request, usages[request.provider_id]):
            yield misfit
    for request in first.values():
        if shortage := _shortage(request, usages[request.provider_id]):
            yield shortage


def in_use(
    provider_id: str,
    inventories: Mapping[str, Inventory],
    used: Mapping[str, int],
    *,
    at: Place = ("data", "inventories"),
    code: Code = Code.INVENTORY_IN_USE,
) -> list[Fault]:
    """A fault for each class that is used and that the inventories would no longer have."""
    return [
        Fault(
            code,
            f"{used[name]} of {name} are in use on the provider {provider_id}.",
            at,
            kind="provider",
            id=provider_id,
            actual={"resource_class": name, "used": used[name]},
        )
        for name in sorted(used)
        if used[name] and name not in inventories
    ]


def capacity_of(inventory: Inventory) -> int:
    """How much can be allocated in all."""
    return int((inventory.total - inventory.reserved) * inventory.allocation_ratio)


def _misfit(request: AllocationRequest, usage: ProviderUsage) -> CapacityViolation | None:
    """Why the inventory does not serve such an amount, however much of it is free."""
    provider_id, name = request.provider_id, request.resource_class
    inventory = usage.inventories.get(name)
    if inventory is None:
        message = f"The provider {provider_id} has no inventory of {name}."
        known = frozenset(usage.inventories)
        return CapacityViolation(
            Fault(Code.NO_INVENTORY, message, request.at, named=True, known=known, kind="provider", id=provider_id)
        )
    broken = {}
    if request.amount < inventory.min_unit:
        broken["min_unit"] = inventory.min_unit
    if request.amount > inventory.max_unit:
        broken["max_unit"] = inventory.max_unit
    if request.amount % inventory.step_size:
        broken["step_size"] = inventory.step_size
    if not broken:
        return None
    demands = " and ".join(f"{DEMANDS[unit]} {unit} {limit}" for unit, limit in broken.items())
    wanted = f"{request.amount} of {name} on the provider {provider_id}"
    return CapacityViolation(
        Fault(
            Code.UNIT_CONSTRAINT_VIOLATED,
            f"{wanted} is not as its inventory demands: {demands}.",
            request.at,
            constraints=broken,
            kind="provider",
            id=provider_id,
            actual={"resource_class": name},
        )
    )


def _shortage(request: AllocationRequest, usage: ProviderUsage) -> CapacityViolation | None:
    """Why the inventory cannot serve all that the command requests of it, besides what others use.

    A change that makes no overage worse is accepted: a consumer with too much may give some of it back.
    """
    name = request.resource_class
    inventory = usage.inventories.get(name)
    asked, others = usage.asked[name], usage.others[name]
    if inventory is None or others + asked <= max(usage.before.used.get(name, 0), capacity_of(inventory)):
        return None
    capacity = capacity_of(inventory)
    message = (
        f"The provider {request.provider_id} cannot serve {asked} of {name}: "
        f"others use {others} of its capacity of {capacity}."
    )
    shortage = Shortage(
        provider_id=request.provider_id, resource_class=name, asked=asked, used=others, capacity=capacity
    )
    fault = Fault(
        Code.CAPACITY_EXCEEDED,
        message,
        request.at,
        constraints={"capacity": capacity},
        kind="provider",
        id=request.provider_id,
        actual={"resource_class": name, "used": others},
    )
    return CapacityViolation(fault, shortage)
