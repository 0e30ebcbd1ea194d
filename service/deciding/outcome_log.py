"""One line in the log for each decided command: a loss at the level info, a success at the level debug."""

import logging
from collections.abc import Iterable
from typing import assert_never

import structlog

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import ConflictData, RejectedData, SucceededData, Token, Verdict

log = structlog.get_logger()


def log_outcomes(commands: Iterable[Command], verdicts: Iterable[Verdict]) -> None:
    """Log the verdicts of a batch."""
    # Asked once: a line that is not shown must cost nothing, and most commands succeed.
    all_shown = log.is_enabled_for(logging.DEBUG)
    for command, verdict in zip(commands, verdicts, strict=True):
        if all_shown or not isinstance(verdict, SucceededData):
            _log_outcome(command, verdict)


def _log_outcome(command: Command, verdict: Verdict) -> None:
    """Log a verdict with everything that tells commands, records and versions apart. A conflict is not an error."""
    named = {
        "action": "decide",
        "command_id": command.id,
        "type": command.type,
        "kind": command.kind,
        "id": command.subject,
        "sequence": verdict.sequence,
    }
    match verdict:
        case SucceededData(token=token):
            log.debug("succeeded", **named, token=_shown(token))
        case ConflictData(reason=reason, expected=expected, actual=actual, winner=winner):
            log.info(
                "conflict",
                **named,
                reason=reason,
                expected=_shown(expected),
                actual=_shown(actual),
                winner=winner.command_id if winner else None,
            )
        case RejectedData(code=code, message=message):
            log.info("rejected", **named, code=code, message=message)
        case _:
            assert_never(verdict)


def _shown(token: Token | None) -> dict[str, object] | None:
    return None if token is None else token.model_dump(exclude_none=True)
