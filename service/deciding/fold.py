"""The fold: a batch, decided one command after the other over the states that were read under the locks.

Pure: no SQL, no await, no clock. It runs the guard of each rule, so that no rule can forget its own.
"""

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Self

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command, Refusal
from genlock.schemas.faults import Fault
from genlock.schemas.outcomes import Verdict
from genlock.schemas.values import value
from genlock.service.database.clocks import Clocks
from genlock.service.deciding.limits import CHANGES_BYTES_MAX, TooMuchError
from genlock.service.deciding.record import Record
from genlock.service.deciding.rule import Rule
from genlock.service.deciding.state import State
from genlock.service.deciding.verdicts import Decision, refused, rejected
from genlock.service.ledger.events import timestamp
from genlock.service.ledger.messages import Message, MessageKind, check

EXPIRY_MARGIN = timedelta(days=1)
"""A command this much younger than the ledger's memory is refused already: its first copy may be forgotten soon."""


NO_MESSAGES: Mapping[str, MessageKind] = MappingProxyType({})


class DoubtfulError(Exception):
    """Whether a command is expired depends on the clock, and the clocks disagree."""


@value
class LedgerWindow:
    """Since when everything is remembered, by the slowest of the clocks, and by the fastest."""

    since: datetime
    since_at_the_latest: datetime
    trusted: bool

    @classmethod
    def of(cls, clocks: Clocks, length: timedelta) -> Self:
        return cls(clocks.earliest - length, clocks.latest - length, clocks.trusted)

    def may_have_purged(self, time: datetime) -> bool:
        """Tell whether a command of that time may have been forgotten, by all clocks.

        Raises DoubtfulError where they disagree.
        """
        if time >= self.since and time < self.since_at_the_latest and not self.trusted:
            raise DoubtfulError
        return time < self.since


@value
class Change:
    """One accepted command of one record, as history keeps it."""

    record: Record
    command: Command
    decided_at: str


@dataclass(slots=True)
class Folded:
    """What a batch comes to: a verdict for each command, in their order, every change of a record, and messages."""

    verdicts: list[Verdict] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    messages: list[tuple[str, Message]] = field(default_factory=list)
    """Further messages, each with the id of its command."""
    faults: list[tuple[Command, str]] = field(default_factory=list)
    """Commands whose rule raised, with the traceback for the log."""
    doubtful: list[str] = field(default_factory=list)
    """The ids of commands that are expired by some of the clocks, which disagree."""


def fold(
    state: State,
    commands: Iterable[Command],
    now: datetime,
    retention: timedelta,
    rules: Mapping[str, Rule],
    *,
    messages: Mapping[str, MessageKind] = NO_MESSAGES,
    clocks: Clocks | None = None,
) -> Folded:
    """Decide each command over what the ones before it left; `state` ends as the batch leaves it.

    `now` is the database's time under the locks. `messages` are the kinds of further messages that there are.

    Raises TooMuchError if the changes have more than CHANGES_BYTES_MAX bytes.

    By that time alone where `clocks` does not tell of more. What comes with doubtful commands is not to be kept.
    """
    folded = Folded()
    made = 0
    decided_at = timestamp(now)
    window = LedgerWindow.of(clocks or Clocks(now, now, now), retention - EXPIRY_MARGIN)
    for command in commands:
        try:
            decision = decide(state, command, rules, decided_at, window)
            state.check(decision.changed)
            check(decision.messages, messages)
        except DoubtfulError:
            folded.doubtful.append(command.id)
            continue
        except Exception:  # noqa: BLE001 - a rule that fails takes down its own command alone
            folded.faults.append((command, traceback.format_exc()))
            decision = refused(command, None, INTERNAL_ERROR)
        # Not inside the try: an exception here may leave half of a change behind, so the batch is decided in halves.
        state.take(decision.changed)
        folded.verdicts.append(decision.verdict)
        for record in decision.changed:
            folded.changes.append(Change(record, command, decided_at))
            made += record.size
        if made > CHANGES_BYTES_MAX and len(folded.verdicts) > 1:
            raise TooMuchError(f"the changes have more than {CHANGES_BYTES_MAX} bytes", len(folded.verdicts) - 1)
        folded.messages.extend((command.id, message) for message in decision.messages)
    return folded


INTERNAL_ERROR = Refusal(
    Code.INTERNAL_ERROR, "The command could not be decided because of a fault in the service, which logged it."
)


def decide(
    state: State, command: Command, rules: Mapping[str, Rule], decided_at: str, window: LedgerWindow
) -> Decision:
    """Decide one command that is not forgotten, in the order of checks that the contract has.

    Raises DoubtfulError where that depends on the clock, and the clocks disagree.
    The rules come last: a refused, repeated or outlived command never reaches them.
    """
    record = state.find((command.kind, command.subject)) if command.kind and command.subject else None
    if isinstance(command.data, Refusal):
        return refused(command, record, command.data)
    rule = rules[command.type]
    if repeated := rule.repeated(state, command, record):
        return repeated
    if command.time is not None and window.may_have_purged(command.time):
        # As it came: a time on the first day of the calendar has no UTC to show (tests/e2e/test_bad_input.py).
        message = f"The command is from {command.time.isoformat()}, too old to know whether it was decided before."
        return rejected(command, record, Fault(Code.EXPIRED, message, ("time",), found=command.time_sent))
    prepared = rule.prepare(state, command, command.data)
    if isinstance(prepared, Decision):
        return prepared
    return rule.guard.check(state, command, prepared) or rule.apply(state, command, prepared, decided_at)
