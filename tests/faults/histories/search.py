"""The search that needs no knowledge of registers: every order of a short history, by Wing and Gong's algorithm.

J. M. Wing, C. Gong, "Testing and Verifying Concurrent Objects", Journal of Parallel and Distributed Computing 17,
1993: take any operation that began before all others have ended, see whether the specification answers as the service
did, and go on with the rest; step back where it does not. Up to n! steps: for histories of some ten operations, which
the checker's verdict is compared by.
"""

from collections.abc import Sequence
from copy import deepcopy

from tests.faults.histories.history import Operation
from tests.faults.histories.specification import Specification


def can_be_ordered(history: Sequence[Operation]) -> bool:
    """Whether any order of the operations explains all answers and respects their times."""
    return _continues(Specification(), frozenset(history))


def _continues(specification: Specification, left: frozenset[Operation]) -> bool:
    if all(operation.answer is None for operation in left):
        # An operation without an answer need not have taken effect.
        return True
    first_end = min(operation.answered_s for operation in left)
    for operation in left:
        if operation.invoked_s > first_end or (operation.answer is None and operation.query):
            continue
        after = deepcopy(specification)
        answer = after.answer(operation.request, query=operation.query)
        if operation.answer in (None, answer) and _continues(after, left - {operation}):
            return True
    return False
