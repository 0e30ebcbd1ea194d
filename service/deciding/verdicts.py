"""Verdicts, built the same way by the rules of every record kind. A verdict is a value, never an exception."""

from collections.abc import Sequence

from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command, Refusal
from genlock.schemas.outcomes import (
    ConflictData,
    Failure,
    RejectedData,
    Retry,
    Shortage,
    SucceededData,
    Token,
    Verdict,
)
from genlock.schemas.values import value
from genlock.service.deciding.record import Record

Tokens = dict[Kind, dict[str, Token]]

RETRY_AFTER_MS = 10
"""The wait that is advised after a conflict; how long a crowd had better wait is known in `crowds`."""


@value
class Decision:
    """What a command comes to: its verdict, and the records as they are after it (none unless it succeeded)."""

    verdict: Verdict
    changed: tuple[Record, ...] = ()


def succeeded(after: Record, shown: JsonObject | None = None) -> Decision:
    """Accept the command: `after` is written, and its event shows the summary unless `shown` says otherwise."""
    return Decision(success(after, shown), (after,))


def success(record: Record, shown: JsonObject | None = None, tokens: Tokens | None = None) -> SucceededData:
    """The verdict of the command that left the record so; a deleted record is shown as null.

    `tokens` are those of other records that the command has touched.
    """
    verdict = SucceededData(
        kind=record.kind,
        id=record.id,
        sequence=record.sequence,
        record=None if record.deleted else shown or record.summary(),
        token=record.token,
    )
    return verdict.model_copy(update={"tokens": tokens}) if tokens else verdict


def success_of_several(kind: Kind, tokens: Tokens) -> SucceededData:
    """The verdict of a command on several records: it has none of its own, only all their tokens."""
    return SucceededData(kind=kind, id=None, sequence=0, record=None, token=None, tokens=tokens)


def conflict(
    command: Command,
    record: Record | None,
    reason: Reason,
    expected: Token | None,
    *,
    current: JsonObject | None = None,
    retry: bool = True,
) -> Decision:
    """Tell the command that somebody else got to its record first."""
    kind = COMMANDS[command.type].kind
    return conflicts(command, [failure(kind, command.subject, record, reason, expected, current=current)], retry=retry)


def conflicts(
    command: Command, failures: Sequence[Failure], *, retry: bool = True, on_several: bool = False
) -> Decision:
    """Tell the command which records somebody else got to first: one, or all of those that it names."""
    first = failures[0]
    verdict = ConflictData(
        kind=first.kind,
        id=first.id,
        sequence=first.sequence,
        reason=first.reason,
        expected=first.expected,
        actual=first.actual,
        winner=first.winner,
        current=first.current,
        command=command.echo,
        retry=Retry(allowed=retry, attempt=command.attempt, after_ms=RETRY_AFTER_MS),
    )
    return Decision(verdict.model_copy(update={"failures": list(failures)}) if on_several else verdict)


def failure(
    kind: Kind,
    record_id: str,
    record: Record | None,
    reason: Reason,
    expected: Token | None,
    *,
    current: JsonObject | None = None,
) -> Failure:
    """Say how a record is not as expected. A tombstone counts as absent, but names who made it."""
    return Failure(
        kind=kind,
        id=record_id,
        sequence=record.sequence if record else 0,
        reason=reason,
        expected=expected,
        actual=record.token if record and not record.deleted else None,
        winner=record.maker if record else None,
        current=current,
    )


def rejected(command: Command, record: Record | None, code: Code, message: str) -> Decision:
    """Reject the command in the present state of its record."""
    return refused(command, record, Refusal(code, message))


def refused(command: Command, record: Record | None, refusal: Refusal, shortages: Sequence[Shortage] = ()) -> Decision:
    """Turn a refusal into the verdict `rejected`."""
    verdict = RejectedData(
        kind=command.kind,
        id=command.subject or None,
        sequence=record.sequence if record else 0,
        code=refusal.code,
        message=refusal.message,
        errors=list(refusal.errors),
    )
    if shortages:
        verdict = verdict.model_copy(update={"shortages": list(shortages)})
    # Where nothing of the command may be repeated, it is left out instead of shown as empty.
    if command.echo.model_fields_set:
        verdict = verdict.model_copy(update={"command": command.echo})
    return Decision(verdict)
