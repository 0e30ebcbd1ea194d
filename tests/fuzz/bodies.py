"""Bodies of messages: bytes, JSON, envelopes, and commands that are valid but for one thing."""

import json
import uuid
from typing import Any

from hypothesis import strategies as st

from tests.support.factories import PUBLISHER, Json

SUBJECTS = tuple(str(uuid.UUID(int=number, version=4)) for number in range(1, 7))
"""Few, so that commands meet; each may name a record of every kind."""

NEW_SUBJECT = "cafebabe-cafe-4abe-8abe-cafebabecafe"
"""Stands for the id of a record that no other message names."""

RAW = "\x01raw:"
"""A text with this prefix is written into the JSON as it is, without quotes."""

ODD: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2**31, 2**53, 2**63 - 1, -(2**63), 2**63, 2**64, 10**30, 0.1, -0.0, 1e300),
    *("", " ", "x", "x" * 256, "x" * 70_000, "é😀", "\u2028", "\ud800", "\udc00\ud800", "\x00", "\x7f", "\ufeff"),
    *("null", "0", "NaN", "2026-01-31T12:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"),
    *("document.put", "document.put.succeeded", "command.unknown.rejected", "..", "#", *SUBJECTS),
    *([], {}, [[]], {"": {}}, [None] * 300, {"$ref": "#"}, {str(number): number for number in range(300)}),
    *(f"{RAW}{text}" for text in ("NaN", "-Infinity", "1e999", "-1e-999", "9" * 400, "9" * 5_000, "1E+2", "-0", "01")),
    *(f"{RAW}{'[' * levels}{']' * levels}" for levels in (60, 61, 62, 64, 150, 900, 3_000, 30_000)),
    f'{RAW}{{"a": 1, "a": 2}}',
    f"{RAW}'x'",
    f'{RAW}"\\u0000"',
    f'{RAW}"\\ud83d\\ude00"',
    f'{RAW}"\\x"',
    RAW,
)
"""Values that something on the way may choke on."""

odd = st.sampled_from(ODD)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | odd
jsons = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)

_subjects = st.sampled_from((*SUBJECTS, *(NEW_SUBJECT,) * 3))
_generations = st.sampled_from((0, 0, 0, 1, 2, 5))
_maybe_generations = st.sampled_from((None, None, None, 0, 1, 2))
_names = st.sampled_from((f"new {NEW_SUBJECT}", "red", "green", "é😀"))
_objects = st.sampled_from(({}, {"a": 1}, {"a": None, "é": [1.5, {"b": "😀"}]}, {"": "", "n": -(2**63)}))
_classes = st.sampled_from(("VCPU", "MEMORY_MB", "CUSTOM_GOLD"))
_inventory = st.fixed_dictionaries({"total": st.integers(1, 100)}, optional={"reserved": st.just(1)})
_inventories = st.dictionaries(_classes, _inventory, max_size=2)
_traversals = st.fixed_dictionaries({"expected_traversal": _subjects})
_generation = st.fixed_dictionaries({"expected_generation": _generations})
_allocation = st.fixed_dictionaries(
    {"resources": st.dictionaries(_classes, st.integers(1, 50), min_size=1, max_size=2)},
    optional={"expected_generation": _generations},
)
_consumer = st.fixed_dictionaries(
    {
        "expected_generation": _maybe_generations,
        "project_id": _names,
        "user_id": _names,
        "allocations": st.dictionaries(_subjects, _allocation, max_size=2),
    },
    optional={"consumer_type": st.just("INSTANCE")},
)


def _and(generation: st.SearchStrategy[Any] = _generations, **members: st.SearchStrategy[Any]) -> Any:
    return st.fixed_dictionaries({"expected_generation": generation, **members})


DATA: dict[str, st.SearchStrategy[Json]] = {
    "document.put": _and(_maybe_generations, body=_objects),
    "document.merge": st.fixed_dictionaries({"patch": _objects}, optional={"expected_generation": _maybe_generations}),
    "document.delete": _generation,
    "provider.create": st.fixed_dictionaries({"name": _names}, optional={"parent_id": st.none() | _subjects}),
    "provider.update": _and(name=_names) | _and(parent_id=st.none() | _subjects),
    "provider.delete": _generation,
    "provider.set_inventories": _and(inventories=_inventories),
    "provider.put_inventory": _and(resource_class=_classes, inventory=_inventory),
    "provider.delete_inventory": _and(resource_class=_classes),
    "provider.set_traits": _and(traits=st.just(["CUSTOM_A", "HW_CPU_X86_AVX2"])),
    "provider.set_aggregates": _and(aggregates=st.lists(_subjects, max_size=2, unique=True)),
    "consumer.set_allocations": _consumer,
    "consumer.set_many": st.fixed_dictionaries(
        {"consumers": st.dictionaries(_subjects, _consumer, min_size=1, max_size=2)}
    ),
    "consumer.reshape": st.fixed_dictionaries(
        {
            "inventories": st.dictionaries(_subjects, _and(inventories=_inventories), min_size=1, max_size=2),
            "consumers": st.dictionaries(_subjects, _consumer, max_size=2),
        }
    ),
    "stack.create": st.fixed_dictionaries(
        {"name": _names, "template": _objects}, optional={"disable_rollback": st.booleans(), "timeout_s": st.just(60)}
    ),
    "stack.update": st.fixed_dictionaries({"expected_traversal": _subjects, "template": _objects}),
    "stack.delete": _traversals,
    "stack.rollback": _traversals,
    "stack.cancel": _traversals,
    "stack.set_state": st.fixed_dictionaries(
        {"expected_traversal": _subjects, "status": st.sampled_from(("COMPLETE", "FAILED")), "reason": _names}
    ),
}
"""Valid data for each type of command."""

