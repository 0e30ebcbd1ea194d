"""Lists of commands on few consumers and the providers that they share, most of them with the generations of now."""

import uuid
from copy import deepcopy

from hypothesis import strategies as st

from tests.property.model import Json, Model
from tests.property.strategies import COMMANDS_MAX, repeated
from tests.property.strategies_providers import NOBODY, PROVIDER_NAMES, PROVIDERS
from tests.support.factories import envelope

STOCKED = PROVIDERS[:3]
# One of them has the id of a provider, too.
CONSUMERS = (STOCKED[0], *(str(uuid.UUID(int=number, version=4)) for number in (301, 302)))

_MAYBE = st.booleans()
_RARELY = st.integers(0, 9).map(lambda drawn: drawn == 9)
_CLASSES = st.sampled_from(("VCPU", "VCPU", "VCPU", "DISK_GB", "CUSTOM_A"))
_ANY_CLASSES = st.sampled_from(("VCPU", "VCPU", "DISK_GB", "CUSTOM_A", "VCPUS"))
_AMOUNTS = st.integers(1, 4)
_INVENTORIES = st.sampled_from(
    (
        {"total": 4},
        {"total": 6},
        {"total": 6, "reserved": 1},
        {"total": 3, "allocation_ratio": 2.3},
        {"total": 8, "min_unit": 2, "max_unit": 3},
        {"total": 8, "step_size": 2, "allocation_ratio": 0.7},
        {"total": 2, "reserved": 2},
    )
).map(deepcopy)
_STOCKS = st.dictionaries(_CLASSES, _INVENTORIES, max_size=3)
VERBS = (
    *("set_allocations",) * 8,
    *("set_many",) * 4,
    *("reshape",) * 4,
    *("provider.set_inventories", "provider.put_inventory", "provider.put_inventory"),
    *("provider.delete_inventory", "provider.delete", "provider.update"),
)
_VERBS = st.sampled_from(VERBS)


@st.composite
def allocation_lists(draw: st.DrawFn) -> list[Json]:
    """Envelopes in the order of their arrival; first come those that make and stock some of the providers."""
    model, commands = Model(), list[Json]()

    def add(command: Json) -> None:
        model.apply(command)
        commands.append(command)

    for provider in STOCKED[: draw(st.integers(2, 3))]:
        add(_envelope("provider.create", provider, {"name": _name(provider)}, len(commands)))
        stock = {"VCPU": draw(_INVENTORIES)} | draw(_STOCKS)
        add(_envelope("provider.set_inventories", provider, _expecting(stock, 0), len(commands)))
    for _ in range(draw(st.integers(1, COMMANDS_MAX))):
        add(repeated(draw, commands) if draw(_RARELY) else _fresh(draw, model, len(commands)))
    return commands


def _envelope(command_type: str, subject: str | None, data: Json, number: int) -> Json:
    return envelope(command_type, subject, data, id=str(uuid.UUID(int=1000 + number, version=4)))


def _name(provider: str) -> str:
    return PROVIDER_NAMES[PROVIDERS.index(provider)]


def _expecting(inventories: Json, generation: int) -> Json:
    return {"expected_generation": generation, "inventories": inventories}


def _fresh(draw: st.DrawFn, model: Model, number: int) -> Json:
    verb = draw(_VERBS)
    if verb.startswith("provider."):
        return _on_provider(draw, model, verb, number)
    if verb == "set_allocations":
        consumer = draw(st.sampled_from(CONSUMERS))
        return _envelope("consumer.set_allocations", consumer, _wanted(draw, model, consumer), number)
    least = 1 if verb == "set_many" else 0
    consumers = draw(st.lists(st.sampled_from(CONSUMERS), min_size=least, max_size=3, unique=True))
    data: Json = {"consumers": {consumer: _wanted(draw, model, consumer) for consumer in consumers}}
    if verb == "reshape":
        providers = draw(st.lists(st.sampled_from(STOCKED), min_size=not consumers, max_size=2, unique=True))
        data["inventories"] = {
            provider: _expecting(draw(_STOCKS), _generation(draw, model, provider)) for provider in providers
        }
    return _envelope(f"consumer.{verb}", None, data, number)


def _on_provider(draw: st.DrawFn, model: Model, verb: str, number: int) -> Json:
    provider = draw(st.sampled_from(STOCKED))
    if model.show(provider) is None:
        return _envelope("provider.create", provider, {"name": _name(provider)}, number)
    data: Json = {"expected_generation": _generation(draw, model, provider)}
    match verb:
        case "provider.set_inventories":
            data["inventories"] = draw(_STOCKS)
        case "provider.put_inventory":
            data |= {"resource_class": draw(_CLASSES), "inventory": draw(_INVENTORIES)}
        case "provider.delete_inventory":
            data["resource_class"] = draw(_CLASSES)
        case "provider.update":
            data["parent_id"] = draw(st.sampled_from((None, *STOCKED)))
        case _:
            pass
    return _envelope(verb, provider, data, number)


def _generation(draw: st.DrawFn, model: Model, provider: str) -> int:
    """Mostly the one that it has."""
    known = model.providers.get(provider)
    actual = known.generation if known else 0
    off: int = draw(st.sampled_from((0,) * 14 + (-1, 1)))
    return max(0, actual + off)


def _wanted(draw: st.DrawFn, model: Model, consumer: str) -> Json:
    """What a command says of one consumer: mostly a few units of providers that have them."""
    known, alive = model.consumers.get(consumer), model.show_consumer(consumer)
    actual = known.generation if known and alive else None
    near = max(0, (known.generation if known else 0) + draw(st.sampled_from((-1, 1))))
    data: Json = {
        "expected_generation": draw(st.sampled_from((actual,) * 9 + (near, None))),
        "project_id": draw(st.sampled_from(("p", "q"))),
        "user_id": "u",
        "allocations": {},
    }
    if draw(_RARELY):
        data["consumer_type"] = draw(st.sampled_from((None, "INSTANCE", "MIGRATION")))
    if draw(st.integers(0, 5)) > 0 or (alive is None and not draw(_RARELY)):
        somewhere = st.sampled_from(STOCKED) if not draw(_RARELY) else st.sampled_from((*PROVIDERS, NOBODY))
        for provider in draw(st.lists(somewhere, min_size=1, max_size=2, unique=True)):
            data["allocations"][provider] = _allocation(draw, model, provider)
    return data


def _allocation(draw: st.DrawFn, model: Model, provider: str) -> Json:
    known = model.providers.get(provider)
    there = sorted(known.inventories) if known else []
    names = st.sampled_from(there) if there and not draw(_RARELY) else _ANY_CLASSES
    resources = draw(st.dictionaries(names, _AMOUNTS, min_size=1, max_size=2))
    allocation: Json = {"resources": resources}
    if draw(st.integers(0, 4)) == 0:
        allocation["expected_generation"] = _generation(draw, model, provider)
    return allocation
