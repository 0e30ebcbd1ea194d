"""Queries for the outcome of a command."""

import json

from genlock.schemas.catalogue import RECORDS
from genlock.schemas.codes import Code


def outcome_queries(command_type: str) -> tuple[str, ...]:
    """The queries for the outcome of a command of a type, the one to ask first.

    A publisher may be allowed the one of its kind alone, and an older service knows the other one alone.
    """
    kind = command_type.partition(".")[0]
    return (f"{kind}.outcome", "command.get") if kind in RECORDS else ("command.get",)


def is_unknown_query(answer: bytes) -> bool:
    """Tell whether the service does not know the query that it answers."""
    try:
        reply = json.loads(answer)
    except ValueError:
        return False
    match reply:
        case {"data": {"error": {"code": Code.UNKNOWN_TYPE.value}}}:
            return True
        case _:
            return False
