"""The checker: whether a history is linearizable, and if not, by which operations one sees it.

It knows the contract and nothing of the service: sights.py reads the answers, register.py has the theory and looks at
each record, order.py at all of them together, values.py at what they hold. No checker on PyPI serves. Porcupine, a
library for Go, and Knossos, for the JVM, search for the order that the answers tell here; Elle, for the JVM, reads it
off answers as this one does, of transactions on lists and registers.
"""

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice

from tests.faults.histories.history import Json, Operation
from tests.faults.histories.order import disorder
from tests.faults.histories.register import Register
from tests.faults.histories.sights import Key, failures, named, refused, sights
from tests.faults.histories.values import wrong_values

SHOWN_MAX = 5


@dataclass(frozen=True)
class Report:
    """What a check has found; a history without violations is linearizable."""

    commands: int
    queries: int
    unanswered: int
    """Calls of both kinds whose clients got no answer."""
    left_out: int
    records: int
    took_s: float
    violations: Sequence[str]
    guessed: int
    """Versions of which it is not known which of several commands without an answer has made them."""

    def __str__(self) -> str:
        left_out = f"; {self.left_out} queries left out" if self.left_out else ""
        return (
            f"{self.commands} commands and {self.queries} queries on {self.records} records are linearizable, "
            f"{self.unanswered} without an answer among them (checked in {self.took_s:.2f} s{left_out})"
        )


def check(history: Iterable[Operation], left_out: int = 0) -> Report:
    """Check a history; all commands on the records in it must be in it too. `left_out` is how many queries are not."""
    began = time.monotonic()
    operations = list(history)
    checking = _Checking(operations)
    # Each stage rests on the ones before: what it would find after them is a consequence.
    stages = (checking.told_twice, checking.contradictions, checking.wrong_orders, checking.wrong_wholes)
    found = next(filter(None, (list(islice(stage(), SHOWN_MAX)) for stage in stages)), [])
    commands = sum(not operation.query for operation in operations)
    return Report(
        commands=commands,
        queries=len(operations) - commands,
        unanswered=sum(operation.answer is None for operation in operations),
        left_out=left_out,
        records=sum(kind != "command" for kind, _ in checking.registers),
        took_s=time.monotonic() - began,
        violations=found,
        guessed=sum(len(register.guessed) for register in checking.registers.values()),
    )


class _Checking:
    """One check. Its methods are stages, to be run in this order; each yields the violations."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.commands: dict[str, Operation] = {}
        """One operation for each command, by id, however often it was sent."""
        self.registers: dict[Key, Register] = {}
        self._operations = operations
        self._queries = [operation for operation in operations if operation.query]

    def told_twice(self) -> Iterator[str]:
        """Make one operation of all calls under one id; yield those that were told two stories."""
        calls: dict[str, list[Operation]] = {}
        for operation in self._operations:
            if not operation.query:
                calls.setdefault(operation.id, []).append(operation)
        found: dict[str, list[Operation]] = {}
        for query in self._queries:
            if query.request["type"] == "command.get" and query.answer and "record" in query.answer:
                found.setdefault(query.request["subject"], []).append(query)
        for command_id, sent in calls.items():
            answers = [*sent, *found.get(command_id, ())]
            stories = [one for one in answers if one.answer is not None]
            self.commands[command_id] = _one_of(sent, stories)
            if stories and all(call.not_taken for call in sent):
                yield f"a command was said to have no effect, and was decided:\n  {sent[0]}\n  {stories[0]}"
            if self.commands[command_id].answered_s < self.commands[command_id].invoked_s:
                yield f"a command was decided before it was sent:\n  {stories[0]}\n  {sent[0]}"
            for one in stories[1:]:
                if _event(one) != _event(stories[0]):
                    yield f"one command was told two stories:\n  {stories[0]}\n  {one}"

    def contradictions(self) -> Iterator[str]:
        """Take what all answers say of each version."""
        for operation in self._all():
            for sight in sights(operation):
                yield from self._register(sight.key).take(operation, sight)

    def wrong_orders(self) -> Iterator[str]:
        """Look at each record."""
        unanswered: dict[Key, list[Operation]] = {}
        for operation in self.commands.values():
            if operation.answer is None and not operation.not_taken:
                for key in named(operation.request):
                    unanswered.setdefault(key, []).append(operation)
        for key, register in self.registers.items():
            yield from register.find_writers(self.commands, unanswered.get(key, ()))
            yield from register.sweep()

    def wrong_wholes(self) -> Iterator[str]:
        """Look at all records together, and at what they hold."""
        yield from disorder(self._all(), self.registers.values())
        for key, register in self.registers.items():
            if key[0] != "command":
                yield from wrong_values(register)
        for operation in self.commands.values():
            yield from self._wrong_conflict(operation)

    def _wrong_conflict(self, operation: Operation) -> Iterator[str]:
        """A conflict names records that were not as expected; one that was is named wrongly."""
        if operation.answer is None or not operation.answer["type"].endswith(".conflict"):
            return
        for key, number, wanted in map(refused, failures(operation.answer)):
            if self._register(key).versions[number].holds(wanted):
                yield f"{key[0]} {key[1]}, version {number}, was as expected, and that was a conflict:\n  {operation}"

    def _all(self) -> Iterable[Operation]:
        return chain(self.commands.values(), self._queries)

    def _register(self, key: Key) -> Register:
        if key not in self.registers:
            self.registers[key] = Register(key)
        return self.registers[key]


def _one_of(sent: Sequence[Operation], stories: Sequence[Operation]) -> Operation:
    """One operation for all calls of a command: from the first beginning to the first end with an answer."""
    taken = [call for call in sent if not call.not_taken] or sent
    first = min(taken, key=lambda call: call.invoked_s)
    if not stories:
        return first
    soonest = min(stories, key=lambda story: story.answered_s)
    event = _event(soonest)
    return Operation(first.client, first.request, False, first.invoked_s, soonest.answered_s, event)


def _event(operation: Operation) -> Json:
    assert operation.answer is not None
    event: Json = operation.answer["record"] if operation.query else operation.answer
    return event
