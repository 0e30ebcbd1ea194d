"""What resource providers must do, written from the contract's page alone: the part of the model about them."""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

Json = dict[str, Any]

KNOWN = {"VCPU", "DISK_GB", "HW_NIC_SRIOV", "STORAGE_DISK_SSD"}
"""Standard resource classes and traits, as far as commands here name any."""

DEFAULTS = {"reserved": 0, "min_unit": 1, "max_unit": 2147483647, "step_size": 1, "allocation_ratio": 1.0}


class NotAppliedError(Exception):
    """Ends a command that is not applied."""

    def __init__(self, word: str, why: str, token: Json | None = None, sequence: int | None = None) -> None:
        super().__init__(word, why)
        self.word, self.why, self.token, self.sequence = word, why, token, sequence


@dataclass
class ModelProvider:
    name: str
    parent: str | None
    generation: int = 0
    sequence: int = 1
    deleted: bool = False
    inventories: dict[str, Json] = field(default_factory=dict)
    traits: set[str] = field(default_factory=set)
    aggregates: set[str] = field(default_factory=set)

    def token(self) -> Json:
        return {"generation": self.generation}


@dataclass
class ModelProviders:
    """All providers, and the state that each command was shown: the new one if it succeeded, else the current one."""

    providers: dict[str, ModelProvider] = field(default_factory=dict)
    shown: dict[str, Json | None] = field(default_factory=dict)

    def show(self, provider_id: str) -> Json | None:
        """A provider as readers see it."""
        provider = self.providers.get(provider_id)
        if provider is None or provider.deleted:
            return None
        root = provider_id
        while (parent := self.providers[root].parent) is not None:
            root = parent
        return {
            "id": provider_id,
            "name": provider.name,
            "generation": provider.generation,
            "parent_id": provider.parent,
            "root_id": root,
            "inventories": deepcopy(provider.inventories),
            "traits": sorted(provider.traits),
            "aggregates": sorted(provider.aggregates),
        }

    def in_use(self, _provider_id: str) -> set[str]:
        """The classes of which something is allocated."""
        return set()

    def _provider_create(self, _id: str, subject: str, data: Json) -> Json:
        before = self.providers.get(subject)
        if before is not None and not before.deleted:
            raise NotAppliedError("conflict", "exists", before.token())
        self._check_parent(subject, data.get("parent_id"))
        self._check_name(subject, data["name"])
        provider = ModelProvider(data["name"], data.get("parent_id"))
        if before is not None:
            provider.generation, provider.sequence = before.generation + 1, before.sequence + 1
        self.providers[subject] = provider
        return provider.token()

    def _provider_update(self, _id: str, subject: str, data: Json) -> Json:
        if "name" not in data and "parent_id" not in data:
            raise NotAppliedError("rejected", "invalid_data")
        provider = self._expected(subject, data)
        if "parent_id" in data:
            self._check_parent(subject, data["parent_id"])
        if "name" in data:
            self._check_name(subject, data["name"])
        provider.name = data.get("name", provider.name)
        provider.parent = data.get("parent_id", provider.parent)
        return self._next(provider)

    def _provider_delete(self, _id: str, subject: str, data: Json) -> Json:
        provider = self._expected(subject, data)
        if any(other.parent == subject and not other.deleted for other in self.providers.values()):
            raise NotAppliedError("rejected", "provider_has_children")
        if self.in_use(subject):
            raise NotAppliedError("rejected", "provider_in_use")
        provider.deleted, provider.parent, provider.inventories = True, None, {}
        return self._next(provider)

    def _provider_set_inventories(self, _id: str, subject: str, data: Json) -> Json:
        filled = {name: self._filled(inventory) for name, inventory in data["inventories"].items()}
        provider = self._expected(subject, data)
        self._check_known(filled, "unknown_resource_class")
        if self.in_use(subject) - filled.keys():
            raise NotAppliedError("rejected", "inventory_in_use")
        provider.inventories = filled
        return self._next(provider)

    def _provider_put_inventory(self, _id: str, subject: str, data: Json) -> Json:
        filled = self._filled(data["inventory"])
        provider = self._expected(subject, data)
        self._check_known([data["resource_class"]], "unknown_resource_class")
        provider.inventories[data["resource_class"]] = filled
        return self._next(provider)

    def _provider_delete_inventory(self, _id: str, subject: str, data: Json) -> Json:
        provider = self._expected(subject, data)
        if data["resource_class"] not in provider.inventories:
            raise NotAppliedError("rejected", "no_inventory")
        if data["resource_class"] in self.in_use(subject):
            raise NotAppliedError("rejected", "inventory_in_use")
        del provider.inventories[data["resource_class"]]
        return self._next(provider)

    def _provider_set_traits(self, _id: str, subject: str, data: Json) -> Json:
        self._check_different(data["traits"])
        provider = self._expected(subject, data)
        self._check_known(data["traits"], "unknown_trait")
        provider.traits = set(data["traits"])
        return self._next(provider)

    def _provider_set_aggregates(self, _id: str, subject: str, data: Json) -> Json:
        self._check_different(data["aggregates"])
        provider = self._expected(subject, data)
        provider.aggregates = set(data["aggregates"])
        return self._next(provider)

    def _expected(self, subject: str, data: Json) -> ModelProvider:
        provider, expected = self.providers.get(subject), data["expected_generation"]
        if provider is None or provider.deleted:
            raise NotAppliedError("conflict", "missing")
        if expected != provider.generation:
            reason = "stale" if expected < provider.generation else "ahead"
            raise NotAppliedError("conflict", reason, provider.token())
        return provider

    def _check_parent(self, subject: str, parent_id: str | None) -> None:
        if parent_id is None:
            return
        if parent_id == subject:
            raise NotAppliedError("rejected", "parent_loop")
        if parent_id not in self.providers or self.providers[parent_id].deleted:
            raise NotAppliedError("rejected", "parent_not_found")
        above: str | None = parent_id
        while above is not None:
            if above == subject:
                raise NotAppliedError("rejected", "parent_loop")
            above = self.providers[above].parent

    def _check_name(self, subject: str, name: str) -> None:
        for other_id, other in self.providers.items():
            if other_id != subject and other.name == name and not other.deleted:
                raise NotAppliedError("rejected", "duplicate_name")

    @staticmethod
    def _is_known(name: str) -> bool:
        return name in KNOWN or name.startswith("CUSTOM_")

    def _check_known(self, names: Any, code: str) -> None:
        if not all(map(self._is_known, names)):
            raise NotAppliedError("rejected", code)

    @staticmethod
    def _check_different(values: list[str]) -> None:
        if len(values) > len(set(values)):
            raise NotAppliedError("rejected", "invalid_data")

    @staticmethod
    def _filled(inventory: Json) -> Json:
        filled = DEFAULTS | inventory
        if filled["reserved"] > filled["total"]:
            raise NotAppliedError("rejected", "invalid_data")
        return filled

    @staticmethod
    def _next(provider: ModelProvider) -> Json:
        provider.generation += 1
        provider.sequence += 1
        return provider.token()
