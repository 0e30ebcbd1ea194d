"""The worst that a publisher can send: of each type of command the messages that cost the service most.

A volley is what an attacker sends at once. The generations that its commands expect are right where a wrong one would
be cheaper, and wrong where a conflict, which shows the whole record, costs more.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from genlock.schemas.outcomes import BULK_CONTENT_TYPE, CONTENT_TYPE
from tests.hostile.ground import CLASSES, LARGE_PROVIDERS, MODEST_CLASSES, Ground
from tests.support.factories import Json, envelope, json_bytes, new_id


@dataclass(frozen=True)
class Sent:
    """A message of an attacker's, and how many answers it is to have."""

    body: bytes
    routing_key: str
    answers: int = 1
    content_type: str = CONTENT_TYPE
    properties: Json = field(default_factory=dict)


Volley = Callable[[Ground, int], list[Sent]]
"""Makes what is sent at once, of a size: how many commands, bytes or names the entry of the table counts."""


@dataclass(frozen=True)
class Worst:
    """The worst of a type. Others keep within their bound up to the size `held`; up to `largest` it is legal.

    What lies between is listed in docs/guarantees.md, "Beyond the bound".
    """

    volley: Volley
    counts: str
    largest: int
    held: int

    @property
    def told(self) -> str:
        """What is held of what is legal."""
        return f"{self.held:,} of {self.largest:,} {self.counts}"


def one(command_type: str, subject: str | None, data: Any, **properties: Any) -> Sent:
    return Sent(json_bytes(envelope(command_type, subject, data)), command_type, properties=properties)


def bulk(command_type: str, requests: list[tuple[str | None, Json]]) -> Sent:
    """One message with a command on each subject."""
    commands = [envelope(command_type, subject, data) for subject, data in requests]
    return Sent(json_bytes(commands), command_type, len(commands), BULK_CONTENT_TYPE)


BULK_MAX = 1_000
"""How many commands a bulk message has at most."""

STALE = 2**40
"""A generation that no record has: who expects it gets the whole record back."""


def _expecting(generation: int, **data: Any) -> Json:
    return {"expected_generation": generation, **data}


def _wanted(providers: Iterable[str]) -> Json:
    allocations = {provider: {"resources": {"CUSTOM_1": 1}} for provider in providers}
    return {"expected_generation": None, "project_id": "p", "user_id": "u", "allocations": allocations}


