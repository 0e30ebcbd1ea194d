"""Retries of commands that the service has failed on: under which id one may be decided again, and is applied once.

A command that was never decided keeps its id. One that was, as `internal_error`, gets a new one: the UUIDv5 of its
first id and `retry:n`, where n counts up from 1 past those retries that ended as `internal_error` too. So whoever
retries the same command twice by accident, or a retry of it, comes to the same id, and the ledger answers it once.
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
"""Up to which number a command is recognised as a retry of another."""


RETRY_VERSION = 5
"""The version of the UUIDs that retries have."""


@dataclass(frozen=True, slots=True)
class Again:
    """The command may be decided, under this id."""

    command_id: str


@dataclass(frozen=True, slots=True)
class Settled:
    """The command has a verdict on its merits, under this id: there is nothing to retry."""

    command_id: str
    verdict: Verdict


def retry_id(first_id: str, number: int) -> str:
    """The id of a command's retry; `number` counts from 1."""
    return str(uuid.uuid5(uuid.UUID(first_id), f"retry:{number}"))


def first_id(command_id: str, causation_id: str) -> str:
    """The id that a command had at first: that of its cause if it is a retry of that, else its own."""
    if uuid.UUID(command_id).version == RETRY_VERSION and any(
        retry_id(causation_id, number) == command_id for number in range(1, RETRIES_MAX + 1)
    ):
        return causation_id
    return command_id


async def next_try(connection: Connection, command: Command, first: str) -> Again | Settled:
    """Tell under which id a command may be decided again, `first` being the one that it had at first."""
    decided = await _find(connection, command.id)
    if decided is None or decided.content_hash != command.content_hash:
        # Under an id that was used for other content it is told so, which is its verdict.
        return Again(command.id)
    candidate = command.id
    for number in itertools.count(1):
        verdict: Verdict = parse_outcome(decided.event.body).data
        if decided.content_hash == command.content_hash and not _is_fault(verdict):
            return Settled(candidate, verdict)
        candidate = retry_id(first, number)
        decided = await _find(connection, candidate)
        if decided is None:
            break
    return Again(candidate)


async def _find(connection: Connection, command_id: str) -> Decided | None:
    return (await ledger.find(connection, {command_id})).get(command_id)


def _is_fault(verdict: Verdict) -> bool:
    return isinstance(verdict, RejectedData) and verdict.code == Code.INTERNAL_ERROR
