"""Ids for retries of commands that ended as `internal_error`, chosen so that a retry is applied once.

A command that was never decided keeps its id. A command that ended as `internal_error` gets a new one: the UUIDv5 of
its first id and `retry:n`, where n counts from 1 and skips retries that ended as `internal_error` too. Two retries of
a command, or a retry of its retry, get the same id, and the command is applied once.
"""

import itertools
import uuid
from dataclasses import dataclass

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import RejectedData, Verdict, parse_outcome
from genlock.service.database.transactions import Connection
from genlock.service.ledger import ledger
from genlock.service.ledger.ledger import Decided

RETRIES_MAX = 1_000
"""The highest number by which a command is recognised as a retry of another."""


RETRY_VERSION = 5
"""The UUID version of retries."""


@dataclass(frozen=True, slots=True)
class NextRetry:
    """The command may be decided, under this id."""

    command_id: str


@dataclass(frozen=True, slots=True)
class FinalVerdict:
    """The command has a verdict other than internal_error, under this id: there is nothing to retry."""

    command_id: str
    verdict: Verdict


def retry_id(first_id: str, number: int) -> str:
    """The id of a command's retry `number`, counted from 1."""
    return str(uuid.uuid5(uuid.UUID(first_id), f"retry:{number}"))


def first_id(command_id: str, causation_id: str) -> str:
    """The original id of a command: its causation id if it is a retry of that, else its own."""
    if uuid.UUID(command_id).version == RETRY_VERSION and any(
        retry_id(causation_id, number) == command_id for number in range(1, RETRIES_MAX + 1)
    ):
        return causation_id
    return command_id


async def next_retry(connection: Connection, command: Command, first: str) -> NextRetry | FinalVerdict:
    """Find the id under which a command may be decided again. `first` is its original id."""
    decided = await _find(connection, command.id)
    if decided is None or decided.content_hash != command.content_hash:
        # An id that was used for other content is rejected as id_reused, which is the verdict.
        return NextRetry(command.id)
    candidate = command.id
    for number in itertools.count(1):
        verdict: Verdict = parse_outcome(decided.event.body).data
        if decided.content_hash == command.content_hash and not _is_fault(verdict):
            return FinalVerdict(candidate, verdict)
        candidate = retry_id(first, number)
        decided = await _find(connection, candidate)
        if decided is None:
            break
    return NextRetry(candidate)


async def _find(connection: Connection, command_id: str) -> Decided | None:
    return (await ledger.find(connection, {command_id})).get(command_id)


def _is_fault(verdict: Verdict) -> bool:
    return isinstance(verdict, RejectedData) and verdict.code == Code.INTERNAL_ERROR
