"""What an answer says of records, read by the contract alone: which version of which record, and what that was like.

A record has a version for each command that it accepted, counted by `sequence` from 1; version 0 is that there never
was one. An accepted command read the version before its own and wrote its own, in one step: that is a compare-and-set.
A conflict, a rejection and a query only saw a version. What they say of a version are facts: names with values. Two
answers that say different things of one version contradict each other.

The generation of a document and of a provider is 0 at version 1, and that of a consumer is 1; each accepted command
adds one. So a generation names a version. The traversal of a stack does not change with each version, but an event
and a query tell the `sequence` beside it.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from tests.faults.histories.history import Json, Operation

Key = tuple[str, str]
"""Kind and id of a record; of the kind `command` it is a command's fate, which has one version, its event."""

FIRST_GENERATION = {"document": 0, "provider": 0, "consumer": 1}
"""What guards these kinds, at version 1."""

KINDS = {*FIRST_GENERATION, "stack"}

LIVE: Json = {"exists": True}
GONE: Json = {"exists": False}
NEVER: Json = GONE | {"token": None}
"""Version 0. A stack that was deleted is gone, but has a token, and is never created again."""

NOT_OF_THE_RECORD = {"id", "generation", "traversal", "root_id", "failed_template"}
"""Members of a state that are no facts of its own: tokens are, but under one name; a root is another provider's."""

NOT_SEEN = {"id_reused", "internal_error", "expired", "unknown_type", "routing_key_mismatch"}
"""Rejections that say nothing of a record."""


class Part(Enum):
    """What an operation had to do with a version."""

    WROTE = auto()
    SAW = auto()
    TOLD = auto()
    """It says what that version was like, but was there at another time."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one answer says of one version; None where it saw that there is no record, and not which version that is."""

    key: Key
    version: int | None
    part: Part
    facts: Json = field(default_factory=dict)


def version_of(kind: str, generation: int) -> int:
    """The version that has a generation."""
    return generation - FIRST_GENERATION[kind] + 1


def generation_of(kind: str, version: int) -> int:
    """The generation that a version has."""
    return version - 1 + FIRST_GENERATION[kind]


def sights(operation: Operation) -> Iterator[Sight]:
    """All that an operation's answer says; nothing where there is no answer."""
    answer = operation.answer
    if answer is None:
        return
    if operation.query:
        yield from _of_query(operation.request, answer)
        return
    yield Sight(("command", operation.id), 1, Part.WROTE, {"event": answer})
    verdict = answer["type"].rpartition(".")[2]
    if verdict == "succeeded":
        yield from _of_success(operation.request, answer["data"])
    elif verdict == "conflict":
        yield from _of_conflict(operation.request, answer)
    elif verdict == "rejected":
        yield from _of_rejection(answer["data"])


def failures(conflict: Json) -> list[Json]:
    """The records that a command did not find as expected; the first of several stands at the top level too."""
    data: Json = conflict["data"]
    return [data, *(data.get("failures") or ())]


def named(command: Json) -> set[Key]:
    """The records that a command names; it changes these if it is accepted, and perhaps providers beside them."""
    kind = command["type"].partition(".")[0]
    if kind != "consumer":
        return {(kind, command["subject"])}
    data = command["data"]
    wanted = {command["subject"]: data} if command["subject"] else data["consumers"]
    providers = {provider for one in wanted.values() for provider in one["allocations"]} | set(
        data.get("inventories", ())
    )
    return {("consumer", consumer) for consumer in wanted} | {("provider", provider) for provider in providers}


def expected(command: Json, key: Key) -> Json:
    """What a command expects of a record that it changes, as facts of the version before its own."""
    data = command["data"]
    if command["type"] in ("stack.create", "provider.create"):
        return NEVER if key[0] == "stack" else GONE
    if command["type"].startswith("consumer."):
        data = _part(command, key)
    elif key[0] == "stack":
        return _expected(data["expected_traversal"])
    return _expected(data.get("expected_generation")) if "expected_generation" in data else LIVE


def refused(failure: Json) -> tuple[Key, int, Json]:
    """The record and the version that was not as a command expected, and what that was."""
    token = failure["expected"]
    return (failure["kind"], failure["id"]), failure["sequence"], _expected(None if token is None else _plain(token))


def _expected(token: Any) -> Json:
    return GONE if token is None else LIVE | {"token": token}


def written(command: Json, key: Key) -> Json:
    """What a command says itself of the version that it makes, as far as no other version has to be known for it."""
    if command["type"] == "document.put":
        return LIVE | {"body": command["data"]["body"]}
    if command["type"] in ("document.delete", "provider.delete"):
        return GONE
    if key[0] == "consumer":
        return {"exists": bool(_part(command, key).get("allocations"))}
    if key[0] == "stack":
        # Only a report leaves the traversal as it was, or ends the stack.
        return {} if command["type"] == "stack.set_state" else LIVE | {"token": command["id"]}
    return LIVE


def _part(command: Json, key: Key) -> Json:
    """The part of a command on consumers that is about one record; empty of a provider that it only takes from."""
    (kind, record_id), data = key, command["data"]
    wanted: dict[str, Json] = {command["subject"]: data} if command["subject"] else data["consumers"]
    if kind == "consumer":
        return wanted.get(record_id, {})
    if record_id in data.get("inventories", {}):
        part: Json = data["inventories"][record_id]
        return part
    allocations = [one["allocations"][record_id] for one in wanted.values() if record_id in one["allocations"]]
    checks = {one["expected_generation"] for one in allocations if "expected_generation" in one}
    # No version has several generations.
    return {"expected_generation": checks.pop() if len(checks) == 1 else sorted(checks)} if checks else {}


