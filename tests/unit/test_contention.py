"""The losers of one record are told to come back one after the other, and those of others are not held up by them."""

import pytest

from genlock.schemas.outcomes import ConflictData, Verdict
from genlock.service.deciding.contention import LINGER_S, PACE_FIRST_S, WAIT_MAX_S, Contention
from genlock.service.deciding.verdicts import RETRY_AFTER_MS
from tests.support.factories import accepted, conflicting, put, state_of

TURN_MS = round(PACE_FIRST_S * 1000)


def lost(subject: str = "x", attempt: int = 1) -> ConflictData:
    return conflicting(state_of(), put(subject, 3, attempt=attempt))


def waits(advised: list[Verdict]) -> list[int]:
    return [verdict.retry.after_ms for verdict in advised if isinstance(verdict, ConflictData)]


def test_each_loser_of_a_record_has_a_turn_of_its_own() -> None:
    losers = Contention()
    assert waits(losers.advise([lost(), lost(), lost()], 100.0)) == [TURN_MS, 2 * TURN_MS, 3 * TURN_MS]
    assert waits(losers.advise([lost()], 100.0 + PACE_FIRST_S)) == [3 * TURN_MS]
    assert waits(losers.advise([lost()], 200.0)) == [TURN_MS]


def test_each_record_has_turns_of_its_own() -> None:
    assert waits(Contention().advise([lost("x"), lost("y"), lost("x")], 0.0)) == [TURN_MS, TURN_MS, 2 * TURN_MS]


def test_the_turn_is_nearer_with_each_attempt_and_yet_not_at_once() -> None:
    losers = [lost()] * 11
    assert waits(Contention().advise([*losers, lost(attempt=3), lost(attempt=100)], 0.0))[-2:] == [
        4 * TURN_MS,
        RETRY_AFTER_MS,
    ]


def test_no_turn_is_nearer_where_all_have_had_many_attempts() -> None:
    losers = Contention()
    losers.advise([lost(attempt=20)] * 50, 0.0)
    first, *_, last = waits(losers.advise([lost(attempt=20)] * 50, 10.0))
    assert (first, last) == (TURN_MS, 50 * TURN_MS)


def test_no_loser_is_told_to_wait_for_ever() -> None:
    advised = waits(Contention().advise([lost()] * 1_000, 0.0))
    assert max(advised) == round(WAIT_MAX_S * 1000)


def test_where_changes_take_longer_turns_are_longer() -> None:
    losers, moment = Contention(), 0.0
    for _ in range(30):
        losers.advise([lost()], moment)
        moment += 0.1
        losers.advise([accepted(state_of(), put("x", None))], moment)
    waited = waits(losers.advise([lost(), lost()], moment))
    assert waited[1] - waited[0] == pytest.approx(100, abs=2)


def test_verdict_that_allows_no_retry_is_left_as_it_is() -> None:
    done = accepted(state_of(), put("x", None))
    final = lost().model_copy(update={"retry": lost().retry.model_copy(update={"allowed": False})})
    assert Contention().advise([done, final], 0.0) == [done, final]


def test_records_without_waiting_losers_are_forgotten() -> None:
    losers = Contention(records_max=3)
    losers.advise([lost("a"), lost("b")], 0.0)
    losers.advise([lost("c")] * 5, 0.0)
    losers.advise([lost("d")], LINGER_S + 0.04)
    assert {record_id for _, record_id in losers._contended} == {"c", "d"}
