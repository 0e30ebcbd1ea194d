"""Batches whose events are confirmed, and the transactions that note it."""

import pytest

from genlock.consumers.commands.confirmations import Confirmations
from genlock.service.deciding.decide import Decider


@pytest.fixture
def confirmations(decider: Decider) -> Confirmations:
    """Return those of a decider."""
    return Confirmations(decider)


def test_what_one_transaction_carries_no_other_one_does(confirmations: Confirmations) -> None:
    confirmations.add([2, 1])
    with confirmations.carrying() as first:
        confirmations.add([3])
        with confirmations.carrying() as second:
            assert (first, second) == ([1, 2], [3])
    with confirmations.carrying() as left:
        assert left == []


def test_what_a_transaction_could_not_note_the_next_one_carries(confirmations: Confirmations) -> None:
    confirmations.add([1])
    with pytest.raises(TimeoutError), confirmations.carrying():
        raise TimeoutError
    with confirmations.carrying() as again:
        assert again == [1]
