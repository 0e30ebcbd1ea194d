"""What each version must be like: the accepted commands of a record, one after the other, by the model of the contract.

The register says in which order the commands of a record took effect. They are applied in that order to a model with
this one record (tests/property/single_record.py), which was written from the contract's page and knows nothing of the
service. Each version that an answer shows must be the model's, and each command that was refused for the sake of its
own record must be refused by the model as well, for the same reason. The model is told of allocations by consumer;
a provider's usage, by consumer, is summed up from the commands.

It takes one step of the model for each operation.
"""

from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from tests.faults.histories.history import Json, Operation
from tests.faults.histories.register import Register, Version
from tests.faults.histories.sights import GONE, LIVE, Key
from tests.property.single_record import OTHERS_FAULT, SingleRecord

Held = dict[str, dict[str, int]]
"""What each consumer has of one provider, by class."""


def wrong_values(register: Register) -> Iterator[str]:
    """Yield the first version that is not what its commands come to, and commands that were refused wrongly."""
    key, model, held = register.key, SingleRecord(), dict[str, dict[str, int]]()
    refused = dict[int, list[Operation]]()
    for number, operation in register.refusals():
        refused.setdefault(number, []).append(operation)
    for number in range(register.last + 1):
        if number in register.guessed:
            return
        version = register.versions[number]
        if version.writer is not None and number > 0:
            command = version.writer.request
            try:
                verdict, why, token, _ = model.accept(key, command)
            except KeyError:
                verdict, why, token = "rejected", "about another record", None
            if verdict != "succeeded":
                yield f"{register} accepted as version {number} that is {why} by the contract:\n  {version.writer}"
                return
            model.answers.clear()
            _hold(held, key, command)
            wrong = _differences(version, _shown(model, key, token, held))
            if wrong:
                yield f"{register}, version {number}, is not what the commands come to: {wrong}"
                return
        for operation in refused.get(number, ()):
            yield from _wrong_refusal(register, number, model, operation)


def _wrong_refusal(register: Register, number: int, model: SingleRecord, operation: Operation) -> Iterator[str]:
    """Hold a refused command against the model, save one on allocations: the model has no other records."""
    assert operation.answer is not None
    data, verdict = operation.answer["data"], operation.answer["type"].rpartition(".")[2]
    why = data.get("reason") or data["code"]
    if register.key[0] == "consumer" or why in OTHERS_FAULT:
        return
    answer = deepcopy(model).apply(operation.request)
    if answer[:3] != (verdict, why, data.get("actual")):
        yield f"{register}, version {number}, should have answered {answer}:\n  {operation}"


def _differences(version: Version, shown: Json) -> str:
    wrong = [
        f"{name} is {version.facts[name][0]} and should be {value}\n  {version.facts[name][1] or 'the contract'}"
        for name, value in shown.items()
        if name in version.facts and version.facts[name][0] != value
    ]
    return "; ".join(wrong)


def _hold(held: Held, key: Key, command: Json) -> None:
    """Follow what consumers have of a provider."""
    if key[0] != "provider" or not command["type"].startswith("consumer."):
        return
    data = command["data"]
    for consumer_id, wanted in ({command["subject"]: data} if command["subject"] else data["consumers"]).items():
        held.pop(consumer_id, None)
        if key[1] in wanted["allocations"]:
            held[consumer_id] = wanted["allocations"][key[1]]["resources"]


def _shown(model: SingleRecord, key: Key, token: Any, held: Held) -> Json:
    """What a record is like, in the words of an answer."""
    kind, record_id = key
    if kind == "document":
        body = model.documents[record_id].body
        return GONE if body is None else LIVE | {"body": body}
    if kind == "consumer":
        consumer = model.consumer
        shown = LIVE | {"consumer_type": consumer.consumer_type, "allocations": consumer.allocations}
        return shown if consumer.allocations else GONE
    if kind == "provider":
        return _shown_provider(model, record_id, held)
    stack = model.stacks[record_id]
    if stack.deleted():
        return GONE
    names = ("name", "action", "status", "template", "previous_template", "disable_rollback", "timeout_s")
    return LIVE | stack.token() | {"token": token["traversal"]} | {name: getattr(stack, name) for name in names}


def _shown_provider(model: SingleRecord, record_id: str, held: Held) -> Json:
    provider = model.providers[record_id]
    if provider.deleted:
        return GONE
    used = {name: sum(amounts.get(name, 0) for amounts in held.values()) for name in provider.inventories}
    return LIVE | {
        "name": provider.name,
        "parent_id": provider.parent,
        "inventories": provider.inventories,
        "traits": sorted(provider.traits),
        "aggregates": sorted(provider.aggregates),
        "used": used,
        "held": held,
    }
