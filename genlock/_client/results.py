"""Reading of what queries are answered with."""

import json

from genlock.errors import QueryFailed, UnreadableAnswer
from genlock.schemas.answers import ErrorData
from genlock.schemas.base import JsonObject


def result_of(body: bytes) -> JsonObject:
    """The data of a query's result. Raises QueryFailed for an error, and UnreadableAnswer."""
    try:
        reply = json.loads(body)
    except ValueError as error:
        raise UnreadableAnswer(f"The answer is not JSON: {error}.") from error
    match reply:
        case {"data": {"error": dict() as told}}:
            raise _failed(told)
        case {"data": dict() as data}:
            return data
        case _:
            raise UnreadableAnswer("The answer to the query has no data.")


def _failed(told: JsonObject) -> QueryFailed | UnreadableAnswer:
    """The exception for an error that the service answers with."""
    try:
        error = ErrorData.model_validate_json(json.dumps(told))
    except ValueError:
        return UnreadableAnswer("The answer to the query has an error that cannot be read.")
    return QueryFailed(error.code, error.message, error.errors)