def _of_success(command: Json, data: Json) -> Iterator[Sight]:
    for kind, tokens in (data.get("tokens") or {}).items():
        for record_id, token in tokens.items():
            yield from _wrote(command, (kind, record_id), version_of(kind, token["generation"]), {})
    if data["id"] is not None:
        key = (data["kind"], data["id"])
        facts = {"token": _plain(data["token"])}
        state = {} if data.get("truncated") else _state(data["record"])
        yield from _wrote(command, key, data["sequence"], facts | state)


def _wrote(command: Json, key: Key, version: int, facts: Json) -> Iterator[Sight]:
    yield Sight(key, version, Part.WROTE, {"maker": command["id"]} | facts)
    yield Sight(key, version, Part.TOLD, written(command, key))
    yield Sight(key, version - 1, Part.TOLD, expected(command, key))


def _of_conflict(command: Json, conflict: Json) -> Iterator[Sight]:
    """All records that were not as expected are listed; so the others were."""
    listed = failures(conflict)
    yield from map(_of_failure, listed)
    if "failures" not in conflict["data"] or conflict["data"].get("truncated"):
        return
    for key in named(command) - {(failure["kind"], failure["id"]) for failure in listed}:
        wanted = expected(command, key)
        if wanted == GONE:
            yield Sight(key, None, Part.SAW, GONE)
        elif "token" in wanted:
            yield Sight(key, version_of(key[0], wanted["token"]), Part.SAW, wanted)


def _of_failure(failure: Json) -> Sight:
    key = (failure["kind"], failure["id"])
    facts: Json = dict(GONE)
    if failure["actual"] is not None:
        facts = LIVE | {"token": _plain(failure["actual"])} | (_state(failure["current"]) if failure["current"] else {})
    if failure["winner"] is not None:
        # A traversal is the id of the command that started it; later commands may have kept it.
        facts |= {"token" if failure["kind"] == "stack" else "maker": failure["winner"]["command_id"]}
    return Sight(key, failure["sequence"], Part.SAW, facts)


def _of_rejection(data: Json) -> Iterator[Sight]:
    if data["kind"] not in KINDS or data["id"] is None or data["code"] in NOT_SEEN:
        return
    gone = data["code"] == "deleted" or (data["code"] == "not_found" and data["kind"] == "document")
    yield Sight((data["kind"], data["id"]), data["sequence"], Part.SAW, GONE if gone else {})


def _of_query(query: Json, answer: Json) -> Iterator[Sight]:
    kind, _, what = query["type"].partition(".")
    key = (kind, str(query["subject"]))
    error = answer.get("error", {}).get("code")
    if error not in (None, "not_found"):
        return
    match what:
        case "get" if kind == "command":
            yield Sight(key, 0 if error else 1, Part.SAW, {} if error else {"event": answer["record"]})
        case "get":
            yield _of_get(key, answer)
        case "history":
            yield from _of_history((query["data"]["kind"], key[1]), answer)
        case "usages" | "allocations" if kind == "provider":
            yield from _of_provider(key, what, answer)


def _of_get(key: Key, answer: Json) -> Sight:
    if "error" in answer:
        return Sight(key, None, Part.SAW, GONE)
    record = answer["record"]
    token = record["traversal"] if key[0] == "stack" else record["generation"]
    return Sight(key, answer["sequence"], Part.SAW, {"token": token} | _state(record))


def _of_history(key: Key, answer: Json) -> Iterator[Sight]:
    """One page with all that a record ever accepted; its last line was the newest version then."""
    if answer.get("next") is not None:
        return
    rows = answer.get("records", [])
    for row in rows:
        yield Sight(key, row["sequence"], Part.TOLD, {"maker": row["command_id"], "token": _plain(row["token"])})
    yield Sight(key, rows[-1]["sequence"] if rows else 0, Part.SAW)


def _of_provider(key: Key, what: str, answer: Json) -> Iterator[Sight]:
    """A provider's usage, or its allocations by consumer; the consumers are seen at the same moment."""
    if "error" in answer:
        yield Sight(key, None, Part.SAW, GONE)
        return
    if answer.get("next") is not None:
        return
    rows, version = answer["records"], version_of("provider", answer["generation"])
    if what == "usages":
        yield Sight(key, version, Part.SAW, LIVE | {"used": {row["resource_class"]: row["used"] for row in rows}})
        return
    yield Sight(key, version, Part.SAW, LIVE | {"held": {row["consumer_id"]: row["resources"] for row in rows}})
    for row in rows:
        facts = LIVE | {name: row[name] for name in ("project_id", "user_id", "consumer_type")}
        consumer = ("consumer", row["consumer_id"])
        yield Sight(consumer, version_of("consumer", row["consumer_generation"]), Part.SAW, facts)


def _state(record: Json | None) -> Json:
    """A record's state as facts. That of a stack may lack its templates."""
    if record is None:
        return GONE
    return LIVE | {name: value for name, value in record.items() if name not in NOT_OF_THE_RECORD}


def _plain(token: Json) -> Any:
    return token["traversal"] if "traversal" in token else token["generation"]
