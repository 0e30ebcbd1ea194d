"""The fold: a batch, decided one command after the other over the states that were read under the locks.

Pure: no SQL, no await, no clock. `RULES` is the one routing table from command type to rule.
"""

import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command, Refusal
from genlock.schemas.outcomes import Verdict
from genlock.schemas.values import value
from genlock.service import consumers, documents, providers, stacks
from genlock.service.events import timestamp
from genlock.service.records import Record
from genlock.service.state import State
from genlock.service.verdicts import Decision, refused, success

Rule = Callable[[State, Command, Any, str], Decision]

RULES: Mapping[str, Rule] = {
    "provider.create": providers.create,
    "provider.update": providers.update,
    "provider.delete": providers.delete,
    "provider.set_inventories": providers.set_inventories,
    "provider.put_inventory": providers.put_inventory,
    "provider.delete_inventory": providers.delete_inventory,
    "provider.set_traits": providers.set_traits,
    "provider.set_aggregates": providers.set_aggregates,
    "consumer.set_allocations": consumers.set_allocations,
    "consumer.set_many": consumers.set_many,
    "consumer.reshape": consumers.reshape,
    "stack.create": stacks.create,
    "stack.update": stacks.update,
    "stack.delete": stacks.delete,
    "stack.rollback": stacks.rollback,
    "stack.cancel": stacks.cancel,
    "stack.set_state": stacks.set_state,
    "document.put": documents.put,
    "document.merge": documents.merge,
    "document.delete": documents.delete,
}

EXPIRY_MARGIN = timedelta(days=1)
"""A command this much younger than the ledger's memory is refused already: its first copy may be forgotten soon."""


@value
class Change:
    """One accepted command of one record, as history keeps it."""

    record: Record
    command: Command
    decided_at: str


@dataclass(slots=True)
class Folded:
    """What a batch comes to: a verdict for each command, in their order, and every change of a record."""

    verdicts: list[Verdict] = field(default_factory=list)
    changes: list[Change] = field(default_factory=list)
    faults: list[tuple[Command, str]] = field(default_factory=list)
    """Commands whose rule raised, with the traceback for the log."""


def fold(state: State, commands: Iterable[Command], now: datetime, retention: timedelta) -> Folded:
    """Decide each command over what the ones before it left; `state` ends as the batch leaves it."""
    folded = Folded()
    decided_at = timestamp(now)
    oldest = now - retention + EXPIRY_MARGIN
    for command in commands:
        try:
            decision = decide(state, command, decided_at, oldest)
        except Exception:  # noqa: BLE001 - a rule that fails takes down its own command alone
            folded.faults.append((command, traceback.format_exc()))
            decision = refused(command, None, INTERNAL_ERROR)
        state.apply(decision.changed)
        folded.verdicts.append(decision.verdict)
        folded.changes.extend(Change(record, command, decided_at) for record in decision.changed)
    return folded


INTERNAL_ERROR = Refusal(
    Code.INTERNAL_ERROR, "The command could not be decided because of a fault in the service, which logged it."
)


def decide(state: State, command: Command, decided_at: str, oldest: datetime) -> Decision:
    """Decide one command, not from before `oldest`.

    The rules come last: a refused, repeated or outlived command never reaches them.
    """
    record = state.find((command.kind, command.subject)) if command.kind else None
    if isinstance(command.data, Refusal):
        return refused(command, record, command.data)
    if remembered := _remembered(state, command, record):
        return remembered
    if command.time is not None and command.time < oldest:
        # As it came: a time on the first day of the calendar has no UTC to show (tests/e2e/test_bad_input.py).
        message = f"The command is from {command.time.isoformat()}, too old to know whether it was decided before."
        return refused(command, record, Refusal(Code.EXPIRED, message))
    return RULES[command.type](state, command, command.data, decided_at)


def _remembered(state: State, command: Command, record: Record | None) -> Decision | None:
    """The success of a command that the ledger has forgotten and its records have not."""
    if command.kind == "consumer":
        return consumers.repeated(state, command)
    return Decision(success(record)) if record is not None and record.maker.command_id == command.id else None
