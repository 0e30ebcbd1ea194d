"""What consumers must do, written from the contract's page alone: the part of the model about allocations.

The use of a provider is summed up over all consumers each time.
"""

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from tests.property.model_providers import Json, ModelProvider, ModelProviders, NotAppliedError

Amounts = dict[str, dict[str, int]]
"""By provider and class."""

RANKS = ("inventory_in_use", "no_inventory", "unit_constraint_violated", "capacity_exceeded")


@dataclass
class ModelConsumer:
    project: str
    user: str
    type: str | None
    amounts: Amounts
    generation: int = 1

    def token(self) -> Json:
        return {"generation": self.generation}


@dataclass
class ModelConsumers(ModelProviders):
    """All consumers, and the details besides the verdict that each command on them was told."""

    consumers: dict[str, ModelConsumer] = field(default_factory=dict)
    makers: dict[tuple[str, str], str] = field(default_factory=dict)
    """The command that each record has its token from."""
    told: dict[str, Json] = field(default_factory=dict)

    def show_consumer(self, consumer_id: str) -> Json | None:
        """A consumer as readers see it."""
        consumer = self._alive(consumer_id)
        if consumer is None:
            return None
        return {
            "id": consumer_id,
            "generation": consumer.generation,
            "project_id": consumer.project,
            "user_id": consumer.user,
            "consumer_type": consumer.type,
            "allocations": deepcopy(consumer.amounts),
        }

    def used(self, provider_id: str, name: str, without: Any = ()) -> int:
        """How much of a class all consumers use, except those in `without`."""
        return sum(
            consumer.amounts.get(provider_id, {}).get(name, 0)
            for consumer_id, consumer in self.consumers.items()
            if consumer_id not in without
        )

    def in_use(self, provider_id: str) -> set[str]:
        names = {name for consumer in self.consumers.values() for name in consumer.amounts.get(provider_id, ())}
        return {name for name in names if self.used(provider_id, name)}

    def _consumer_set_allocations(self, command_id: str, subject: str, data: Json) -> Json:
        tokens = self._change(command_id, subject, {}, {subject: data})
        self.told[command_id]["record"] = self.show_consumer(subject)
        token: Json = tokens["consumer"].pop(subject)
        self._tidy(tokens)
        return token

    def _consumer_set_many(self, command_id: str, _subject: str, data: Json) -> Json | None:
        self._tidy(self._change(command_id, None, {}, data["consumers"]))
        return None

    def _consumer_reshape(self, command_id: str, _subject: str, data: Json) -> Json | None:
        if not data["inventories"] and not data["consumers"]:
            raise NotAppliedError("rejected", "invalid_data")
        self._tidy(self._change(command_id, None, data["inventories"], data["consumers"]))
        return None

    def _change(self, command_id: str, subject: str | None, inventories: Json, consumers: Json) -> Json:
        told = self.told[command_id] = {}
        told["errors"] = missing = self._find_missing(subject, consumers)
        if missing:
            raise NotAppliedError("rejected", "not_found")
        failures = self._find_failures(inventories, consumers)
        if failures:
            del told["errors"]
            told["failures"] = failures
            first = failures[0]
            raise NotAppliedError("conflict", first["reason"], first["actual"], first["sequence"])
        named = [
            (f"data.inventories.{provider_id}.inventories.{name}", name)
            for provider_id, new in inventories.items()
            for name in new["inventories"]
        ]
        named += [(path, name) for path, _, name, _ in _asks(subject, consumers)]
        told["errors"] = [path for path, name in named if not self._is_known(name)]
        if told["errors"]:
            raise NotAppliedError("rejected", "unknown_resource_class")
        self._check_picture(told, subject, inventories, consumers)
        del told["errors"]
        told["tokens"] = self._apply(command_id, inventories, consumers)
        tokens: Json = told["tokens"]
        return tokens

    def _find_missing(self, subject: str | None, consumers: Json) -> list[str]:
        found = []
        for consumer_id, new in consumers.items():
            if new["expected_generation"] is None and not new["allocations"] and not self._alive(consumer_id):
                found.append(_path(subject, consumer_id))
        for consumer_id, new in consumers.items():
            for provider_id, allocation in new["allocations"].items():
                if "expected_generation" not in allocation and not self._provider(provider_id):
                    found.append(f"{_path(subject, consumer_id)}.allocations.{provider_id}")
        return found

    def _find_failures(self, inventories: Json, consumers: Json) -> list[Json]:
        expected = [("consumer", consumer_id, new["expected_generation"]) for consumer_id, new in consumers.items()]
        expected += [("provider", provider_id, new["expected_generation"]) for provider_id, new in inventories.items()]
        expected += [
            ("provider", provider_id, allocation["expected_generation"])
            for new in consumers.values()
            for provider_id, allocation in new["allocations"].items()
            if "expected_generation" in allocation
        ]
        failures = [self._failure(*one) for one in dict.fromkeys(expected)]
        return [failure for failure in failures if failure]

    def _failure(self, kind: str, record_id: str, expected: int | None) -> Json | None:
        record = self._alive(record_id) if kind == "consumer" else self._provider(record_id)
        actual = record.generation if record else None
        if actual == expected:
            return None
        if actual is None:
            reason = "missing"
        elif expected is None:
            reason = "exists"
        else:
            reason = "stale" if expected < actual else "ahead"
        ever: Any = (self.consumers if kind == "consumer" else self.providers).get(record_id)
        current = self.show_consumer(record_id) if kind == "consumer" else self.show(record_id)
        return {
            "kind": kind,
            "id": record_id,
            "sequence": 0 if ever is None else ever.generation + (kind == "provider"),
            "reason": reason,
            "expected": None if expected is None else {"generation": expected},
            "actual": None if actual is None else {"generation": actual},
            "winner": self.makers.get((kind, record_id)),
            "current": current,
        }

    def _check_picture(self, told: Json, subject: str | None, inventories: Json, consumers: Json) -> None:
        """Check each part of the state after the command by itself."""
        stock = self._stock(inventories)
        asks = _asks(subject, consumers)
        violations = [
            ("inventory_in_use", f"data.inventories.{provider_id}")
            for provider_id in sorted(inventories)
            for name in self.in_use(provider_id) - stock[provider_id].keys()
            if self.used(provider_id, name, consumers)
        ]
        for path, provider_id, name, amount in asks:
            violations += [(code, path) for code in _misfits(stock[provider_id].get(name), amount)]
        shortages = []
        for provider_id, name in dict.fromkeys((provider_id, name) for _, provider_id, name, _ in asks):
            amounts = {path: amount for path, *place, amount in asks if place == [provider_id, name]}
            shortage = self._shortage(stock, provider_id, name, sum(amounts.values()), consumers)
            if shortage:
                violations.append(("capacity_exceeded", next(iter(amounts))))
                shortages.append(shortage)
        if violations:
            violations.sort(key=lambda violation: RANKS.index(violation[0]))
            told["errors"] = [path for _, path in violations]
            if shortages:
                told["shortages"] = shortages
            raise NotAppliedError("rejected", violations[0][0])

    def _stock(self, inventories: Json) -> dict[str, Json]:
        """The inventories of all providers in the end."""
        stock = {provider_id: provider.inventories for provider_id, provider in self.providers.items()}
        for provider_id, new in inventories.items():
            stock[provider_id] = {name: self._filled(inventory) for name, inventory in new["inventories"].items()}
        return stock

    def _shortage(
        self, stock: dict[str, Json], provider_id: str, name: str, asked: int, consumers: Json
    ) -> Json | None:
        if name not in stock[provider_id]:
            return None
        inventory = stock[provider_id][name]
        capacity = int((inventory["total"] - inventory["reserved"]) * inventory["allocation_ratio"])
        others = self.used(provider_id, name, consumers)
        if others + asked <= capacity or others + asked <= self.used(provider_id, name):
            return None
        return {
            "provider_id": provider_id,
            "resource_class": name,
            "asked": asked,
            "used": others,
            "capacity": capacity,
        }

    def _apply(self, command_id: str, inventories: Json, consumers: Json) -> Json:
        touched = set(inventories)
        for consumer_id, new in consumers.items():
            before = self.consumers.get(consumer_id)
            touched |= set(before.amounts) if before else set()
            touched |= set(new["allocations"])
            kept = before.type if before and before.amounts else None
            self.consumers[consumer_id] = ModelConsumer(
                new["project_id"],
                new["user_id"],
                new.get("consumer_type", kept),
                {provider_id: dict(allocation["resources"]) for provider_id, allocation in new["allocations"].items()},
                before.generation + 1 if before else 1,
            )
            self.makers["consumer", consumer_id] = command_id
        for provider_id, new in inventories.items():
            filled = {name: self._filled(inventory) for name, inventory in new["inventories"].items()}
            self.providers[provider_id].inventories = filled
        for provider_id in touched:
            self._next(self.providers[provider_id])
            self.makers["provider", provider_id] = command_id
        return {
            "consumer": {consumer_id: self.consumers[consumer_id].token() for consumer_id in consumers},
            "provider": {provider_id: self.providers[provider_id].token() for provider_id in touched},
        }

    @staticmethod
    def _tidy(tokens: Json) -> None:
        for kind in [kind for kind, by_id in tokens.items() if not by_id]:
            del tokens[kind]

    def _alive(self, consumer_id: str) -> ModelConsumer | None:
        consumer = self.consumers.get(consumer_id)
        return consumer if consumer and consumer.amounts else None

    def _provider(self, provider_id: str) -> ModelProvider | None:
        provider = self.providers.get(provider_id)
        return None if provider is None or provider.deleted else provider


