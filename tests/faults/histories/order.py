"""One order for all records together: commands on several records, and reads of several, took effect at one moment.

Linearizability of each record is linearizability of all as long as every operation is about one record (Herlihy and
Wing, theorem 1). A command on allocations changes consumers and providers in one step, and a page of
`provider.allocations` shows a provider and its consumers at one moment. With those it is not enough: each record alone
may be in order, and no order be right for all. So all places of all records and the time are put into one graph. An
order exists if and only if the graph has no cycle (Papadimitriou, "The Serializability of Concurrent Database
Updates", JACM 26(4), 1979; with versions that are read off the answers as here: Kingsbury and Alvaro, "Elle", PVLDB
14(3), 2020). It is found in O(n) steps for n sights, by a topological sort.

A read that found nothing has its place in it only where no more than one version can have been the one that was gone.
"""

from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter

from tests.faults.histories.history import Operation
from tests.faults.histories.register import Register

Node = Operation | int
"""An operation, or a moment: all that ended before it is before all that began after it."""


def disorder(operations: Iterable[Operation], registers: Iterable[Register]) -> Iterator[str]:
    """Yield a cycle of operations, each of which must have been before the next one, if there is any."""
    graph: TopologicalSorter[Node] = TopologicalSorter()
    for register in registers:
        _add_versions(graph, register)
    _add_time(graph, list(operations))
    try:
        graph.prepare()
    except CycleError as error:
        cycle = [node for node in error.args[1] if isinstance(node, Operation)]
        yield "no order is right for all records; each of these was before the next one:" + "".join(
            f"\n  {operation}" for operation in cycle
        )


def _add_versions(graph: TopologicalSorter[Node], register: Register) -> None:
    """A version is written before it is seen, and seen before the next one is written."""
    before: list[Operation] = []
    for number, version in sorted(register.versions.items()):
        # Another one may have made it where the writer is a guess.
        if version.writer is not None and number not in register.guessed:
            graph.add(version.writer, *before)
            before = [version.writer]
        for operation in version.seers:
            graph.add(operation, *before)
        before = version.seers or before


def _add_time(graph: TopologicalSorter[Node], operations: list[Operation]) -> None:
    """What ended before another one began is before it: by way of a chain of moments, so that the edges stay few."""
    ends = sorted(operations, key=lambda operation: operation.answered_s)
    moment = ended = 0
    graph.add(moment)
    for operation in sorted(operations, key=lambda one: one.invoked_s):
        before = ended
        while ends[ended].answered_s < operation.invoked_s:
            ended += 1
        if ended > before:
            graph.add(moment + 1, moment, *ends[before:ended])
            moment += 1
        graph.add(operation, moment)
