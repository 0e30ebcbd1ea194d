"""A model with one record in it: what its own history comes to, whatever other records would say to it."""

from copy import deepcopy
from dataclasses import dataclass, field

from tests.property.model import Json, Model, VerdictSummary
from tests.property.model_providers import ModelProvider

Key = tuple[str, str]
"""Kind and id of a record."""

OTHERS_FAULT = {
    *("duplicate_name", "parent_not_found", "parent_loop", "provider_has_children"),
    *("inventory_in_use", "provider_in_use"),
}
"""The verdicts that a record's own history does not explain; those of allocations are not held against it at all."""


@dataclass
class AloneConsumer:
    """A consumer; without allocations it is a tombstone."""

    generation: int = 0
    consumer_type: str | None = None
    allocations: dict[str, dict[str, int]] = field(default_factory=dict)

    def token(self) -> Json:
        return {"generation": self.generation}

    def replace(self, wanted: Json) -> None:
        """Have these allocations and no others."""
        kept_type = self.consumer_type if self.allocations else None
        self.generation += 1
        self.consumer_type = wanted.get("consumer_type", kept_type)
        self.allocations = {
            provider: deepcopy(allocation["resources"]) for provider, allocation in wanted["allocations"].items()
        }


@dataclass
class SingleRecord(Model):
    """One record, which accepts what others might forbid."""

    consumer: AloneConsumer = field(default_factory=AloneConsumer)

    def accept(self, key: Key, command: Json) -> VerdictSummary:
        """Apply a command that was accepted and has changed the record."""
        kind, record_id = key
        if not command["type"].startswith("consumer."):
            return self.apply(command)
        if kind == "provider":
            return self._allocate(self.providers[record_id], command["data"].get("inventories", {}).get(record_id))
        wanted = command["data"]["consumers"][record_id] if command["subject"] is None else command["data"]
        self.consumer.replace(wanted)
        return "succeeded", None, self.consumer.token(), self.consumer.generation

    def _allocate(self, provider: ModelProvider, new: Json | None) -> VerdictSummary:
        """Count allocations that were taken or given back, and take the inventories that came with them."""
        if new is not None:
            provider.inventories = {name: self._filled(inventory) for name, inventory in new["inventories"].items()}
        return "succeeded", None, self._next(provider), provider.sequence

    def _check_parent(self, subject: str, parent_id: str | None) -> None:
        """Take any parent: it is not here."""

    def _check_name(self, subject: str, name: str) -> None:
        """Take any name: this model does not know the records that hold names."""

    def show(self, _provider_id: str) -> Json | None:
        """Show nothing: a provider is shown with its root, which is not here."""
        return None
