"""Verdicts, built the same way by the rules of every record kind. A verdict is a value, never an exception."""

from collections.abc import Sequence

from genlock.schemas.base import JsonObject, Kind
from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.codes import Reason
from genlock.schemas.decode import Command, Refusal
from genlock.schemas.faults import Fault, Faults, entries
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
from genlock.service.ledger.messages import Message

Tokens = dict[Kind | str, dict[str, Token]]

RETRY_AFTER_MS = 10
"""The wait that is advised after a single conflict. `contention` advises longer ones where many commands lose."""


@value
class Decision:
    """What a command comes to: its verdict, and the records as they are after it (none unless it succeeded)."""

    verdict: Verdict
    changed: tuple[Record, ...] = ()
    messages: tuple[Message, ...] = ()
    """Further messages, published besides the outcome."""


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


def multi_record_success(kind: Kind, tokens: Tokens) -> SucceededData:
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
    """The conflict of a command on one record: another command changed that first."""
    kind = COMMANDS[command.type].kind
    return conflicts(command, [failure(kind, command.subject, record, reason, expected, current=current)], retry=retry)


def conflicts(
    command: Command, failures: Sequence[Failure], *, retry: bool = True, multi_record: bool = False
) -> Decision:
    """The conflict of a command, with each record that another command changed first."""
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
    return Decision(verdict.model_copy(update={"failures": list(failures)}) if multi_record else verdict)


def failure(
    kind: Kind,
    record_id: str,
    record: Record | None,
    reason: Reason,
    expected: Token | None,
    *,
    current: JsonObject | None = None,
) -> Failure:
    """Say how a record is not as expected. A tombstone counts as absent, but names its maker."""
    return Failure(
        kind=kind,
        id=record_id,
        sequence=record.sequence if record else 0,
        reason=reason,
        expected=expected,
        actual=record.token if record and not record.deleted else None,
        winner=record.maker.winner if record else None,
        current=current,
    )


def rejected(
    command: Command, record: Record | None, faults: Fault | Faults, shortages: Sequence[Shortage] = ()
) -> Decision:
    """Reject the command in the present state of its record."""
    found = faults if isinstance(faults, Faults) else Faults.of([faults])
    sent = {name: part for name, part in command.echo if part is not None}
    return refused(command, record, Refusal.of(found, sent), shortages)


def refused(command: Command, record: Record | None, refusal: Refusal, shortages: Sequence[Shortage] = ()) -> Decision:
    """Turn a refusal into the verdict `rejected`. It has an entry even where the refusal lists no faults."""
    errors = refusal.errors or entries([Fault(refusal.code, refusal.message)], {})
    verdict = RejectedData(
        kind=command.kind,
        id=command.subject or None,
        sequence=record.sequence if record else 0,
        code=refusal.code,
        message=refusal.message,
        errors=list(errors),
    )
    if refusal.errors_total > len(errors):
        verdict = verdict.model_copy(update={"errors_total": refusal.errors_total})
    if shortages:
        verdict = verdict.model_copy(update={"shortages": list(shortages)})
    # Where nothing of the command may be repeated, it is left out instead of shown as empty.
    if command.echo.model_fields_set:
        verdict = verdict.model_copy(update={"command": command.echo})
    return Decision(verdict)
