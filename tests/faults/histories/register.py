"""One record as a compare-and-set register, and whether its part of a history can be linearized.

**Theory.** A history is linearizable if its operations can be put into one order that explains every answer and in
which an operation that ended before another one began comes first (Herlihy and Wing, "Linearizability: A Correctness
Condition for Concurrent Objects", TOPLAS 12(3), 1990). To find such an order is a search with backtracking in general
(Wing and Gong, "Testing and Verifying Concurrent Objects", JPDC 17, 1993; Lowe, "Testing for Linearizability",
Concurrency and Computation 29(4), 2017), and NP-complete already for one register. It is polynomial if it is known
which write each read saw and in which order the writes took place (Gibbons and Korach, "Testing Shared Memories", SIAM
Journal on Computing 26(4), 1997).

Here both are known. Each accepted command makes a version, the versions are counted, and answers tell the count. So
each operation has a place: the writer of version v the place 2v, those that saw it 2v + 1. Places are a linear order
up to operations that saw the same version, which may stand in the order in which they began. That order explains the
answers if

1. no two answers contradict each other about a version (`take`),
2. every version has one writer, and every accepted command one version of each record (`find_writers`),

and it respects time if and only if

3. no operation has a lower place than one that ended before it began (`sweep`).

No other order explains the answers, so a history that fails is not linearizable. All of it takes O(n log n) steps for
n operations, for they are sorted by time.

**What answers leave open.** A command without an answer may have made one of the versions whose maker no answer tells,
or none: `find_writers` assigns commands to these versions, by augmenting paths, in O(u g^2) steps for u such commands
and g such versions. A read that found nothing says that the record was gone, and not at which version: it gets the
lowest place that time leaves, which constrains later operations least. If a command on several records has no answer,
each record is looked at by itself, so that some histories pass in which it took effect on a part of them. The clients
ask for the outcome of every command that was not answered, which leaves none of these.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from tests.faults.histories.history import Json, Operation
from tests.faults.histories.sights import (
    FIRST_GENERATION,
    GONE,
    NEVER,
    Key,
    Part,
    Sight,
    expected,
    generation_of,
    written,
)


@dataclass
class Version:
    """One version of a record: its known state, the operation that showed it (None: the contract), and the writer."""

    facts: dict[str, tuple[Any, Operation | None]] = field(default_factory=dict)
    writer: Operation | None = None
    seers: list[Operation] = field(default_factory=list)

    def holds(self, facts: Json) -> bool:
        """Whether all these facts are known to be true."""
        return all(name in self.facts and self.facts[name][0] == value for name, value in facts.items())

    def allows(self, facts: Json) -> bool:
        """Whether none of these facts is known to be false."""
        return all(name not in self.facts or self.facts[name][0] == value for name, value in facts.items())


@dataclass
class Register:
    """All that a history says of one record."""

    key: Key
    versions: dict[int, Version] = field(default_factory=dict)
    not_found: list[Operation] = field(default_factory=list)
    """Those that found no record, at a version that is not known."""
    guessed: set[int] = field(default_factory=set)
    """The versions that one of several commands without an answer has made."""
    unplaced: list[Operation] = field(default_factory=list)
    """The commands without an answer that have made no version that was seen."""

    def __post_init__(self) -> None:
        self._version(0).facts.update({name: (value, None) for name, value in NEVER.items()})

    def take(self, operation: Operation, sight: Sight) -> Iterator[str]:
        """Note what an answer says; yield what contradicts earlier answers."""
        if sight.version is None:
            self.not_found.append(operation)
            return
        if sight.version < 0 or (sight.part is Part.WROTE and sight.version == 0):
            yield f"{self} has no version {sight.version}:\n  {operation}"
            return
        version = self._version(sight.version)
        if sight.part is Part.SAW:
            version.seers.append(operation)
        elif sight.part is Part.WROTE:
            if version.writer not in (None, operation):
                yield f"{self} got version {sight.version} twice:\n  {version.writer}\n  {operation}"
            version.writer = operation
        for name, value in sight.facts.items():
            known, source = version.facts.setdefault(name, (value, operation))
            if known != value:
                yield (
                    f"{self}, version {sight.version}, is told to have two values of {name!r}, {known} and {value}:\n"
                    f"  {source or 'the contract'}\n  {operation}"
                )

    def find_writers(self, commands: Mapping[str, Operation], unanswered: Sequence[Operation]) -> Iterator[str]:
        """Find out which command made each version up to the last one that was seen; yield where none can have.

        `commands` are all by their ids, `unanswered` those without an answer that name this record.
        """
        yield from self._take_makers(commands)
        taken = {version.writer for version in self.versions.values()}
        free = [operation for operation in unanswered if operation not in taken]
        deadlines = self._deadlines()
        gaps = {
            number: [operation for operation in free if self._fits(operation, number, deadlines[number])]
            for number in range(1, self.last + 1)
            if self._version(number).writer is None
        }
        assigned = _assigned(gaps)
        self.guessed = {number for number in assigned if len(gaps[number]) > 1}
        self.unplaced = [operation for operation in free if operation not in assigned.values()]
        for number in gaps:
            self._version(number).writer = assigned.get(number)
            if number not in assigned:
                yield f"{self} had version {number}, which no command can have made:{self._shown(number)}"

    def _take_makers(self, commands: Mapping[str, Operation]) -> Iterator[str]:
        made: dict[str, int] = {}
        for number, version in sorted(self.versions.items()):
            maker_id, source = version.facts.get("maker", (None, None))
            if maker_id is None:
                continue
            maker = commands.get(maker_id)
            if maker is None:
                yield f"{self}, version {number}, was made by {maker_id}, which no client has sent:\n  {source}"
            elif maker_id in made:
                yield f"{self} was changed twice, to versions {made[maker_id]} and {number}, by:\n  {maker}"
            elif maker.not_taken or (maker.answer is not None and not maker.succeeded):
                yield f"{self}, version {number}, was made by a command that was not accepted:\n  {maker}\n  {source}"
            version.writer = maker
            made[maker_id] = number

    def _fits(self, operation: Operation, number: int, deadline_s: float) -> bool:
        """Whether a command may have made a version that was there by then."""
        command = operation.request
        return (
            operation.invoked_s <= deadline_s
            and self._version(number - 1).allows(expected(command, self.key))
            and self._version(number).allows(written(command, self.key))
        )

    def _deadlines(self) -> Sequence[float]:
        """By version, by when it was there: the first end of an operation that saw or made it, or a later one."""
        deadlines = [inf] * (self.last + 2)
        for number in range(self.last, -1, -1):
            version = self._version(number)
            there = [operation.answered_s for operation in (*version.seers, version.writer) if operation is not None]
            deadlines[number] = min([deadlines[number + 1], *there])
        return deadlines

    @property
    def last(self) -> int:
        """The last version that was seen."""
        return max(self.versions)

    def refusals(self) -> Iterator[tuple[int, Operation]]:
        """The commands that were refused at a version."""
        for number, version in self.versions.items():
            for operation in version.seers:
                if not operation.query and operation.request["type"].partition(".")[0] == self.key[0]:
                    yield number, operation

    def sweep(self) -> Iterator[str]:
        """Go along the time, and yield operations with a lower place than one that ended before they began."""
        places = self._places()
        beginnings = sorted([*places, *self.not_found], key=lambda operation: operation.invoked_s)
        ends = sorted(beginnings, key=lambda operation: operation.answered_s)
        gone = sorted(number for number, version in self.versions.items() if version.allows(GONE))
        latest: tuple[int, Operation | None] = (0, None)
        ended = 0
        for operation in beginnings:
            while ends[ended].answered_s < operation.invoked_s:
                latest = max(latest, (places[ends[ended]], ends[ended]), key=lambda one: one[0])
                ended += 1
            if operation not in places:
                number = self._found_gone(operation, latest[0], gone)
                if number is None:
                    yield f"{self} was not found, though it was there since:\n  {latest[1]}\n  {operation}"
                    return
                places[operation] = 2 * number + 1
            if places[operation] < latest[0]:
                yield self._late(operation, places[operation], latest)
                return

    def _found_gone(self, operation: Operation, lowest: int, gone: Sequence[int]) -> int | None:
        """The lowest version with no lower place that an operation may have found gone; None if there is none."""
        made = [number for number in gone if self._made_by(number, operation.answered_s)]
        possible = made[bisect_left(made, (lowest - 1) / 2) :]
        if any(_may_delete(one, self.key) and one.invoked_s <= operation.answered_s for one in self.unplaced):
            # After the last version that was seen, by a command without an answer.
            possible.append(self.last + 1)
            self.guessed.add(self.last + 1)
        elif len(possible) == 1:
            self.versions[possible[0]].seers.append(operation)
        return possible[0] if possible else None

    def _made_by(self, number: int, by_s: float) -> bool:
        writer = self.versions[number].writer
        return writer is None or writer.invoked_s <= by_s

    def _places(self) -> dict[Operation, int]:
        places: dict[Operation, int] = {}
        for number, version in self.versions.items():
            places.update(dict.fromkeys(version.seers, 2 * number + 1))
            if version.writer is not None:
                places[version.writer] = 2 * number
        return places

    def _late(self, operation: Operation, place: int, latest: tuple[int, Operation | None]) -> str:
        what = "was made" if place % 2 == 0 else "was seen"
        return (
            f"{self}: version {place // 2} {what} after version {latest[0] // 2} had been seen or made:\n"
            f"  {latest[1]}\n  {operation}"
        )

    def _version(self, number: int) -> Version:
        version = self.versions.get(number)
        if version is None:
            version = self.versions[number] = Version()
            if self.key[0] in FIRST_GENERATION and number > 0:
                version.facts["token"] = (generation_of(self.key[0], number), None)
        return version

    def _shown(self, number: int) -> str:
        """The first operation that saw a version or a later one."""
        seers = [operation for later in range(number, self.last + 1) for operation in self._version(later).seers]
        writers = [self.versions[later].writer for later in range(number, self.last + 1)]
        known = [*seers, *(writer for writer in writers if writer is not None)]
        return "".join(f"\n  {operation}" for operation in sorted(known, key=lambda one: one.answered_s)[:2])

    def __str__(self) -> str:
        return " ".join(self.key)


def _may_delete(operation: Operation, key: Key) -> bool:
    return written(operation.request, key).get("exists") is not True


def _assigned(gaps: Mapping[int, Sequence[Operation]]) -> dict[int, Operation]:
    """Assign to as many versions as possible one each of the commands that fit, by augmenting paths (Kuhn)."""
    made: dict[Operation, int] = {}

    def assign(number: int, tried: set[Operation]) -> bool:
        for operation in gaps[number]:
            if operation in tried:
                continue
            tried.add(operation)
            if operation not in made or assign(made[operation], tried):
                made[operation] = number
                return True
        return False

    for number in gaps:
        assign(number, set())
    return {number: operation for operation, number in made.items()}
