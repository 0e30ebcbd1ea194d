"""Lists of commands over few records, most of them with a token that some command before them saw or made."""

import re
import uuid
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

from genlock.schemas.base import UUID_PATTERN
from tests.property.model import Json, Model, VerdictSummary
from tests.property.strategies_providers import PROVIDER_NAMES, PROVIDERS, provider_data
from tests.support.factories import envelope

DOCUMENTS = ("flavour", "server é")
STACKS = tuple(str(uuid.UUID(int=number, version=4)) for number in (1, 2))
NAMES = ("blue", "green")
COMMANDS_MAX = 40

UUID = re.compile(UUID_PATTERN)

WITHOUT_PROVIDERS = ("document", "stack", "stack")
PROVIDERS_TOO = ("document", "stack", "provider", "provider", "provider", "provider")
PROVIDERS_ONLY = ("provider",)
"""Kinds to draw from."""

VERBS = {
    "document": ("put", "put", "merge", "merge", "delete"),
    "stack": ("create", "update", "update", "delete", "rollback", "cancel", "set_state", "set_state", "set_state"),
    "provider": (
        *("update", "update", "update", "update", "create", "delete", "delete"),
        *("set_inventories", "put_inventory", "delete_inventory", "set_traits", "set_aggregates"),
    ),
}
SUBJECTS = {"document": DOCUMENTS, "stack": STACKS, "provider": PROVIDERS}


def _objects(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return st.dictionaries(st.sampled_from(("a", "b", "c")), values, max_size=3)


_SCALARS = st.none() | st.booleans() | st.integers(-2, 2) | st.floats(-1, 1) | st.sampled_from(("", "a", "é😀"))
_VALUES = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=2) | _objects(inner), max_leaves=4)
OBJECTS = _objects(_VALUES)
"""Any JSON objects with few names, so that they have names in common."""

# Commands take theirs from a short list: drawing values would take most of the time.
_BODIES = st.sampled_from(({}, {"a": 1}, {"a": 1.0}, {"a": {"b": "é😀"}, "c": [1, None]}, {"b": True})).map(deepcopy)
_PATCHES = st.sampled_from(({}, {"a": None}, {"a": {"b": None, "c": 2}}, {"c": [{}]}, {"b": {"a": None}})).map(deepcopy)
MAYBE = st.booleans()
_RARELY = st.integers(0, 9).map(lambda drawn: drawn == 9)


@st.composite
def command_lists(draw: st.DrawFn, kinds: tuple[str, ...] = WITHOUT_PROVIDERS) -> list[Json]:
    """Envelopes in the order of their arrival; the model runs along, so that there are tokens to expect."""
    model, commands = Model(), list[Json]()
    for number in range(draw(st.integers(1, COMMANDS_MAX))):
        again = bool(commands) and draw(_RARELY)
        command = repeated(draw, commands) if again else _fresh(draw, model, commands, number, kinds)
        model.apply(command)
        commands.append(command)
    return commands


def repeated(draw: st.DrawFn, commands: list[Json]) -> Json:
    """A copy of an earlier command, or another command under its id."""
    command = deepcopy(draw(st.sampled_from(commands)))
    if draw(_RARELY):
        command["data"] = deepcopy(draw(st.sampled_from(commands)))["data"]
    return command


def _fresh(draw: st.DrawFn, model: Model, commands: list[Json], number: int, kinds: tuple[str, ...]) -> Json:
    kind = draw(st.sampled_from(kinds))
    subject = draw(st.sampled_from(SUBJECTS[kind]))
    verbs = VERBS[kind]
    absent = {"stack": subject not in model.stacks, "provider": model.show(subject) is None}
    if absent.get(kind) and not draw(_RARELY):
        verbs = ("create",)
    verb = draw(st.sampled_from(verbs))
    if kind == "document":
        data = _document_data(draw, model, subject, verb)
    elif kind == "stack":
        data = _stack_data(draw, model, commands, subject, verb)
    else:
        data = provider_data(draw, model, subject, verb)
    if draw(st.integers(0, 39)) == 39:
        data["unknown"] = 1
    return envelope(f"{kind}.{verb}", subject, data, id=str(uuid.UUID(int=1000 + number, version=4)))


