"""What publishers send: commands of all kinds on few records, with tokens that they learn from outcomes.

So most commands are plausible: they succeed, or they lose against another one that was as plausible. All choices come
from one seeded `random.Random`; what it chooses from depends on the outcomes, and so on the time.
"""

import random
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from typing import Any, TypeVar

from tests.faults.messages import OutgoingMessage, misrouted, of_no_text, of_unknown_type, outgoing, without_id
from tests.support.factories import Json, envelope, new_id

T = TypeVar("T")

KINDS = ("document", "document", "stack", "provider", "consumer")
RECORDS_AT_ONCE = 5
"""How many records of each kind are fought over."""

USES_MAX = 150
"""A record that was named so often makes place for a new one, so that histories stay short."""

ODD_SHARE = 0.03
REPLY_SHARE = 0.2
CHAIN_SHARE = 0.3
CHECK_SHARE = 0.2
LARGE_SHARE = 0.01
LARGE_BYTES = 200_000

ODD = (of_unknown_type, misrouted, without_id, of_no_text)
VERBS = {
    "document": ("put", "put", "merge", "merge", "delete"),
    "stack": ("create", "update", "update", "delete", "rollback", "cancel", "set_state", "set_state"),
    "provider": (
        *("create", "update", "update", "delete", "set_inventories", "put_inventory", "delete_inventory"),
        *("set_traits", "set_aggregates", "put_inventory"),
    ),
    "consumer": ("set_allocations", "set_allocations", "set_many", "reshape"),
}
OFFSETS = (0, 0, 0, 0, 0, 0, -1, -2, 1)
"""The offset added to a known generation: mostly none."""

BODIES: tuple[Json, ...] = ({}, {"a": 1}, {"a": {"b": "é😀"}, "c": [1, None]}, {"b": 1.5})
PATCHES: tuple[Json, ...] = ({}, {"a": None}, {"a": {"b": None, "c": 2}}, {"c": [{}]})
CLASSES = ("VCPU", "VCPU", "VCPU", "DISK_GB", "CUSTOM_A", "VCPUS")
TRAITS = ("HW_NIC_SRIOV", "STORAGE_DISK_SSD", "CUSTOM_A", "CUSTOM_A", "SSD")
INVENTORIES: tuple[Json, ...] = ({"total": 1}, {"total": 8, "step_size": 2}, {"total": 8, "reserved": 9}, {"total": 99})
AMOUNTS = (1, 2, 2, 4)


@dataclass
class Known:
    """A record as its publishers know it, from the outcome with the highest sequence."""

    subject: str = field(default_factory=new_id)
    sequence: int = 0
    generation: int | None = None
    """None while it is not known to exist."""
    traversals: list[str] = field(default_factory=list)
    """Of a stack, the latest last; commands that may have started one are among them."""
    classes: list[str] = field(default_factory=list)
    """Of a provider, the resource classes that it has inventories of."""
    uses: int = 0

    def learn(self, data: Json) -> None:
        """Take newer values from an outcome."""
        if data.get("code") == "deleted":
            self.uses = USES_MAX
        if data["sequence"] < self.sequence:
            return
        self.sequence = data["sequence"]
        self.classes = list((data.get("record") or data.get("current") or {}).get("inventories", ()))
        token = data.get("token") or data.get("actual")
        if data.get("reason") == "missing":
            self.generation = None
        elif token is None:
            return
        elif "traversal" in token:
            self.traversals.append(token["traversal"])
        else:
            deleted = "token" in data and data["record"] is None
            self.generation = None if deleted else token["generation"]


