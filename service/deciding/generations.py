"""What documents, providers and consumers share: a generation that is expected, and goes up by one."""

from typing import Any, Protocol

from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.codes import Reason
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Failure, GenerationToken
from genlock.service.deciding.record import Record
from genlock.service.deciding.rule import Guard
from genlock.service.deciding.state import State
from genlock.service.deciding.verdicts import Decision, conflicts, failure

GENERATION_FIRST = 0


class GenerationGuarded(Record, Protocol):
    """A record that a generation guards."""

    @property
    def generation(self) -> int: ...


def _mismatch(state: State, command: Command, expected: int | None) -> Decision | None:
    """The conflict that the expected generation ends in, or None where it is the actual one."""
    kind = COMMANDS[command.type].kind
    record: Any = state.find((kind, command.subject))
    failed = check(kind, command.subject, record, expected)
    return conflicts(command, [failed]) if failed else None


def _expected(state: State, command: Command, _prepared: Any) -> Decision | None:
    data: Any = command.data
    return _mismatch(state, command, data.expected_generation)


def _expected_if_given(state: State, command: Command, prepared: Any) -> Decision | None:
    data: Any = command.data
    return _expected(state, command, prepared) if "expected_generation" in data.model_fields_set else None


def _absent(state: State, command: Command, _prepared: Any) -> Decision | None:
    return _mismatch(state, command, None)


EXPECTED = Guard(_expected)
"""The record has the generation that the command expects; null expects that there is none."""

EXPECTED_IF_GIVEN = Guard(_expected_if_given, omittable=("expected_generation",))
"""Likewise; where the command leaves it out, any generation will do."""

ABSENT = Guard(_absent)
"""There is no such record, or only its tombstone."""


def check(kind: Kind, record_id: str, record: GenerationGuarded | None, expected: int | None) -> Failure | None:
    """How a record differs from the generation that is expected of it, or None where it does not.

    None expects that the record does not exist; a tombstone does not.
    """
    actual = None if record is None or record.deleted else record.generation
    if expected == actual:
        return None
    if expected is None:
        reason = Reason.EXISTS
    elif actual is None:
        reason = Reason.MISSING
    else:
        reason = Reason.STALE if expected < actual else Reason.AHEAD
    current: JsonObject | None = record.state() if record and actual is not None else None
    token = None if expected is None else GenerationToken(generation=expected)
    return failure(kind, record_id, record, reason, token, current=current)
