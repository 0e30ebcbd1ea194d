"""Models as tables of their fields, read from their JSON Schemas."""

from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from genlock.schemas.base import GENERATION_MAX, JsonObject, Shown
from genlock.schemas.outcomes import OutcomeEvent
from scripts.reference.markdown import code, link, paragraphs, table

ELSEWHERE = {"Reason": "[conflict reason](codes.md#conflict-reasons)", "Code": "[code](codes.md#rejection-codes)"}
"""The models that have a section of another page."""

PATTERN_CHARACTERS_MAX = 40
"""A longer pattern says less to a reader than its description."""


Models = Sequence[type[BaseModel]]


def fields(model: type[BaseModel]) -> str:
    """The table of a model's fields; a sentence where it has none."""
    schema = model.model_json_schema()
    return _table(schema, schema.get("$defs", {}), model) if schema["properties"] else "No fields."


def objects(models: Models) -> str:
    """A section for each model that is a field's type in one of these, at any depth."""
    schemas: dict[str, JsonObject] = {}
    for model in models:
        schemas |= model.model_json_schema().get("$defs", {})
    return "\n\n".join(
        f"### {name}\n\n{paragraphs(schema['description'])}\n\n{_table(schema, schemas, models[0])}"
        for name, schema in sorted(schemas.items())
        if "properties" in schema
    )


def _table(schema: JsonObject, defs: JsonObject, model: type[BaseModel]) -> str:
    """The fields of a schema; of what the service shows, only those are marked that may be absent."""
    shown = issubclass(model, Shown | OutcomeEvent)
    rows = (
        [code(name), shape(field, defs), _presence(name, field, schema, shown=shown), description(field)]
        for name, field in schema["properties"].items()
    )
    return table(["field", "type", "", "means"], rows)


def example_of(model: type[BaseModel]) -> JsonObject:
    """The model's own example, as it was written. Raises ValueError where it has none."""
    match model.model_config.get("json_schema_extra"):
        case {"examples": [dict() as example]}:
            return example
        case _:
            raise ValueError(f"{model.__name__} has no example")


def shape(schema: JsonObject, defs: JsonObject) -> str:
    """What values a schema takes, in a few words."""
    if "$ref" in schema:
        return _named(schema["$ref"].rpartition("/")[2], defs)
    if "const" in schema:
        return code(schema["const"])
    if "enum" in schema:
        return _one_of(schema["enum"])
    if "anyOf" in schema:
        return _alternatives([shape(part, defs) for part in schema["anyOf"]])
    kinds = {"string": _text, "integer": _number, "number": _number, "array": _list, "object": _object}
    kind = schema.get("type")
    return kinds[kind](schema, defs) if kind in kinds else {"boolean": "boolean", "null": "null"}.get(str(kind), "any")


def _one_of(words: Sequence[object]) -> str:
    *first, last = map(code, words)
    return f"{', '.join(first)} or {last}" if first else last


def _named(name: str, defs: JsonObject) -> str:
    if name in ELSEWHERE:
        return ELSEWHERE[name]
    return link(name) if "properties" in defs[name] else shape(defs[name], defs)


def _alternatives(shapes: list[str]) -> str:
    # A word of the contract may also be one that this version does not know, which is read as text.
    known = [each for each in shapes if not (each == "text" and set(shapes) & set(ELSEWHERE.values()))]
    return " or ".join(dict.fromkeys(known))


def _text(schema: JsonObject, _defs: JsonObject) -> str:
    if "format" in schema:
        return {"uuid": "UUID", "date-time": "time (RFC 3339)", "password": "text, a secret"}[schema["format"]]
    pattern = schema.get("pattern", "")
    if len(pattern) > PATTERN_CHARACTERS_MAX and "description" in schema:
        return f"text ({schema['description']})"
    alternatives = pattern.removeprefix("^(").removesuffix(")$").split("|")
    if pattern and all(each.isalpha() for each in alternatives):
        return _one_of(alternatives)
    matching = f" {code(pattern.strip('^$'))}" if pattern else ""
    if schema.get("minLength") == 1 and "maxLength" not in schema:
        return "text, not empty"
    return f"text{matching}{_range(schema, 'minLength', 'maxLength', ' characters')}"


def _number(schema: JsonObject, _defs: JsonObject) -> str:
    name = "integer" if schema["type"] == "integer" else "number"
    if "exclusiveMinimum" in schema:
        most = f", up to {schema['maximum']:g}" if "maximum" in schema else ""
        return f"{name} (above {schema['exclusiveMinimum']:g}{most})"
    return name + _range(schema, "minimum", "maximum", "")


def _range(schema: JsonObject, least: str, most: str, unit: str) -> str:
    low, high = schema.get(least), schema.get(most)
    if high == GENERATION_MAX:
        high = None
    match low, high:
        case None, None:
            return ""
        case None, _:
            return f" (at most {high}{unit})"
        case _, None:
            return f" ({low}{unit} or more)"
        case _:
            return f" ({low} to {high}{unit})"


def _list(schema: JsonObject, defs: JsonObject) -> str:
    most = f"up to {schema['maxItems']} " if "maxItems" in schema else ""
    return f"list of {most}{shape(schema['items'], defs)}"


def _object(schema: JsonObject, defs: JsonObject) -> str:
    values = schema.get("additionalProperties")
    for pattern in schema.get("patternProperties", {}).values():
        values = pattern
    least = ", not empty" if schema.get("minProperties") else ""
    return f"object of {shape(values, defs)}{least}" if isinstance(values, dict) and values else f"object{least}"


def _presence(name: str, field: JsonObject, schema: JsonObject, *, shown: bool) -> str:
    """Whether a field has to be given, and its default; or, in an answer, whether it may be absent."""
    if name in schema.get("required", ()):
        return "" if shown else "required"
    default: Any = field.get("default")
    if shown or default is None or default == {}:
        return "optional"
    written = str(default).lower() if isinstance(default, bool) else default
    return f"default {code(written)}" if written != "" else "optional"


def description(field: JsonObject) -> str:
    """A field's description, which may stand at the value that is not null."""
    if "description" in field:
        return str(field["description"])
    return next((str(part["description"]) for part in field.get("anyOf", ()) if "description" in part), "")
