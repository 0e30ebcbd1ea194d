"""What any commands may leave in a database: what replaying each record's accepted commands, one by one, explains."""

import json
from collections.abc import Iterable
from copy import deepcopy
from typing import Any, TypeAlias

import asyncpg

from tests.factories import received
from tests.property.model import Json, Model
from tests.property.model_providers import DEFAULTS

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
Key = tuple[str, str]
"""Kind and id of a record."""

OTHERS_FAULT = {"duplicate_name", "parent_not_found", "parent_loop", "provider_has_children"}
"""The verdicts that a record's own history does not explain."""


class Alone(Model):
    """A model with one record in it, which accepts what other records might forbid."""

    def _check_parent(self, subject: str, parent_id: str | None) -> None:
        """Take any parent: it is not here."""

    def _check_name(self, subject: str, name: str) -> None:
        """Take any name: who has it is not here."""

    def show(self, _provider_id: str) -> Json | None:
        """Show nothing: a provider is shown with its root, which is not here."""
        return None


async def check_explained(connection: Connection, sent: Iterable[Json]) -> None:
    """Hold what these commands left against the model; no other commands may have touched the same records."""
    ledger = await _decided(connection, list(sent))
    histories = await _histories(connection, ledger)
    accepted = [command_id for history in histories.values() for command_id in history]
    succeeded = {command_id for command_id, (_, event) in ledger.items() if event["type"].endswith(".succeeded")}
    assert len(accepted) == len(set(accepted))
    assert set(accepted) == succeeded
    for key, history in histories.items():
        models = _replayed(history, ledger)
        row, model = await _row(connection, key), _of_model(models[-1], key)
        assert row == model, (key, row, model)
        _check_others(key, models, ledger)
    for key in {_key(command) for command, _ in ledger.values()} - histories.keys():
        _check_others(key, [Alone()], ledger)
    await _check_names(connection)


async def _decided(connection: Connection, sent: list[Json]) -> dict[str, tuple[Json, Json]]:
    """Each decided command with its event: of those under one id, the one that the ledger says was decided."""
    rows = await connection.fetch(
        "SELECT id, content_hash, event FROM ledger WHERE id = ANY ($1::uuid[])", [command["id"] for command in sent]
    )
    hashes = {str(row["id"]): row["content_hash"] for row in rows}
    assert hashes.keys() == {command["id"] for command in sent}
    commands = {command["id"]: command for command in sent if received(command).content_hash == hashes[command["id"]]}
    return {str(row["id"]): (commands[str(row["id"])], json.loads(row["event"])) for row in rows}


async def _histories(connection: Connection, ledger: dict[str, tuple[Json, Json]]) -> dict[Key, list[str]]:
    """The accepted commands of each record, in the order of their sequences, which have no gap."""
    rows = await connection.fetch(
        "SELECT * FROM changes WHERE record_id = ANY ($1::text[]) ORDER BY kind, record_id, sequence",
        [command["subject"] for command, _ in ledger.values()],
    )
    histories: dict[Key, list[str]] = {}
    for row in rows:
        history = histories.setdefault((row["kind"], row["record_id"]), [])
        history.append(str(row["command_id"]))
        assert row["sequence"] == len(history)
        token = ledger[history[-1]][1]["data"]["token"]
        assert row["token"] == str(token["traversal" if row["kind"] == "stack" else "generation"])
    return histories


def _replayed(history: list[str], ledger: dict[str, tuple[Json, Json]]) -> list[Model]:
    """The model before the first and after each accepted command; it accepts every one, with the same token."""
    models: list[Model] = [Alone()]
    for command_id in history:
        command, event = ledger[command_id]
        models.append(deepcopy(models[-1]))
        answer = models[-1].apply(command)
        assert answer == ("succeeded", None, event["data"]["token"], len(models) - 1), (command, answer, event)
    return models


def _check_others(key: Key, models: list[Model], ledger: dict[str, tuple[Json, Json]]) -> None:
    """What was not accepted gets the same verdict from the model as of the sequence that its event tells."""
    for command, event in ledger.values():
        data = event["data"]
        word = event["type"].rpartition(".")[2]
        why = data.get("reason", data.get("code"))
        if _key(command) == key and word != "succeeded" and why not in OTHERS_FAULT:
            answer = deepcopy(models[data["sequence"]]).apply(command)
            assert answer == (word, why, data.get("actual"), data["sequence"]), (command, answer, event)


async def _check_names(connection: Connection) -> None:
    """A name is held by the one live stack or provider that has it."""
    live = await connection.fetch(
        "SELECT 'stack', name, id::text FROM stacks WHERE (action, status) <> ('DELETE', 'COMPLETE') "
        "UNION ALL SELECT 'provider', name, id::text FROM providers WHERE NOT deleted"
    )
    held = await connection.fetch("SELECT kind, name, record_id FROM names")
    assert sorted(map(tuple, live)) == sorted(map(tuple, held))


def _key(command: Json) -> Key:
    return command["type"].partition(".")[0], command["subject"]


async def _row(connection: Connection, key: Key) -> Any:
    kind, record_id = key
    if kind == "document":
        row = await connection.fetchrow("SELECT * FROM documents WHERE id = $1", record_id)
        assert row is not None
        return row["generation"], row["sequence"], row["body"] and json.loads(row["body"])
    if kind == "provider":
        return await _provider_row(connection, record_id)
    row = await connection.fetchrow("SELECT * FROM stacks WHERE id = $1", record_id)
    assert row is not None
    templates = [row[name] and json.loads(row[name]) for name in ("template", "previous_template")]
    previous = row["previous_traversal"] and str(row["previous_traversal"])
    token = {"traversal": str(row["traversal"]), "previous_traversal": previous}
    rest = (row["name"], row["disable_rollback"], row["timeout_s"])
    return row["action"], row["status"], row["sequence"], token, *templates, *rest


async def _provider_row(connection: Connection, record_id: str) -> Any:
    row = await connection.fetchrow("SELECT * FROM providers WHERE id = $1", record_id)
    assert row is not None
    if row["deleted"]:
        return row["generation"], row["sequence"]
    classes = await connection.fetch("SELECT * FROM inventories WHERE provider_id = $1", record_id)
    inventories = {one["resource_class"]: {name: one[name] for name in ("total", *DEFAULTS)} for one in classes}
    place = row["name"], row["parent_id"] and str(row["parent_id"])
    sets = set(row["traits"]), set(map(str, row["aggregates"]))
    return row["generation"], row["sequence"], *place, inventories, *sets


def _of_model(model: Model, key: Key) -> Any:
    kind, record_id = key
    if kind == "document":
        document = model.documents[record_id]
        return document.generation, document.sequence, document.body
    if kind == "provider":
        provider = model.providers[record_id]
        counts = provider.generation, provider.sequence
        rest = provider.name, provider.parent, provider.inventories, provider.traits, provider.aggregates
        return counts if provider.deleted else (*counts, *rest)
    stack = model.stacks[record_id]
    templates = (stack.template, stack.previous_template)
    return (
        *(stack.action, stack.status, stack.sequence, stack.token()),
        *(*templates, stack.name, stack.disable_rollback, stack.timeout_s),
    )
