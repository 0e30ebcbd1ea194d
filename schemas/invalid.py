"""What pydantic finds wrong with an envelope, the data of a command or the filters of a query, as faults."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from genlock.schemas.base import JsonObject, UnfitError
from genlock.schemas.codes import Code
from genlock.schemas.faults import ERRORS_MAX, Fault, Faults, Place, dotted
from genlock.schemas.standards import NAME_PATTERN, standard

KEY = "[key]"
"""How pydantic ends the place of a name that is wrong itself."""

TYPES = {
    "string_type": "string",
    "int_type": "integer",
    "float_type": "number",
    "bool_type": "boolean",
    "list_type": "array",
    "dict_type": "object",
    "model_type": "object",
}
LIMITS = {
    "greater_than": ("exclusiveMinimum", "gt"),
    "greater_than_equal": ("minimum", "ge"),
    "less_than_equal": ("maximum", "le"),
    "string_too_short": ("minLength", "min_length"),
    "string_too_long": ("maxLength", "max_length"),
    "string_pattern_mismatch": ("pattern", "pattern"),
}
"""The keywords of JSON Schema for pydantic's errors, with the parameter that has the limit."""

_QUOTED = re.compile(r"'([^']*)'")

TRAIT_FIELDS = frozenset({"traits", "required"})


def invalid(
    error: ValidationError, message: str, model: type[BaseModel] | None = None, *, within: Place = ()
) -> Faults:
    """All that is wrong with a value of the model that stands `within` what was sent."""
    details = error.errors(include_url=False, include_input=False)
    listed = tuple(_fault(detail, model, within) for detail in details[:ERRORS_MAX])
    return Faults(listed, len(details), message)


def _fault(detail: ErrorDetails, model: type[BaseModel] | None, within: Place) -> Fault:
    place = (*within, *detail["loc"])
    named = place[-1:] == (KEY,)
    at = place[:-1] if named else place
    extra = detail["type"] == "extra_forbidden"
    constraints = _constraints(detail)
    return Fault(
        Code.INVALID_DATA,
        detail["msg"].removeprefix("Value error, "),
        at,
        named=named or extra,
        known=_fields(model, detail["loc"]) if extra and model else _known(at, constraints),
        suggestions=tuple(constraints.get("enum", ())),
        constraints=constraints or None,
        path=dotted(place),
    )


def _constraints(detail: ErrorDetails) -> JsonObject:
    """What the value must meet and does not, by the keywords of JSON Schema."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in TYPES:
        return {"type": TYPES[kind]}
    if kind in LIMITS:
        keyword, parameter = LIMITS[kind]
        return {keyword: context[parameter]}
    if kind in {"too_short", "too_long"}:
        unit = "Properties" if context["field_type"] == "Dictionary" else "Items"
        return {f"min{unit}": context["min_length"]} if kind == "too_short" else {f"max{unit}": context["max_length"]}
    if kind in {"literal_error", "enum"}:
        return {"enum": _QUOTED.findall(context["expected"])}
    unfit = context.get("error")
    others: Mapping[str, JsonObject] = {
        "missing": {"required": True},
        "extra_forbidden": {"additionalProperties": False},
    }
    return unfit.constraints if isinstance(unfit, UnfitError) else others.get(kind, {})


def _known(at: Place, constraints: JsonObject) -> frozenset[str]:
    """The names of which one may be meant, where there are such."""
    if "enum" in constraints:
        return frozenset(constraints["enum"])
    if constraints.get("pattern") != NAME_PATTERN or "consumer_type" in at:
        return frozenset()
    return standard("trait" if TRAIT_FIELDS & set(at) else "resource class")


def _fields(model: type[BaseModel], loc: Sequence[str | int]) -> frozenset[str]:
    """The fields of the object that has an unknown one, which is the last part of the place."""
    for part in loc[:-1]:
        field = model.model_fields.get(str(part))
        model = next(_models(field.annotation), model) if field else model
    return frozenset(model.model_fields)


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in an annotation: of its values, if it is one of a list or an object."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models(part)