def _document_data(draw: st.DrawFn, model: Model, subject: str, verb: str) -> Json:
    document = model.documents.get(subject)
    alive = document is not None and document.body is not None
    actual = document.generation if document and alive else None
    near = max(0, (document.generation if document else 0) + draw(st.sampled_from((-1, -2, 1))))
    expected = draw(st.sampled_from((actual, actual, near, near, None)))
    data: Json = {"expected_generation": expected}
    if verb == "put":
        data["body"] = draw(_BODIES)
    elif verb == "merge":
        data["patch"] = draw(_PATCHES)
        if draw(MAYBE):
            del data["expected_generation"]
    elif expected is None:
        data["expected_generation"] = near
    return data


def _stack_data(draw: st.DrawFn, model: Model, commands: list[Json], subject: str, verb: str) -> Json:
    data: Json = {}
    if verb == "create":
        data["name"] = draw(st.sampled_from(NAMES))
    else:
        data["expected_traversal"] = _traversal(draw, model, commands, subject)
    if verb in ("create", "update"):
        data["template"] = draw(_BODIES)
        if draw(MAYBE):
            data["disable_rollback"] = draw(MAYBE)
        if draw(MAYBE):
            data["timeout_s"] = draw(st.integers(1, 2))
    if verb == "set_state":
        data["status"] = draw(st.sampled_from(("COMPLETE", "FAILED")))
        data["reason"] = draw(st.sampled_from(("", "done")))
    return data


def _traversal(draw: st.DrawFn, model: Model, commands: list[Json], subject: str) -> str:
    """Mostly the one that owns the stack; else one that it had, any earlier command's id, or an unknown id."""
    stack = model.stacks.get(subject)
    had = stack.traversals if stack else [subject]
    others = [command["id"] for command in commands] or [subject]
    choice = draw(st.integers(0, 9))
    if choice < 7:
        return had[-1]
    if choice == 7:
        return draw(st.sampled_from(had))
    return (
        draw(st.sampled_from(others)) if choice == 8 else str(uuid.UUID(int=draw(st.integers(9000, 9002)), version=4))
    )


@st.composite
def splits(draw: st.DrawFn, commands: list[Json]) -> list[list[Json]]:
    """The commands in batches, in their order."""
    batches: list[list[Json]] = [[]]
    for command in commands:
        another = draw(MAYBE)
        if another and batches[-1]:
            batches.append([])
        batches[-1].append(command)
    return batches


def moved(commands: Iterable[Json], where: str) -> list[Json]:
    """The same commands on other records, under other names and ids: two examples can then share one database."""
    names = {*DOCUMENTS, *NAMES, *PROVIDER_NAMES}

    def elsewhere(value: Any) -> Any:
        if isinstance(value, dict):
            return {elsewhere(name): elsewhere(member) for name, member in value.items()}
        if isinstance(value, list):
            return [elsewhere(member) for member in value]
        if not isinstance(value, str):
            return value
        if value in names:
            return f"{value} {where}"
        return str(uuid.uuid5(uuid.UUID(value), where)) if UUID.fullmatch(value) else value

    return [elsewhere(command) for command in commands]


def summaries_of(model: Model, commands: Iterable[Json]) -> list[VerdictSummary]:
    """What the model says to each command, one after the other."""
    return [model.apply(command) for command in commands]


def comparable(answers: Iterable[VerdictSummary]) -> list[VerdictSummary]:
    """Answers that batches cannot change: a reused id is answered after its batch, with the sequence as it is then."""
    return [(*answer[:3], 0) if answer[1] == "id_reused" else answer for answer in answers]