class World:
    """All that publishers know, and what they make of it."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self._numbers = count()
        self._names = [new_id() for _ in range(RECORDS_AT_ONCE)]
        self._known: dict[str, Known] = {}
        self._at_hand: dict[str, list[Known]] = {}
        self.renew()

    def renew(self) -> None:
        """Forget all records and go on with new ones."""
        self._known.clear()
        self._at_hand = {kind: [self._new() for _ in range(RECORDS_AT_ONCE)] for kind in VERBS}

    def learn(self, event: Json) -> None:
        """Take note of an outcome."""
        data = event["data"]
        # Which is not the event's subject where a command on a consumer has failed for the sake of a provider.
        known = self._known.get(data["id"] or "")
        if known is not None:
            known.learn(data)
        for tokens in (data.get("tokens") or {}).values():
            for record_id in tokens.keys() & self._known.keys():
                self._known[record_id].generation = tokens[record_id]["generation"]

    def draw(self) -> OutgoingMessage:
        """The next message."""
        if self._chance.random() < ODD_SHARE:
            return self._one(ODD)()
        return outgoing(self.command(), wants_reply=self._chance.random() < REPLY_SHARE)

    def command(self) -> Json:
        """The next command in good form."""
        kind = self._one(KINDS)
        known = self._pick(kind)
        make = {
            "document": self._document,
            "stack": self._stack,
            "provider": self._provider,
            "consumer": self._consumer,
        }[kind]
        return make(known)

    def pick_known(self) -> tuple[str, str]:
        """The kind and id of one of the records that are fought over."""
        kind = self._one(KINDS)
        return kind, self._chance.choice(self._at_hand[kind]).subject

    def reuse(self, earlier: OutgoingMessage) -> OutgoingMessage:
        """Another command under the id of an earlier one."""
        data = {"expected_generation": None, "body": {"another": next(self._numbers)}}
        return outgoing(envelope("document.put", new_id(), data, id=earlier.id))

    def _one(self, among: tuple[T, ...] | list[T]) -> T:
        return deepcopy(self._chance.choice(among))

    def _new(self) -> Known:
        known = Known()
        self._known[known.subject] = known
        return known

    def _pick(self, kind: str) -> Known:
        place = self._chance.randrange(RECORDS_AT_ONCE)
        if self._at_hand[kind][place].uses >= USES_MAX:
            self._at_hand[kind][place] = self._new()
        known = self._at_hand[kind][place]
        known.uses += 1
        return known

    def _document(self, known: Known) -> Json:
        verb = self._one(VERBS["document"]) if known.generation is not None else "put"
        number = next(self._numbers)
        data: Json = {"expected_generation": self._generation(known)}
        if verb == "put":
            data["body"] = {"n": number, **self._one(BODIES)}
            if self._chance.random() < LARGE_SHARE:
                data["body"]["large"] = "x" * LARGE_BYTES
        elif verb == "merge":
            data["patch"] = {f"n{number % 10}": number, **self._one(PATCHES)}
            if self._chance.random() < 0.5:
                del data["expected_generation"]
        return envelope(f"document.{verb}", known.subject, data)

    def _stack(self, known: Known) -> Json:
        verb = self._one(VERBS["stack"]) if known.traversals else "create"
        data: Json = {"expected_traversal": self._traversal(known)} if known.traversals and verb != "create" else {}
        if verb == "create":
            data["name"] = self._name(known)
        if verb in ("create", "update"):
            data |= {"template": self._one(BODIES), "disable_rollback": self._chance.random() < 0.5}
        if verb == "set_state":
            data |= {"status": self._one(("COMPLETE", "COMPLETE", "FAILED")), "reason": "done"}
        command = envelope(f"stack.{verb}", known.subject, data)
        if verb != "set_state" and self._chance.random() < CHAIN_SHARE:
            # The publisher of a chain of commands need not wait for outcomes: the traversal will be the command's id.
            known.traversals.append(command["id"])
        return command

    def _traversal(self, known: Known) -> str:
        """Mostly the latest; else one that it may have had, or one that no stack has."""
        drawn = self._chance.random()
        if drawn < 0.75:
            return known.traversals[-1]
        return self._one(known.traversals) if drawn < 0.97 else new_id()

    def _provider(self, known: Known) -> Json:
        verb = self._one(VERBS["provider"]) if known.generation is not None else "create"
        data: Json = {} if verb == "create" else {"expected_generation": self._generation(known)}
        make: dict[str, Callable[[], Json]] = {
            "create": lambda: self._place() | {"name": self._name(known)},
            "update": lambda: self._place() or {"name": self._name(known)},
            "delete": dict,
            "set_inventories": lambda: {"inventories": {self._one(CLASSES): self._one(INVENTORIES)}},
            "put_inventory": lambda: {"resource_class": self._one(CLASSES), "inventory": self._one(INVENTORIES)},
            "delete_inventory": lambda: {"resource_class": self._one(CLASSES)},
            "set_traits": lambda: {"traits": sorted({self._one(TRAITS), self._one(TRAITS)})},
            "set_aggregates": lambda: {"aggregates": [new_id()]},
        }
        return envelope(f"provider.{verb}", known.subject, data | make[verb]())

    def _place(self) -> dict[str, Any]:
        """A parent as often as not; it may be none, or the provider itself."""
        if self._chance.random() < 0.5:
            return {}
        return {"parent_id": self._one((None, *(known.subject for known in self._at_hand["provider"])))}

    def _consumer(self, known: Known) -> Json:
        verb = self._one(VERBS["consumer"])
        if verb == "set_allocations":
            return envelope("consumer.set_allocations", known.subject, self._wanted(known))
        some = {known.subject: known, **{other.subject: other for other in self._some("consumer")}}
        data: Json = {"consumers": {subject: self._wanted(other) for subject, other in some.items()}}
        if verb == "reshape":
            data["inventories"] = {
                provider.subject: self._new_inventories(provider) for provider in self._some("provider")
            }
        return envelope(f"consumer.{verb}", None, data)

    def _new_inventories(self, known: Known) -> Json:
        """All inventories that a provider is to have, mostly of a class of which it has some."""
        inventories = {self._one(known.classes or CLASSES): self._one(INVENTORIES)}
        return {"expected_generation": self._generation(known) or 0, "inventories": inventories}

    def _wanted(self, known: Known) -> Json:
        """All that a consumer is to have: something of a provider or two, or nothing."""
        allocations: Json = {}
        for provider in self._some("provider"):
            resource_class = self._one(provider.classes or CLASSES)
            allocations[provider.subject] = {"resources": {resource_class: self._one(AMOUNTS)}}
            if self._chance.random() < CHECK_SHARE:
                allocations[provider.subject]["expected_generation"] = self._generation(provider) or 0
        expected = self._generation(known)
        return {"expected_generation": expected, "project_id": "p", "user_id": "u", "allocations": allocations}

    def _some(self, kind: str) -> list[Known]:
        return [self._at_hand[kind][place] for place in {self._chance.randrange(RECORDS_AT_ONCE) for _ in range(2)}]

    def _name(self, known: Known) -> str:
        """Mostly a name of its own, or hardly any would be free."""
        return known.subject if self._chance.random() < 0.7 else self._one(self._names)

    def _generation(self, known: Known) -> int | None:
        if known.generation is None:
            return None
        return max(0, known.generation + self._one(OFFSETS))
