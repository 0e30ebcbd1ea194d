"""Capacity: what providers can serve, and whether what is asked of them fits. Pure, like the rules that use it.

The rules are OpenStack Placement's. Its arithmetic too, which is that of double-precision floats: 100 at a ratio of
2.3 serve 229. PostgreSQL calculates alike, which the fence in update_inventories.sql relies on.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from genlock.schemas.codes import Code
from genlock.schemas.outcomes import FieldError, Shortage
from genlock.schemas.providers import Inventory
from genlock.service.kinds.providers.record import Provider


@dataclass(frozen=True, slots=True)
class Ask:
    """How much one consumer is to have of one provider, and where the command says so."""

    provider_id: str
    resource_class: str
    amount: int
    path: str


@dataclass(frozen=True, slots=True)
class Load:
    """What becomes of one provider: what it has in the end, what others use of it, and what the command asks of it."""

    before: Provider
    inventories: Mapping[str, Inventory]
    others: Counter[str]
    asked: Counter[str]

    @property
    def used(self) -> dict[str, int]:
        """How much of each class is used in the end."""
        return dict(self.others + self.asked)


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why something that was asked cannot be had."""

    code: Code
    error: FieldError
    shortage: Shortage | None = None


def flaws(loads: Mapping[str, Load], asks: Iterable[Ask]) -> Iterator[Flaw]:
    """All that is wrong with the picture in the end: what is in use is kept, every amount fits, and so do the sums."""
    for load in loads.values():
        for message in in_use(load.before.id, load.inventories, load.others):
            path = f"data.inventories.{load.before.id}"
            yield Flaw(Code.INVENTORY_IN_USE, FieldError(path=path, message=message))
    first: dict[tuple[str, str], Ask] = {}
    for ask in asks:
        first.setdefault((ask.provider_id, ask.resource_class), ask)
        if misfit := _misfit(ask, loads[ask.provider_id].inventories.get(ask.resource_class)):
            yield misfit
    for ask in first.values():
        if shortage := _shortage(ask, loads[ask.provider_id]):
            yield shortage


def in_use(provider_id: str, inventories: Mapping[str, Inventory], used: Mapping[str, int]) -> list[str]:
    """Tell each class that is used and that the inventories would no longer have."""
    return [
        f"{used[name]} of {name} are in use on the provider {provider_id}."
        for name in sorted(used)
        if used[name] and name not in inventories
    ]


def capacity_of(inventory: Inventory) -> int:
    """How much can be allocated in all."""
    return int((inventory.total - inventory.reserved) * inventory.allocation_ratio)


def _misfit(ask: Ask, inventory: Inventory | None) -> Flaw | None:
    """Why the inventory does not serve such an amount, however much of it is free."""
    if inventory is None:
        message = f"The provider {ask.provider_id} has no inventory of {ask.resource_class}."
        return Flaw(Code.NO_INVENTORY, FieldError(path=ask.path, message=message))
    broken = []
    if ask.amount < inventory.min_unit:
        broken.append(f"at least min_unit {inventory.min_unit}")
    if ask.amount > inventory.max_unit:
        broken.append(f"at most max_unit {inventory.max_unit}")
    if ask.amount % inventory.step_size:
        broken.append(f"a multiple of step_size {inventory.step_size}")
    if not broken:
        return None
    wanted = f"{ask.amount} of {ask.resource_class} on the provider {ask.provider_id}"
    message = f"{wanted} is not as its inventory demands: {' and '.join(broken)}."
    return Flaw(Code.UNIT_CONSTRAINT_VIOLATED, FieldError(path=ask.path, message=message))


def _shortage(ask: Ask, load: Load) -> Flaw | None:
    """Why the inventory cannot serve all that the command asks of it, besides what others use.

    What does not make an overage worse than it was is accepted: who has too much may give some of it back.
    """
    name = ask.resource_class
    inventory = load.inventories.get(name)
    asked, others = load.asked[name], load.others[name]
    if inventory is None or others + asked <= max(load.before.used.get(name, 0), capacity_of(inventory)):
        return None
    capacity = capacity_of(inventory)
    message = (
        f"The provider {ask.provider_id} cannot serve {asked} of {name}: "
        f"others use {others} of its capacity of {capacity}."
    )
    shortage = Shortage(provider_id=ask.provider_id, resource_class=name, asked=asked, used=others, capacity=capacity)
    return Flaw(Code.CAPACITY_EXCEEDED, FieldError(path=ask.path, message=message), shortage)
