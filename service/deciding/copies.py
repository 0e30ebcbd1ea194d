"""Copies of commands: ids that were decided before, or come twice in a batch, with the same content or another."""

from collections.abc import Mapping, Sequence

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
from genlock.schemas.faults import Fault
from genlock.schemas.outcomes import Verdict
from genlock.service.deciding.limits import OUTCOMES_BYTES_MAX, TooMuchError, bytes_of
from genlock.service.deciding.state import State
from genlock.service.deciding.verdicts import rejected
from genlock.service.ledger.ledger import Decided


def sort_out(commands: Sequence[Command], decided: Mapping[str, Decided]) -> tuple[list[Command], list[Command]]:
    """The first command of each id that is not decided, and those that use an id again for other content."""
    first: dict[str, Command] = {}
    reused = []
    for command in commands:
        if command.id not in decided:
            first.setdefault(command.id, command)
        known = decided.get(command.id) or first[command.id]
        if known.content_hash != command.content_hash:
            reused.append(command)
    return list(first.values()), reused


def check_answers(commands: Sequence[Command], decided: Mapping[str, Decided]) -> None:
    """Raise TooMuchError where the events that answer the commands, each copy again, have too many bytes together."""
    size = 0
    for number, command in enumerate(commands):
        size += bytes_of(decided[command.id].event.body)
        if size > OUTCOMES_BYTES_MAX and number:
            raise TooMuchError(f"the outcomes have more than {OUTCOMES_BYTES_MAX} bytes", number)


def reuse_refused(command: Command, state: State) -> Verdict:
    """The verdict of a command whose id was used before, for other content."""
    message = f"The id {command.id} was used before, for other content."
    record = state.records.get((command.kind, command.subject)) if command.kind else None
    return rejected(command, record, Fault(Code.ID_REUSED, message, ("id",), found=command.id)).verdict
