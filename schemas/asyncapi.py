"""The contract as an AsyncAPI 3 document with JSON Schemas, generated from the catalogue.

The document takes the service's view: it receives commands and queries, and sends events and replies. With this
document and an AMQP library a program can publish commands and read their outcomes.
"""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from genlock.schemas.base import CommandData, JsonObject
from genlock.schemas.catalogue import COMMANDS, SUBJECTS, CommandType
from genlock.schemas.codes import VerdictName
from genlock.schemas.envelope import Envelope
from genlock.schemas.outcomes import CONTENT_TYPE, UNKNOWN_COMMAND, Conflict, Rejected, Succeeded
from genlock.schemas.queries import QUERIES, QUERY_SUBJECTS
from genlock.schemas.undecodable import UndecodableAnswer

CONTRACT_VERSION = "1.0.0"

_EVENTS: dict[VerdictName, type[BaseModel]] = {
    VerdictName.SUCCEEDED: Succeeded,
    VerdictName.CONFLICT: Conflict,
    VerdictName.REJECTED: Rejected,
}
_SCHEMAS = "#/components/schemas/"
_MESSAGES = "#/components/messages/"


def document(namespace: str = "genlock") -> JsonObject:
    """The contract of the service in this namespace."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "Genlock",
            "version": CONTRACT_VERSION,
            "description": "Update commands for shared records, each with the version that its author saw, "
            "and exactly one outcome event for each.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "channels": {
            **{_key(command.name): _command_channel(namespace, command) for command in COMMANDS.values()},
            "events": _events_channel(namespace),
            "queries": _queries_channel(namespace),
            "replies": {"address": None, "messages": _references([*_EVENTS, "result", "undecodable"])},
        },
        "operations": {
            **{f"receive_{_key(command.name)}": _receive(_key(command.name)) for command in COMMANDS.values()},
            "send_events": {"action": "send", "channel": _reference("#/channels/events")},
            "answer_queries": _receive("queries"),
        },
        "components": {"messages": _messages(), "schemas": schemas()},
    }


def schemas() -> JsonObject:
    """The JSON Schemas of all messages, by name."""
    models: list[type[BaseModel]] = [Envelope, *_EVENTS.values(), UndecodableAnswer, *_data_models()]
    _, definitions = models_json_schema(
        [(model, "validation") for model in models], ref_template=f"{_SCHEMAS}{{model}}"
    )
    named: JsonObject = definitions["$defs"]
    return named


def event_types() -> list[str]:
    """All types of outcome events, sorted. The set is closed."""
    types = {f"{command}.{verdict}" for command in COMMANDS for verdict in VerdictName}
    return sorted(types | {f"{UNKNOWN_COMMAND}.{VerdictName.REJECTED}"})


def _data_models() -> list[type[BaseModel]]:
    commands: list[type[CommandData]] = [command.model for command in COMMANDS.values()]
    return [*commands, *dict.fromkeys(QUERIES.values())]


def _command_channel(namespace: str, command: CommandType) -> JsonObject:
    return {
        "address": command.name,
        "description": "Publish with this address as the routing key. An outcome comes as an event, "
        "and as a copy at the queue in reply_to.",
        "messages": _references([command.name]),
        "bindings": {"amqp": {"is": "routingKey", "exchange": _topic(f"{namespace}.commands")}},
    }


def _events_channel(namespace: str) -> JsonObject:
    return {
        "address": "{type}",
        "description": "The routing key is the type of the event, so that a topic pattern chooses.",
        "parameters": {"type": {"enum": event_types()}},
        "messages": _references(list(_EVENTS)),
        "bindings": {"amqp": {"is": "routingKey", "exchange": _topic(f"{namespace}.events")}},
    }


def _queries_channel(namespace: str) -> JsonObject:
    return {
        "address": "{type}",
        "description": "Publish with the type of the query as the routing key, and with reply_to and correlation_id.",
        "parameters": {"type": {"enum": list(QUERIES)}},
        "messages": _references(list(QUERIES)),
        "bindings": {"amqp": {"is": "routingKey", "exchange": _topic(f"{namespace}.reads")}},
    }


def _topic(name: str) -> JsonObject:
    return {"name": name, "type": "topic", "durable": True, "autoDelete": False}


def _receive(channel: str) -> JsonObject:
    answers = ["result"] if channel == "queries" else [*_EVENTS, "undecodable"]
    return {
        "action": "receive",
        "channel": _reference(f"#/channels/{channel}"),
        "reply": {
            "address": {"location": "$message.header#/reply_to"},
            "channel": _reference("#/channels/replies"),
            "messages": [_reference(f"#/channels/replies/messages/{name}") for name in answers],
        },
    }


def _messages() -> JsonObject:
    commands = {_key(command.name): _command_message(command) for command in COMMANDS.values()}
    events = {str(name): _event_message(name, model) for name, model in _EVENTS.items()}
    queries = {_key(name): _query_message(name, model) for name, model in QUERIES.items()}
    result = {"contentType": CONTENT_TYPE, "payload": {"type": "object", "required": ["type", "data"]}}
    undecodable = _message(UndecodableAnswer.__doc__, _reference(f"{_SCHEMAS}{UndecodableAnswer.__name__}"))
    return {**commands, **events, **queries, "result": result, "undecodable": undecodable}


def _command_message(command: CommandType) -> JsonObject:
    return _message(
        command.model.__doc__,
        _enveloped(
            Envelope,
            ["data"] if command.multi_record else ["subject", "data"],
            type={"const": command.name},
            subject={"type": "null"} if command.multi_record else SUBJECTS[command.kind].json_schema(),
            data=_reference(f"{_SCHEMAS}{command.model.__name__}"),
        ),
    )


def _event_message(verdict: VerdictName, model: type[BaseModel]) -> JsonObject:
    types = [name for name in event_types() if name.endswith(f".{verdict}")]
    return _message(model.__doc__, _enveloped(model, [], type={"enum": types}))


def _query_message(name: str, model: type[BaseModel]) -> JsonObject:
    known: JsonObject = {"type": {"const": name}, "data": _reference(f"{_SCHEMAS}{model.__name__}")}
    if name in QUERY_SUBJECTS:
        known["subject"] = QUERY_SUBJECTS[name].json_schema()
    return _message(model.__doc__, _enveloped(Envelope, [*known.keys() & {"subject"}], **known))


def _message(text: str | None, payload: JsonObject) -> JsonObject:
    summary = (text or "").strip().split("\n")[0]
    return {"contentType": CONTENT_TYPE, "summary": summary, "payload": payload}


def _enveloped(model: type[BaseModel], required: list[str], **properties: Any) -> JsonObject:
    """A model's schema, with narrower schemas for some of its properties."""
    narrowed = {"type": "object", "required": required, "properties": properties}
    return {"allOf": [_reference(f"{_SCHEMAS}{model.__name__}"), narrowed]}


def _references(names: Iterable[str]) -> JsonObject:
    return {_key(name): _reference(f"{_MESSAGES}{_key(name)}") for name in names}


def _key(name: str) -> str:
    """A name as a key of the document: some tools accept only letters, digits, hyphens and underscores."""
    return name.replace(".", "_")


def _reference(to: str) -> JsonObject:
    return {"$ref": to}
