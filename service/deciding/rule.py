"""The shape of a rule: what a command may touch, what guards it, and what becomes of its records."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from genlock.schemas.decode import Command
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.record import Record
from genlock.service.deciding.state import State
from genlock.service.deciding.verdicts import Decision, success


def data_alone(_state: State, _command: Command, data: Any) -> Any:
    """Take the data as they are."""
    return data


def repeated_on_subject(_state: State, command: Command, record: Record | None) -> Decision | None:
    """The success of the command that made the current token of its subject."""
    return Decision(success(record)) if record is not None and record.maker.command_id == command.id else None


@dataclass(frozen=True, slots=True)
class Guard:
    """The tokens that a command has to know."""

    check: Callable[[State, Command, Any], Decision | None]
    """The conflict that the command ends in, or None where each token is as expected."""
    omittable: tuple[str, ...] = ()
    """Paths in the data of tokens that may be left out, because the change commutes without them."""


@dataclass(frozen=True, slots=True)
class Rule:
    """How one type of command is decided: `prepare`, then the guard, then `apply`. All of it is pure.

    A rule that touches something outside of its footprint raises UndeclaredError, which ends its own command as
    `internal_error`.
    """

    apply: Callable[[State, Command, Any, str], Decision]
    """Takes what `prepare` has made of the data, and the moment of the decision as the contract writes it."""
    guard: Guard
    footprint: Callable[[Footprint, Command, Any], None]
    """Adds what a command with these data may touch."""
    prepare: Callable[[State, Command, Any], Any] = data_alone
    """Makes of the data what the guard and `apply` take. A Decision in its place is the rejection of what the contract
    checks before the token: the size of the data, and existence where no token says anything."""
    repeated: Callable[[State, Command, Record | None], Decision | None] = repeated_on_subject
    """Repeats the success of a command whose ledger row has expired but which made a record's current token. Takes its
    subject too."""
