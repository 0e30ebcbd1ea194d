"""The retry loop and its drafts, with a service that answers as told. Real ones are tried in tests/e2e."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

import genlock
from genlock import DocumentDelete, DocumentMerge, DocumentPut, DocumentState, Outcome, ProviderSetTraits
from genlock import change as change_module
from genlock._drafts import completed
from genlock._states import ReadableKind, State
from genlock.change import _pause_s, change
from genlock.schemas.outcomes import parse_outcome
from tests.factories import conflicting, event_of, put, state_of

STACK = "0190a0a0-0000-7000-8000-000000000001"
DOCUMENT = DocumentState(id="x", generation=3, body={})


def late(after_ms: int = 0) -> genlock.Conflict:
    """A conflict of a document, with this advice."""
    command = put("x", 3)
    conflict = parse_outcome(event_of(command, conflicting(state_of(), command)).body)
    assert isinstance(conflict, genlock.Conflict)
    retry = conflict.retry.model_copy(update={"after_ms": after_ms})
    return conflict.model_copy(update={"data": conflict.data.model_copy(update={"retry": retry})})


class Told:
    """Answers each command with the next of what it was told, and raises what is an exception."""

    def __init__(self, *answers: Outcome | Exception, state: State | None = DOCUMENT) -> None:
        self.answers = list(answers)
        self.sent: list[genlock.Command] = []
        self.reads = 0
        self._state = state

    async def get(self, kind: ReadableKind, record_id: str) -> State | None:
        assert (kind, record_id) == ("document", "x")
        self.reads += 1
        return self._state

    async def send(self, command: genlock.Command) -> Outcome:
        self.sent.append(command)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def changed(told: Told, fn: Callable[[Any], Any], **options: Any) -> Outcome | None:
    return await change(told, "document", "x", fn, **{"attempts": 5, "correlationid": None, **options})


def merge(_state: Any) -> Any:
    return partial(DocumentMerge, patch={})


@pytest.mark.parametrize("attempts", [-1, 0, 2])
async def test_fewer_than_three_attempts_are_refused(attempts: int) -> None:
    with pytest.raises(ValueError, match="3 attempts"):
        await changed(Told(), merge, attempts=attempts)


async def test_attempts_are_used_up() -> None:
    told = Told(*[late() for _ in range(3)])
    with pytest.raises(genlock.GaveUp, match="3 times") as raised:
        await changed(told, merge, attempts=3, correlationid="order-7")
    assert len(raised.value.conflicts) == 3
    assert [command.attempt for command in told.sent] == [1, 2, 3]
    assert {command.correlationid for command in told.sent} == {"order-7"}
    assert told.reads == 1


async def test_a_conflict_that_allows_no_retry_is_returned() -> None:
    conflict = late()
    retry = conflict.retry.model_copy(update={"allowed": False})
    final = conflict.model_copy(update={"data": conflict.data.model_copy(update={"retry": retry})})
    told = Told(final)
    assert await changed(told, merge) is final
    assert len(told.sent) == 1


@pytest.mark.parametrize("silence", [genlock.NoAnswer("No.", "7"), genlock.Disconnected("No.", "7")])
async def test_silence_is_broken_three_times_and_then_told(silence: genlock.Unanswered) -> None:
    told = Told(silence, silence, late(), silence, silence, silence)
    with pytest.raises(type(silence)):
        await changed(told, merge)
    ids = [command.id for command in told.sent]
    assert ids == [ids[0]] * 3 + [ids[3]] * 3
    assert ids[0] != ids[3]


async def test_what_has_no_effect_is_not_sent_again() -> None:
    told = Told(genlock.Refused("full", "7"))
    with pytest.raises(genlock.Refused):
        await changed(told, merge)
    assert len(told.sent) == 1


async def test_the_advice_is_the_least_that_is_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("asyncio.sleep", note)
    told = Told(*[late(after_ms) for after_ms in (0, 10, 500, 1000, 0)])
    with pytest.raises(genlock.GaveUp):
        await changed(told, merge)
    assert len(pauses) == 4
    for pause_s, advised_s in zip(pauses, (0, 0.01, 0.5, 1.0), strict=True):
        assert advised_s <= pause_s <= advised_s + change_module.JITTER_S


async def test_a_retry_after_a_long_pause_starts_from_what_the_record_is_by_then() -> None:
    told = Told(late(0), late(30), late(0), late(0))
    with pytest.raises(genlock.GaveUp):
        await changed(told, merge, attempts=4)
    assert told.reads == 2


def test_pauses_differ() -> None:
    assert len({_pause_s(late(10)) for _ in range(10)}) > 1


def test_a_draft_gets_the_token_of_the_state() -> None:
    assert completed(partial(DocumentPut, body={"a": 1}), "document", "x", DOCUMENT) == DocumentPut(
        expected_generation=3, body={"a": 1}
    )
    assert completed(DocumentDelete, "document", "x", DOCUMENT) == DocumentDelete(expected_generation=3)


def test_a_draft_without_a_record_expects_none() -> None:
    data = completed(partial(DocumentMerge, patch={}), "document", "x", None)
    assert data.model_dump(exclude_unset=True) == {"expected_generation": None, "patch": {}}


@pytest.mark.parametrize(
    ("draft", "kind", "words"),
    [
        (DocumentDelete, "document", "There is no document x, and document.delete needs one."),
        (partial(genlock.StackUpdate, template={}), "stack", "There is no stack x"),
        (partial(ProviderSetTraits, traits=[]), "document", "is none on a document"),
        (partial(DocumentPut, body={}, expected_generation=3), "document", "fills in expected_generation"),
        (DocumentDelete(expected_generation=1), "document", "A draft is"),
        (lambda: DocumentDelete(expected_generation=1), "document", "A draft is"),
        (genlock.Inventory, "provider", "A draft is"),
        (5, "document", "A draft is"),
    ],
)
def test_what_is_no_draft_is_refused(draft: Any, kind: ReadableKind, words: str) -> None:
    with pytest.raises(genlock.InvalidMessage, match=words):
        completed(draft, kind, "x", None)
