"""Replays each record's accepted commands, one by one, to explain the database that any commands have left."""

import json
from collections.abc import Iterable
from copy import deepcopy
from typing import Any

from tests.property.model import Json
from tests.property.model_providers import DEFAULTS
from tests.property.single_record import OTHERS_FAULT, Key, SingleRecord
from tests.support.database import Connection
from tests.support.factories import received


async def check_explained(connection: Connection, sent: Iterable[Json]) -> None:
    """Hold what these commands left against the model; no other commands may have touched the same records."""
    ledger = await _decided(connection, list(sent))
    histories = await _histories(connection, ledger)
    accepted = {command_id for history in histories.values() for command_id in history}
    succeeded = {command_id for command_id, (_, event) in ledger.items() if event["type"].endswith(".succeeded")}
    assert all(len(history) == len(set(history)) for history in histories.values())
    assert accepted == succeeded
    others = _not_accepted(ledger)
    for key, history in histories.items():
        models = _replayed(key, history, ledger)
        row, model = await _row(connection, key), _of_model(models[-1], key)
        assert row == model, (key, row, model)
        _check_others(models, others.pop(key, []))
    for pairs in others.values():
        _check_others([SingleRecord()], pairs)
    await _check_names(connection)
    await _check_used(connection)


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
        [record_id for command, _ in ledger.values() for record_id in _named(command)],
    )
    histories: dict[Key, list[str]] = {}
    for row in rows:
        key = row["kind"], row["record_id"]
        history = histories.setdefault(key, [])
        history.append(str(row["command_id"]))
        assert row["sequence"] == len(history)
        token = _token(ledger[history[-1]][1], key)
        assert row["token"] == str(token["traversal" if row["kind"] == "stack" else "generation"])
    return histories


def _named(command: Json) -> list[str]:
    """The ids of the records that a command is about."""
    return [command["subject"]] if command["subject"] else list(command["data"]["consumers"])


def _token(event: Json, key: Key) -> Json:
    """The token that a success gives to a record."""
    data = event["data"]
    token: Json = data["token"] if (data["kind"], data["id"]) == key else data["tokens"][key[0]][key[1]]
    return token


def _replayed(key: Key, history: list[str], ledger: dict[str, tuple[Json, Json]]) -> list[SingleRecord]:
    """The model before the first and after each accepted command; it accepts every one, with the same token."""
    models = [SingleRecord()]
    for command_id in history:
        command, event = ledger[command_id]
        models.append(deepcopy(models[-1]))
        answer = models[-1].accept(key, command)
        assert answer == ("succeeded", None, _token(event, key), len(models) - 1), (command, answer, event)
    return models


def _not_accepted(ledger: dict[str, tuple[Json, Json]]) -> dict[Key, list[tuple[Json, Json]]]:
    """Commands that did not succeed for the sake of their own record, with their events, by record."""
    found: dict[Key, list[tuple[Json, Json]]] = {}
    for command, event in ledger.values():
        why = event["data"].get("reason", event["data"].get("code"))
        kind = command["type"].partition(".")[0]
        if not event["type"].endswith(".succeeded") and why not in OTHERS_FAULT and kind != "consumer":
            found.setdefault((kind, command["subject"]), []).append((command, event))
    return found


def _check_others(models: list[SingleRecord], others: list[tuple[Json, Json]]) -> None:
    """A command that was not accepted gets the same verdict from the model at the sequence in its event."""
    for command, event in others:
        data = event["data"]
        word = event["type"].rpartition(".")[2]
        answer = deepcopy(models[data["sequence"]]).apply(command)
        expected = word, data.get("reason", data.get("code")), data.get("actual"), data["sequence"]
        assert answer == expected, (command, answer, event)


async def _check_names(connection: Connection) -> None:
    """A name is held by the one live stack or provider that has it."""
    live = await connection.fetch(
        "SELECT 'stack', name, id::text FROM stacks WHERE (action, status) <> ('DELETE', 'COMPLETE') "
        "UNION ALL SELECT 'provider', name, id::text FROM providers WHERE NOT deleted"
    )
    held = await connection.fetch("SELECT kind, name, record_id FROM names")
    assert sorted(map(tuple, live)) == sorted(map(tuple, held))


async def _check_used(connection: Connection) -> None:
    """The use of each inventory is the sum of its allocations."""
    wrong = await connection.fetch(
        "SELECT provider_id, resource_class, used, coalesce(amount, 0) AS amount FROM inventories FULL JOIN ("
        "SELECT provider_id, resource_class, sum(amount) AS amount FROM allocations GROUP BY 1, 2) AS allocated "
        "USING (provider_id, resource_class) WHERE used IS DISTINCT FROM coalesce(amount, 0)"
    )
    assert not wrong, wrong


async def _row(connection: Connection, key: Key) -> Any:
    kind, record_id = key
    if kind == "document":
        row = await connection.fetchrow("SELECT * FROM documents WHERE id = $1", record_id)
        assert row is not None
        return row["generation"], row["sequence"], row["body"] and json.loads(row["body"])
    if kind == "provider":
        return await _provider_row(connection, record_id)
    if kind == "consumer":
        return await _consumer_row(connection, record_id)
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


async def _consumer_row(connection: Connection, record_id: str) -> Any:
    row = await connection.fetchrow("SELECT * FROM consumers WHERE id = $1", record_id)
    assert row is not None
    allocations: dict[str, dict[str, int]] = {}
    for one in await connection.fetch("SELECT * FROM allocations WHERE consumer_id = $1", record_id):
        allocations.setdefault(str(one["provider_id"]), {})[one["resource_class"]] = one["amount"]
    assert row["deleted"] is not bool(allocations)
    return row["generation"], row["sequence"], row["consumer_type"], allocations


def _of_model(model: SingleRecord, key: Key) -> Any:
    kind, record_id = key
    if kind == "document":
        document = model.documents[record_id]
        return document.generation, document.sequence, document.body
    if kind == "provider":
        provider = model.providers[record_id]
        counts = provider.generation, provider.sequence
        rest = provider.name, provider.parent, provider.inventories, provider.traits, provider.aggregates
        return counts if provider.deleted else (*counts, *rest)
    if kind == "consumer":
        consumer = model.consumer
        return consumer.generation, consumer.generation, consumer.consumer_type, consumer.allocations
    stack = model.stacks[record_id]
    templates = (stack.template, stack.previous_template)
    return (
        *(stack.action, stack.status, stack.sequence, stack.token()),
        *(*templates, stack.name, stack.disable_rollback, stack.timeout_s),
    )
