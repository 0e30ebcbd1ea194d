"""What documents, providers and consumers share: a generation that is expected, and goes up by one."""

from typing import Protocol

from genlock.schemas.base import JsonObject
from genlock.schemas.codes import Reason
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import GenerationToken
from genlock.service.records import Record
from genlock.service.verdicts import Decision, conflict

GENERATION_FIRST = 0


class Counted(Record, Protocol):
    """A record that a generation guards."""

    @property
    def generation(self) -> int: ...


def mismatch(command: Command, record: Counted | None, expected: int | None) -> Decision | None:
    """The conflict that the expected generation ends in, or None where it is the actual one.

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
    return conflict(command, record, reason, token, current=current)