QUERY_DATA: dict[str, st.SearchStrategy[Json]] = {
    "document.get": st.just({}),
    "provider.get": st.just({}),
    "stack.get": st.just({}),
    "command.get": st.just({}),
    **{f"{kind}.outcome": st.just({}) for kind in ("document", "provider", "consumer", "stack")},
    "stack.list": st.fixed_dictionaries({}, optional={"name": _names, "limit": st.integers(1, 1_000)}),
    "consumer.get": st.just({}),
    "provider.allocations": st.fixed_dictionaries({}, optional={"limit": st.integers(1, 1_000)}),
    "provider.usages": st.fixed_dictionaries({}, optional={"after": st.just("VCPU")}),
    "project.usages": st.fixed_dictionaries({}, optional={"user_id": _names, "consumer_type": st.just("all")}),
    "provider.list": st.fixed_dictionaries(
        {},
        optional={
            "name": _names,
            "in_tree": _subjects,
            "member_of": _subjects | st.just([f"in:{SUBJECTS[0]},{SUBJECTS[1]}", f"!{SUBJECTS[2]}"]),
            "required": st.just(["CUSTOM_A", "!HW_CPU_X86_AVX2"]),
            "resources": st.dictionaries(_classes, st.integers(1, 50), min_size=1, max_size=2),
        },
    ),
    "record.history": st.fixed_dictionaries(
        {"kind": st.sampled_from(("document", "provider", "consumer", "stack"))}, optional={"after": st.just("2")}
    ),
}
"""Valid data for queries."""


CREATIONS = ("document.put", "provider.create", "stack.create") * 5
"""More often than others, so that there is something to be changed."""


def without_subject(message_type: str) -> bool:
    return message_type in ("consumer.set_many", "consumer.reshape", "provider.list", "stack.list")


@st.composite
def valid(draw: st.DrawFn, data: dict[str, st.SearchStrategy[Json]], command_id: str) -> Json:
    """A valid message of any type. A few stacks are owned by the command that another stack is named after."""
    message_type = draw(st.sampled_from([*CREATIONS, *sorted(data)] if data is DATA else sorted(data)))
    members = {
        "specversion": "1.0",
        "id": command_id,
        "source": PUBLISHER,
        "type": message_type,
        "data": draw(data[message_type]),
    }
    return members if without_subject(message_type) else members | {"subject": draw(_subjects)}


@st.composite
def mutated(draw: st.DrawFn, members: Json) -> Json:
    """The same but for one thing, anywhere in it: gone, added, or replaced."""
    members = json.loads(json.dumps(members))
    places = _places(members)
    holder, key = draw(st.sampled_from(places))
    how = draw(st.sampled_from(("remove", "replace", "replace", "replace", "add", "rename")))
    if how == "remove":
        del holder[key]
    elif how == "replace":
        holder[key] = draw(odd)
    elif isinstance(holder, list):
        holder.append(draw(odd))
    elif how == "add":
        holder[draw(st.sampled_from(("x", "", "\x00", "id ", "ID", "expected_generation", "é" * 300)))] = draw(odd)
    else:
        holder[draw(st.sampled_from(("x", f"{key} ", str(key).upper(), "\ud800")))] = holder.pop(key)
    return members


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Everything within it, as what holds it and its key there."""
    places: list[tuple[Any, Any]] = []
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        for key in holder if isinstance(holder, dict) else range(len(holder)):
            places.append((holder, key))
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])
    return places


def envelopes(command_id: str) -> st.SearchStrategy[Json]:
    """Envelopes with any attributes."""
    known = {
        "specversion": st.just("1.0") | odd,
        "source": st.just(PUBLISHER) | odd,
        "type": st.sampled_from((*sorted(DATA), "no.such")) | odd,
        "subject": _subjects | odd,
        "data": jsons,
        "time": st.just("2026-01-31T12:00:00Z") | odd,
        "correlationid": odd,
        "causationid": odd,
        "attempt": odd,
        "traceparent": st.just("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01") | odd,
        "tracestate": odd,
        "datacontenttype": odd,
        "dataschema": odd,
        "x": odd,
    }
    return st.fixed_dictionaries({"id": st.just(command_id)}, optional=known)


@st.composite
def broken(draw: st.DrawFn, text: bytes) -> bytes:
    """The bytes but for a few: cut off, flipped, put in, or in another encoding."""
    how = draw(st.sampled_from(("cut", "flip", "put in", "twice", "mark", "utf-16", "latin-1")))
    where = draw(st.integers(0, len(text)))
    match how:
        case "cut":
            return text[:where]
        case "flip":
            return text[:where] + draw(st.binary(min_size=1, max_size=1)) + text[where + 1 :]
        case "put in":
            return (
                text[:where]
                + draw(st.sampled_from((b"\x00", b"\xff", b"{", b'"', b"\\", b"\xed\xa0\x80")))
                + text[where:]
            )
        case "twice":
            return text + text
        case "mark":
            return b"\xef\xbb\xbf" + text
        case _:
            return text.decode(errors="replace").encode(how, errors="replace")


def written(value: Any, *, escaped: bool) -> bytes:
    """JSON text; raw parts are written as they are."""
    text = json.dumps(value, ensure_ascii=escaped, allow_nan=True)
    while (start := text.find(_MARK)) >= 0:
        end = _end(text, start)
        text = text[:start] + json.loads(text[start:end])[len(RAW) :] + text[end:]
    # A lone surrogate that is not escaped is no UTF-8.
    return text.encode(errors="surrogatepass")


_MARK = json.dumps(RAW)[:-1]


def _end(text: str, start: int) -> int:
    """Where the JSON text that begins there ends."""
    end = start + 1
    while text[end] != '"':
        end += 2 if text[end] == "\\" else 1
    return end + 1