def _path(subject: str | None, consumer_id: str) -> str:
    return "data" if subject else f"data.consumers.{consumer_id}"


def _asks(subject: str | None, consumers: Json) -> list[tuple[str, str, str, int]]:
    """Each amount with the path, the provider and the class that it is asked at, in the order of the command."""
    return [
        (f"{_path(subject, consumer_id)}.allocations.{provider_id}.resources.{name}", provider_id, name, amount)
        for consumer_id, new in consumers.items()
        for provider_id, allocation in new["allocations"].items()
        for name, amount in allocation["resources"].items()
    ]


def _misfits(inventory: Json | None, amount: int) -> list[str]:
    if inventory is None:
        return ["no_inventory"]
    if not inventory["min_unit"] <= amount <= inventory["max_unit"] or amount % inventory["step_size"] > 0:
        return ["unit_constraint_violated"]
    return []


def told_by(event: Json) -> Json:
    """What an event on consumers tells, in the words of the model."""
    data, word = event["data"], event["type"].rpartition(".")[2]
    if word == "succeeded":
        return {"tokens": data["tokens"]} | ({"record": data["record"]} if data["id"] else {})
    if word == "conflict":
        winners = [failure["winner"] and failure["winner"]["command_id"] for failure in data["failures"]]
        failures = [failure | {"winner": winner} for failure, winner in zip(data["failures"], winners, strict=True)]
        top = {name: data[name] for name in data["failures"][0]}
        assert top == data["failures"][0]
        return {"failures": failures}
    told: Json = {"errors": [error["path"] for error in data["errors"]]}
    return told | ({"shortages": data["shortages"]} if "shortages" in data else {})
