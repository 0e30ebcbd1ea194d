"""The ages of rows by their ids, by a monotonic clock of the test."""

import pytest

from genlock.service.ledger.ages import Ages

AGE_S = 60.0


class Passed:
    """A monotonic clock that is moved by hand."""

    def __init__(self) -> None:
        self.now_s = 5.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def passed() -> Passed:
    return Passed()


@pytest.fixture
def ages(passed: Passed) -> Ages:
    return Ages(AGE_S, passed)


def test_id_is_old_enough_once_it_was_seen_for_so_long(ages: Ages, passed: Passed) -> None:
    found = []
    for newest in (7, 7, 9, 12, 12, 12, 30):
        found.append(ages.up_to(newest))
        passed.now_s += AGE_S / 2
    assert found == [0, 0, 7, 7, 9, 12, 12]


def test_rows_that_were_there_before_are_as_old_as_the_first_look(ages: Ages, passed: Passed) -> None:
    assert ages.up_to(1_000_000) == 0
    passed.now_s += AGE_S
    assert ages.up_to(1_000_000) == 1_000_000


def test_ids_that_start_again_from_below_are_not_taken_for_newer(ages: Ages, passed: Passed) -> None:
    ages.up_to(500)
    passed.now_s += AGE_S
    assert ages.up_to(3) == 500


def test_table_that_is_empty_has_nothing_old(ages: Ages, passed: Passed) -> None:
    assert ages.up_to(0) == 0
    passed.now_s += 2 * AGE_S
    assert ages.up_to(0) == 0


def test_at_no_age_everything_counts_at_once(passed: Passed) -> None:
    assert Ages(0, passed).up_to(4) == 4
