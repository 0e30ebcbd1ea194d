"""The retry loop and its drafts, with a service that answers as told. Real ones are tried in tests/e2e."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar, cast

import pytest

import genlock
from genlock import DocumentDelete, DocumentMerge, DocumentPut, DocumentState, Outcome, ProviderSetTraits
from genlock import change as change_module
from genlock._client.drafts import completed
from genlock._client.states import State
from genlock._client.turns import BUSY_S, turn_of
from genlock.change import CONFLICTS_KEPT, Change
from genlock.schemas.base import Kind
from genlock.schemas.outcomes import parse_outcome
from genlock.schemas.stacks import StackState
from tests.support.factories import accepted, conflicting, event_of, put, state_of

T = TypeVar("T")

STACK = "0190a0a0-0000-7000-8000-000000000001"
DOCUMENT = DocumentState(id="x", generation=3, body={})


def stack(traversal: str) -> StackState:
    return StackState.model_construct(id=STACK, traversal=traversal)


def late(after_ms: int = 0) -> genlock.Conflict:
    """A conflict of a document, with this advice."""
    command = put("x", 3)
    conflict = parse_outcome(event_of(command, conflicting(state_of(), command)).body)
    assert isinstance(conflict, genlock.Conflict)
    retry = conflict.retry.model_copy(update={"after_ms": after_ms})
    current = DOCUMENT.model_dump()
    return conflict.model_copy(update={"data": conflict.data.model_copy(update={"retry": retry, "current": current})})


class Told:
    """Answers each command with its next answer, and repeats the last one. An exception among them is raised.

    Silence lasts until the caller's time is over.
    """

    def __init__(self, *answers: Outcome | Exception, state: State | Exception | None = DOCUMENT) -> None:
        self.answers = list(answers)
        self.sent: list[genlock.Command] = []
        self.reads = 0
        self._state = state

    async def read_within(self, kind: Kind, record_id: str, within_s: float) -> State | None:
        assert (kind, record_id) == ("document", "x")
        self.reads += 1
        return await _told(self._state, within_s)

    async def send_within(self, command: genlock.Command, within_s: float) -> Outcome:
        self.sent.append(command)
        return await _told(self.answers.pop(0) if len(self.answers) > 1 else self.answers[0], within_s)


async def _told(answer: T | Exception, within_s: float) -> T:
    if type(answer) is genlock.NoAnswer:
        await asyncio.sleep(within_s)
    if isinstance(answer, Exception):
        raise answer
    return answer


async def changed(told: Told, fn: Callable[[Any], Any], **options: Any) -> Outcome | None:
    return await Change(told, "document", "x", fn, **options).run()


def merge(_state: Any) -> Any:
    return partial(DocumentMerge, patch={})


def won() -> Outcome:
    command = put("x", None)
    return parse_outcome(event_of(command, accepted(state_of(), command)).body)


@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
async def test_a_deadline_that_is_none_is_refused(timeout_s: float) -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        await changed(Told(won()), merge, timeout_s=timeout_s)


async def test_nothing_limits_the_attempts_before_the_deadline() -> None:
    told = Told(*[late()] * 250, won())
    assert isinstance(await changed(told, merge), genlock.Succeeded)
    assert [command.attempt for command in told.sent] == list(range(1, 252))


async def test_at_the_deadline_the_last_conflicts_are_told() -> None:
    told = Told(late())
    began = time.monotonic()
    with pytest.raises(genlock.GaveUp, match=r"deadline of 2 s .* has changed nothing") as raised:
        await changed(told, merge, timeout_s=2)
    assert time.monotonic() - began > 1.8
    assert len(raised.value.conflicts) == min(len(told.sent), CONFLICTS_KEPT)


async def test_a_pause_that_is_longer_than_the_rest_leaves_room_for_a_last_try() -> None:
    told = Told(late(after_ms=60_000), won())
    began = time.monotonic()
    assert isinstance(await changed(told, merge, timeout_s=2), genlock.Succeeded)
    assert time.monotonic() - began < 2


async def test_fn_that_is_still_at_work_at_the_deadline_is_cancelled() -> None:
    cancelled = []

    async def never_ready(_state: Any) -> Any:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    told = Told(won())
    with pytest.raises(genlock.GaveUp, match="fn was still at work") as raised:
        await changed(told, never_ready, timeout_s=0.1)
    assert (told.sent, cancelled, raised.value.conflicts, raised.value.conflict) == ([], [True], (), None)
    assert raised.value.attempts == 0


async def test_fn_that_returns_a_command_too_late_sends_nothing() -> None:
    def slow(_state: Any) -> Any:
        time.sleep(0.2)
        return merge(_state)

    told = Told(won())
    with pytest.raises(genlock.GaveUp, match="too late"):
        await changed(told, slow, timeout_s=0.1)
    assert told.sent == []


async def test_a_timeout_of_fns_own_is_its_authors() -> None:
    async def failing(_state: Any) -> Any:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine"):
        await changed(Told(won()), failing)


async def test_a_command_under_way_at_the_deadline_is_named() -> None:
    told = Told(genlock.NoAnswer("There is no answer within 0.1 s.", "7"))
    with pytest.raises(genlock.NoAnswer, match=r"document\.outcome") as raised:
        await changed(told, merge, timeout_s=0.3)
    assert raised.value.command_id == told.sent[0].id
    assert raised.value.command_id in str(raised.value)
    assert {command.id for command in told.sent} == {told.sent[0].id}
    assert len(told.sent) >= 2


async def test_a_read_without_an_answer_is_repeated_until_the_deadline() -> None:
    told = Told(won(), state=genlock.NoAnswer("There is no answer within 0.1 s."))
    with pytest.raises(genlock.GaveUp, match=r"could not be read \(There is no answer"):
        await changed(told, merge, timeout_s=0.3)
    assert told.reads >= 2
    assert told.sent == []


@pytest.mark.parametrize("error", [genlock.NoService("None."), genlock.ClientClosed("It is.")])
async def test_what_no_patience_mends_is_told_at_once(error: Exception) -> None:
    with pytest.raises(type(error)):
        await changed(Told(won(), state=error), merge)


async def test_a_service_that_was_there_is_waited_for() -> None:
    silence = genlock.NoService("No service consumes it.", "7")
    told = Told(late(), silence, silence, won())
    assert isinstance(await changed(told, merge, timeout_s=1), genlock.Succeeded)


@pytest.mark.parametrize("attempts", [-1, 0, 2])
async def test_fewer_than_three_attempts_are_refused(attempts: int) -> None:
    with pytest.raises(ValueError, match="3 attempts"):
        await changed(Told(), merge, attempts=attempts)


async def test_attempts_are_used_up() -> None:
    told = Told(*[late() for _ in range(3)])
    with pytest.raises(genlock.GaveUp, match="each of 3 attempts") as raised:
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
async def test_a_try_without_an_answer_is_repeated_under_its_own_id(silence: genlock.Unanswered) -> None:
    told = Told(silence, late(), silence, won())
    assert isinstance(await changed(told, merge, timeout_s=1), genlock.Succeeded)
    ids = [command.id for command in told.sent]
    assert ids == [ids[0]] * 2 + [ids[2]] * 2
    assert ids[0] != ids[2]


async def test_command_without_effect_is_not_sent_again() -> None:
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
        await changed(told, merge, attempts=5)
    assert len(pauses) == 4
    for pause_s, advised_s in zip(pauses, (0, 0.01, 0.5, 1.0), strict=True):
        assert advised_s <= pause_s <= advised_s + change_module.JITTER_S


async def test_a_retry_after_a_long_pause_starts_from_the_present_record() -> None:
    told = Told(late(0), late(30), late(0), late(0))
    with pytest.raises(genlock.GaveUp):
        await changed(told, merge, attempts=4)
    assert told.reads == 2


async def test_a_state_that_did_not_fit_into_the_conflict_is_read() -> None:
    truncated = late()
    data = truncated.data.model_copy(update={"current": None, "truncated": True})
    told = Told(truncated.model_copy(update={"data": data}), won())
    seen: list[Any] = []

    def note(state: Any) -> Any:
        seen.append(state)
        return merge(state)

    assert isinstance(await changed(told, note), genlock.Succeeded)
    assert told.reads == 2
    assert seen == [DOCUMENT, DOCUMENT]


async def test_pauses_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def note(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr("asyncio.sleep", note)
    await changed(Told(*[late(10)] * 10, won()), merge)
    assert len(set(pauses)) > 1


STATE_3 = [
    partial(DocumentPut, body={"a": 1}),
    partial(DocumentPut, body={"a": 1}, expected_generation=3),
    DocumentPut(expected_generation=3, body={"a": 1}),
    genlock.command(DocumentPut(expected_generation=3, body={"a": 1}), subject="x"),
]


@pytest.mark.parametrize("draft", STATE_3)
def test_a_draft_has_or_gets_the_token_of_the_state(draft: Any) -> None:
    made = completed(draft, "document", "x", DOCUMENT)
    assert (made.type, made.subject) == ("document.put", "x")
    assert made.data == DocumentPut(expected_generation=3, body={"a": 1})


@pytest.mark.parametrize("draft", [DocumentMerge(patch={}), partial(DocumentMerge, patch={})])
def test_a_command_that_may_go_without_a_token_gets_it_all_the_same(draft: Any) -> None:
    made = completed(draft, "document", "x", DOCUMENT)
    assert made.members()["data"] == {"expected_generation": 3, "patch": {}}
    without = completed(draft, "document", "x", None)
    assert without.members()["data"] == {"expected_generation": None, "patch": {}}


def test_a_model_alone_is_a_draft() -> None:
    assert completed(DocumentDelete, "document", "x", DOCUMENT).data == DocumentDelete(expected_generation=3)


def test_a_stack_has_the_token_of_its_state() -> None:
    traversal = "0190a0a0-0000-7000-8000-000000000002"
    state = stack(traversal)
    for draft in (genlock.StackCancel, genlock.StackCancel(expected_traversal=traversal)):
        assert completed(draft, "stack", STACK, state).data == genlock.StackCancel(expected_traversal=traversal)
    with pytest.raises(genlock.InvalidMessage, match=f"expected_traversal {STACK}, but .* has {traversal}"):
        completed(genlock.StackCancel(expected_traversal=STACK), "stack", STACK, state)


async def test_a_whole_command_keeps_its_id_and_is_numbered() -> None:
    made = [genlock.command(DocumentPut(expected_generation=3, body={}), subject="x") for _ in range(2)]
    told = Told(late(), won())
    await changed(told, lambda _state: made[len(told.sent)])
    assert [(one.id, one.attempt, one.correlationid) for one in told.sent] == [
        (made[0].id, 1, made[0].id),
        (made[1].id, 2, made[0].id),
    ]


async def test_a_whole_command_with_the_id_of_an_earlier_try_is_refused() -> None:
    made = genlock.command(DocumentPut(expected_generation=3, body={}), subject="x")
    told = Told(_of(made), won())
    with pytest.raises(genlock.InvalidMessage, match=f"the id {made.id} again"):
        await changed(told, lambda _state: made)
    assert len(told.sent) == 1


def _of(command: genlock.Command) -> Outcome:
    """A conflict of this very command."""
    return late().model_copy(update={"causationid": command.id})


def test_an_id_in_capitals_is_the_same_record() -> None:
    draft = genlock.command(genlock.StackCreate(name="a", template={}), subject=STACK.upper())
    assert completed(draft, "stack", STACK.upper(), None).subject == STACK


def test_a_command_that_makes_a_record_is_refused_where_there_is_one() -> None:
    draft = partial(genlock.StackCreate, name="a", template={})
    with pytest.raises(genlock.InvalidMessage, match=f"There is a stack {STACK} already, and stack.create makes one"):
        completed(draft, "stack", STACK, stack(STACK))


async def test_the_turn_of_others_is_waited_for_until_the_deadline() -> None:
    told, turn = Told(won()), turn_of("document", "x")
    turn.learn(BUSY_S)
    async with turn.taken(float("inf")):
        with pytest.raises(genlock.GaveUp, match="the turn of others, whose fn is slow"):
            await changed(told, merge, timeout_s=0.1)
    assert not told.sent
    assert await changed(told, merge) == told.answers[0]
    assert told.reads == 2


async def test_an_async_fn_may_make_a_change_of_its_own_beside_slow_ones() -> None:
    told, within = Told(won()), Told(won())

    async def nested(state: Any) -> Any:
        await changed(within, _slow)
        return merge(state)

    async with asyncio.TaskGroup() as group:
        group.create_task(changed(told, _slow))
        group.create_task(changed(told, nested))
    assert (len(told.sent), len(within.sent)) == (2, 1)


def _slow(state: Any) -> Any:
    time.sleep(BUSY_S)
    return merge(state)


@pytest.mark.parametrize(
    ("draft", "kind", "words"),
    [
        (DocumentDelete, "document", "There is no document x, and document.delete needs one."),
        (partial(genlock.StackUpdate, template={}), "stack", "There is no stack x"),
        (partial(ProviderSetTraits, traits=[]), "document", "which is no command on one document"),
        (
            partial(DocumentPut, body={}, expected_generation=3),
            "document",
            "expected_generation 3, but there is no such",
        ),
        (DocumentPut(body={}, expected_generation=3), "document", "expected_generation 3, but there is no such"),
        (genlock.command(DocumentPut(body={}, expected_generation=None), subject="y"), "document", "on y; .* for x"),
        (partial(cast("Any", DocumentPut), bodies={}), "document", "a document.put that cannot be one"),
        (partial(cast("Any", DocumentPut), {}), "document", "a document.put that cannot be one"),
        (partial(dict, a=1), "document", "a partial of dict. It has to return"),
        (lambda: DocumentDelete(expected_generation=1), "document", "of the type function. It has to return"),
        (genlock.Inventory, "provider", "the class Inventory. It has to return"),
        ({"type": "document.put"}, "document", "of the type dict. It has to return"),
        (5, "document", "of the type int. It has to return"),
        (DOCUMENT, "document", "of the type DocumentState. It has to return"),
    ],
)
def test_value_that_is_no_draft_is_refused(draft: Any, kind: Kind, words: str) -> None:
    with pytest.raises(genlock.InvalidMessage, match=words):
        completed(draft, kind, "x", None)