def _empty_objects(size: int) -> Json:
    """Contents of that many bytes, of the kind that takes most memory."""
    return {"a": [{}] * (size // 4)}


def _create_providers(ground: Ground, count: int) -> list[Sent]:
    """Below the last one of a long branch."""
    own = [new_id() for _ in range(count)]
    return [bulk("provider.create", [(each, {"name": each, "parent_id": ground.bottom}) for each in own])]


def _move_branch(ground: Ground, count: int) -> list[Sent]:
    """A long branch, below one and another."""
    moves: list[tuple[str | None, Json]] = []
    for _ in range(count):
        generation = ground.token("branch")
        parent = ground.providers[100 + generation % 2]
        moves.append((ground.top, _expecting(generation, parent_id=parent)))
    return [bulk("provider.update", moves)]


def _set_inventories(ground: Ground, classes: int) -> list[Sent]:
    """Of all classes other amounts each time."""
    generation = ground.token("inventories")
    inventories = {f"CUSTOM_{number}": {"total": 100 + generation % 2} for number in range(classes)}
    return [one("provider.set_inventories", ground.providers[50], _expecting(generation, inventories=inventories))]


def _set_traits(ground: Ground, count: int) -> list[Sent]:
    generation = ground.token("traits")
    traits = [f"CUSTOM_{generation}_{number}" for number in range(count)]
    return [one("provider.set_traits", ground.providers[51], _expecting(generation, traits=traits))]


def _set_aggregates(ground: Ground, count: int) -> list[Sent]:
    generation = ground.token("aggregates")
    aggregates = [f"{generation:08x}-0000-4000-8000-{number:012x}" for number in range(count)]
    return [one("provider.set_aggregates", ground.providers[52], _expecting(generation, aggregates=aggregates))]


def _set_many(ground: Ground, consumers: int) -> list[Sent]:
    """Of the same two providers each."""
    return [
        one(
            "consumer.set_many",
            None,
            {"consumers": {new_id(): _wanted(ground.small_providers[:2]) for _ in range(consumers)}},
        )
    ]


def _reshape(ground: Ground, providers: int) -> list[Sent]:
    """Of inventories that all are in conflict."""
    inventories = {
        provider: _expecting(STALE, inventories={"CUSTOM_1": {"total": 1}})
        for provider in ground.small_providers[:providers]
    }
    consumers = {new_id(): _wanted(ground.small_providers[:providers])}
    return [one("consumer.reshape", None, {"inventories": inventories, "consumers": consumers})]


def _on_provider(command_type: str, held: int, **data: Any) -> Worst:
    """Conflicts that show all inventories."""

    def volley(ground: Ground, classes: int) -> list[Sent]:
        provider = ground.large_provider if classes == CLASSES else ground.providers[LARGE_PROVIDERS]
        return [one(command_type, provider, _expecting(STALE, **data)) for _ in range(2)]

    return Worst(volley, "inventories that a conflict shows", CLASSES, held)


def _on_stack(command_type: str, held: int, **data: Any) -> Worst:
    """Conflicts that show two large templates."""

    def volley(ground: Ground, count: int) -> list[Sent]:
        return [bulk(command_type, [(ground.stack, {"expected_traversal": new_id(), **data})] * count)]

    return Worst(volley, "conflicts of one bulk message", BULK_MAX, held)


def _on_document(command_type: str, held: int, **data: Any) -> Worst:
    """Conflicts that show a large body."""

    def volley(ground: Ground, count: int) -> list[Sent]:
        return [bulk(command_type, [(ground.document, _expecting(STALE, **data))] * count)]

    return Worst(volley, "conflicts of one bulk message", BULK_MAX, held)


def _create_stack(_: Ground, size: int) -> list[Sent]:
    own = new_id()
    return [one("stack.create", own, {"name": own, "template": _empty_objects(size)})]


def _put(_: Ground, size: int) -> list[Sent]:
    return [one("document.put", new_id(), {"expected_generation": None, "body": _empty_objects(size)})]


def _allocate(ground: Ground, providers: int) -> list[Sent]:
    return [one("consumer.set_allocations", new_id(), _wanted(ground.small_providers[:providers]))]


WORST: dict[str, Worst] = {
    "provider.create": Worst(_create_providers, "commands of one bulk message", BULK_MAX, 5),
    "provider.update": Worst(_move_branch, "commands of one bulk message", BULK_MAX, 5),
    "provider.delete": _on_provider("provider.delete", MODEST_CLASSES),
    "provider.set_inventories": Worst(_set_inventories, "inventories", 20_000, 50),
    "provider.put_inventory": _on_provider(
        "provider.put_inventory", MODEST_CLASSES, resource_class="CUSTOM_1", inventory={"total": 1}
    ),
    "provider.delete_inventory": _on_provider("provider.delete_inventory", MODEST_CLASSES, resource_class="CUSTOM_1"),
    "provider.set_traits": Worst(_set_traits, "traits", 40_000, 500),
    "provider.set_aggregates": Worst(_set_aggregates, "aggregates", 25_000, 500),
    "consumer.set_allocations": Worst(_allocate, "providers", 10_000, 20),
    "consumer.set_many": Worst(_set_many, "consumers", 3_000, 10),
    "consumer.reshape": Worst(_reshape, "providers", 4_000, 10),
    "stack.create": Worst(_create_stack, "bytes of the template", 500_000, 50_000),
    "stack.update": _on_stack("stack.update", 1, template={}),
    "stack.delete": _on_stack("stack.delete", 1),
    "stack.rollback": _on_stack("stack.rollback", 1),
    "stack.cancel": _on_stack("stack.cancel", 1),
    "stack.set_state": _on_stack("stack.set_state", 10, status="COMPLETE"),
    "document.put": Worst(_put, "bytes of the body", 500_000, 50_000),
    "document.merge": _on_document("document.merge", 2, patch={}),
    "document.delete": _on_document("document.delete", 2),
}
"""By the type of command. tests/hostile/test_publishers.py holds that none is missing."""


def _rubbish(*bodies: bytes, **properties: Any) -> list[Sent]:
    """What has no answer, and a command whose outcome tells that it was taken."""
    sent = [Sent(body, "document.put", 0, properties=properties) for body in bodies]
    return [*sent, one("document.put", new_id(), _expecting(STALE, body={}))]


def _deep(_: Ground, size: int) -> list[Sent]:
    levels = size // 2
    return _rubbish(b'{"data":' + b"[" * levels + b"]" * levels + b"}", b"[" * size)


def _again(ground: Ground, copies: int) -> list[Sent]:
    """A conflict that the ledger has, half a megabyte each time."""
    command = envelope("document.put", ground.document, _expecting(STALE, body={}), id=ground.again)
    return [Sent(json_bytes(command), "document.put")] * copies


def _headers(_: Ground, count: int) -> list[Sent]:
    headers = {f"h{number}": "x" * 200 for number in range(count)}
    return _rubbish(*[b"{}"] * 10, headers=headers, priority=255)


def _on_hot_record(ground: Ground, count: int) -> list[Sent]:
    """Changes that all are accepted, each a message."""
    return [one("document.merge", ground.hot, {"patch": {"n": number}}) for number in range(count)]


def _bytes(made: Callable[[int], bytes], held: int = 5_000) -> Worst:
    return Worst(lambda _, size: _rubbish(made(size)), "bytes", 2**20, held)


ODD: dict[str, Worst] = {
    "no UTF-8": _bytes(lambda size: b"\xff" * size),
    "brackets": Worst(_deep, "bytes", 2**20, 5_000),
    "numbers": _bytes(lambda size: b'{"data":[' + b"1e400," * (size // 6) + b"1]}"),
    "one member again and again": _bytes(lambda size: b"{" + b'"a":1,' * (size // 6) + b'"a":1}'),
    "more than may be read": Worst(lambda _, size: _rubbish(b"x" * size), "bytes", 16 * 2**20, 5_000),
    "headers": Worst(_headers, "headers", 400, 40),
    "one id again and again": Worst(_again, "copies", 1_000, 1),
    "one hot record": Worst(_on_hot_record, "messages at once", 1_000, 10),
}
"""Messages of any type, by what is odd about them."""
