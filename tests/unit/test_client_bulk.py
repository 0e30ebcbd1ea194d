"""How the client gathers the outcomes of a bulk message from its answers."""

import json
from typing import Any

import pytest

import genlock
from genlock._client.bulk import BulkAnswers
from tests.support.factories import new_id


def outcome(command_id: str, generation: int = 1) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": new_id(),
        "source": "/genlock",
        "type": "document.put.succeeded",
        "subject": "x",
        "time": "2026-01-31T12:00:00Z",
        "correlationid": command_id,
        "causationid": command_id,
        "attempt": 1,
        "data": {"kind": "document", "id": "x", "sequence": 1, "record": None, "token": {"generation": generation}},
    }


def body(value: Any) -> bytes:
    return json.dumps(value).encode()


def test_outcomes_of_several_answers_come_in_the_order_of_the_commands() -> None:
    ids = [new_id() for _ in range(4)]
    answers = BulkAnswers(ids)
    assert not answers.add(body([outcome(ids[0])]))
    # The third command waited for its record, and is answered by itself.
    assert not answers.add(body([outcome(ids[1]), outcome(ids[3])]))
    assert answers.add(body(outcome(ids[2])))
    assert [told.command_id for told in answers.outcomes()] == ids


def test_answer_that_comes_twice_stands_for_no_other_command() -> None:
    ids = [new_id(), new_id()]
    answers = BulkAnswers(ids)
    assert not answers.add(body([outcome(ids[0])]))
    assert not answers.add(body([outcome(ids[0])]))
    assert answers.add(body([outcome(ids[0]), outcome(ids[1])]))
    assert [told.command_id for told in answers.outcomes()] == ids


def test_each_copy_of_a_command_has_an_outcome_whatever_the_case_of_its_id() -> None:
    command_id = new_id()
    answers = BulkAnswers([command_id, command_id.upper()])
    assert not answers.add(body([outcome(command_id, 1)]))
    assert answers.add(body([outcome(command_id, 2)]))
    tokens = [told.token for told in answers.outcomes() if isinstance(told, genlock.Succeeded)]
    assert tokens == [genlock.GenerationToken(generation=1), genlock.GenerationToken(generation=2)]


@pytest.mark.parametrize("answer", [b"{", b"[3]", b'["x"]', b"7", b'[{"type": "x"}]'])
def test_answer_that_is_no_outcomes_is_the_last(answer: bytes) -> None:
    answers = BulkAnswers([new_id(), new_id()])
    assert answers.add(answer)
    with pytest.raises(ValueError):  # noqa: PT011 - of any kind
        answers.outcomes()
