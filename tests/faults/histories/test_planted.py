"""The checker finds what it is there for: each anomaly that is planted in a good history, by name."""

from collections.abc import Callable
from copy import deepcopy
from math import inf

import pytest

from tests.faults.histories.checker import check
from tests.faults.histories.history import Json, Operation
from tests.faults.histories.specification import Specification
from tests.support.factories import envelope, new_id

Planting = Callable[["Played"], None]


class Played:
    """A history of calls one after the other, the n-th from second n to n + 0.5; some of them have names."""

    def __init__(self) -> None:
        self.history: list[Operation] = []
        self._specification = Specification()

    def call(self, request: Json, *, query: bool = False) -> Operation:
        """Call, and be answered as the contract says."""
        began_s = float(len(self.history))
        answer = self._specification.answer(request, query=query)
        operation = Operation("a client", request, query, began_s, began_s + 0.5, answer)
        self.history.append(operation)
        return operation

    def put(self, subject: str, expected: int | None) -> Operation:
        return self.call(envelope("document.put", subject, {"expected_generation": expected, "body": {new_id(): 1}}))

    def get(self, kind: str, subject: str) -> Operation:
        return self.call(envelope(f"{kind}.get", subject, {}), query=True)


@pytest.fixture
def played() -> Played:
    return Played()


def test_history_by_the_contract_is_linearizable(played: Played) -> None:
    everything(played)
    report = check(played.history)
    assert report.violations == []
    assert (report.commands, report.queries, report.records) == (15, 11, 5)


def everything(played: Played) -> None:
    """Do something with a record of every kind: delete it, make it anew, rename it, be refused."""
    document, stack, provider, first, second = (new_id() for _ in range(5))
    played.get("document", document)
    played.put(document, None)
    played.put(document, 5)
    played.call(envelope("document.delete", document, {"expected_generation": 0}))
    played.get("document", document)
    played.put(document, None)
    played.call(envelope("document.merge", document, {"patch": {"a": 1}}))
    played.call(envelope("record.history", document, {"kind": "document"}), query=True)
    created = played.call(envelope("stack.create", stack, {"name": "a", "template": {}}))
    played.call(envelope("stack.set_state", stack, state_of(created, "COMPLETE")))
    played.get("stack", stack)
    deleted = played.call(envelope("stack.delete", stack, {"expected_traversal": created.id}))
    played.call(envelope("stack.set_state", stack, state_of(deleted, "COMPLETE")))
    played.get("stack", stack)
    played.call(envelope("provider.create", provider, {"name": "a"}))
    played.call(envelope("provider.update", provider, {"expected_generation": 0, "name": "b"}))
    inventory = {"expected_generation": 1, "resource_class": "VCPU", "inventory": {"total": 8}}
    played.call(envelope("provider.put_inventory", provider, inventory))
    played.get("provider", provider)
    played.call(envelope("consumer.set_many", None, {"consumers": {first: some(provider), second: some(provider)}}))
    played.call(envelope("consumer.set_many", None, {"consumers": {first: some(provider), second: some(provider)}}))
    for what in ("allocations", "usages"):
        played.call(envelope(f"provider.{what}", provider, {}), query=True)
    for consumer in (first, second):
        played.get("consumer", consumer)
    played.call(envelope("consumer.set_allocations", first, some(provider, expected=1, amount=0)))
    played.call(envelope("command.get", created.id, {}), query=True)


def state_of(started: Operation, status: str) -> Json:
    return {"expected_traversal": started.id, "status": status, "reason": ""}


def some(provider: str, *, expected: int | None = None, amount: int = 1) -> Json:
    allocations = {provider: {"resources": {"VCPU": amount}}} if amount else {}
    return {"expected_generation": expected, "project_id": "p", "user_id": "u", "allocations": allocations}


def stale_read(played: Played) -> None:
    """A read shows the state before a command that had succeeded."""
    document = new_id()
    played.put(document, None)
    before = played.get("document", document)
    played.put(document, 0)
    played.get("document", document).answer = before.answer


def stale_read_of_nothing(played: Played) -> None:
    """A read finds nothing though the record was made and never deleted."""
    document = new_id()
    before = played.get("document", document)
    played.put(document, None)
    played.get("document", document).answer = before.answer


def non_monotonic_reads(played: Played) -> None:
    """One client reads a version, and then the one before, while the command is still on its way."""
    document = new_id()
    played.put(document, None)
    before = played.get("document", document)
    writing = played.put(document, 0)
    played.get("document", document)
    played.get("document", document).answer = before.answer
    writing.answered_s = inf


def read_from_the_future(played: Played) -> None:
    """A read shows what a command makes that is sent later."""
    document = new_id()
    played.put(document, None)
    early = played.get("document", document)
    played.put(document, 0)
    early.answer = played.get("document", document).answer


def lost_update(played: Played) -> None:
    """Two authors with the same token both succeed, and the second one overwrites what the first one did."""
    document = new_id()
    played.put(document, None)
    winner = played.put(document, 0)
    loser = played.put(document, 0)
    loser.answer = success_like(winner, loser)
    played.get("document", document)


def lost_update_that_left_no_trace(played: Played) -> None:
    """A success is told, and a later command with the same token succeeds as if it had not been."""
    document = new_id()
    played.put(document, None)
    winner = played.put(document, 0)
    other = played.put(document, 1)
    assert other.answer is not None
    other.request["data"]["expected_generation"] = 0
    assert winner.succeeded


def doubled_success(played: Played) -> None:
    """One command is applied twice: to two versions in a row."""
    document = new_id()
    played.put(document, None)
    merge = envelope("document.merge", document, {"patch": {"a": 1}})
    applied = played.call(merge)
    again = played.call({**merge, "id": new_id()})
    again.request, again.answer = merge, deepcopy(again.answer)
    assert again.answer is not None
    again.answer["causationid"] = applied.id


def success_that_never_took_effect(played: Played) -> None:
    """A success is told, and the record stays as it was."""
    document = new_id()
    played.put(document, None)
    before = played.get("document", document)
    played.put(document, 0)
    for _ in range(2):
        played.get("document", document).answer = deepcopy(before.answer)


def success_with_another_effect(played: Played) -> None:
    """A success is told, and what the record holds then is something else."""
    document = new_id()
    played.put(document, None)
    played.call(envelope("document.merge", document, {"patch": {"b": 1}}))
    answer = played.get("document", document).answer
    assert answer is not None
    del answer["record"]["body"]["b"]
    success = played.history[-2].answer
    assert success is not None
    success["data"]["record"] = deepcopy(answer["record"])


def unanswered_command_that_took_effect_twice(played: Played) -> None:
    """The history of a record has a command twice whose client got no answer."""
    document = new_id()
    played.put(document, None)
    lost = played.call(envelope("document.merge", document, {"patch": {"a": 1}}))
    other = played.call(envelope("document.merge", document, {"patch": {"b": 1}}))
    rows = played.call(envelope("record.history", document, {"kind": "document"}), query=True).answer
    assert rows is not None
    rows["records"][2]["command_id"] = lost.id
    lose(lost)
    played.history.remove(other)


def unanswered_command_that_took_effect_twice_unseen(played: Played) -> None:
    """Two versions are seen that only one command can have made, which had no answer."""
    document = new_id()
    played.put(document, None)
    lose(played.call(envelope("document.merge", document, {"patch": {"a": 1}})))
    other = played.call(envelope("document.merge", document, {"patch": {"a": 1}}))
    played.get("document", document)
    played.history.remove(other)


def effect_before_its_cause(played: Played) -> None:
    """What an unanswered command does is seen before it is sent."""
    document = new_id()
    played.put(document, None)
    lost = played.put(document, 0)
    played.get("document", document)
    lose(lost)
    lost.invoked_s = played.history[-1].answered_s + 1


def refusal_without_a_reason(played: Played) -> None:
    """A command expects the current token, and is told of a conflict all the same."""
    document = new_id()
    played.put(document, None)
    played.put(document, 0)
    refused = played.put(document, 0)
    refused.request["data"]["expected_generation"] = 1
    assert refused.answer is not None
    refused.answer["data"]["expected"] = {"generation": 1}


def two_stories(played: Played) -> None:
    """One command is told that it won, and later that it lost."""
    document = new_id()
    played.put(document, None)
    won = played.put(document, 0)
    lost = played.put(document, 0)
    lost.request = won.request


def broken_word(played: Played) -> None:
    """A client says that a command was not taken, and it has an outcome."""
    put = played.put(new_id(), None)
    played.call(envelope("command.get", put.id, {}), query=True)
    lose(put)
    put.not_taken = True


def forgotten_outcome(played: Played) -> None:
    """An outcome was told, and is not found later."""
    put = played.put(new_id(), None)
    fate = played.call(envelope("command.get", put.id, {}), query=True)
    fate.answer = {"error": {"code": "not_found"}}


def outcome_before_the_command(played: Played) -> None:
    """The outcome of a command is found before the command is sent."""
    put = played.put(new_id(), None)
    fate = played.call(envelope("command.get", put.id, {}), query=True)
    put.invoked_s, put.answered_s = fate.answered_s + 0.1, fate.answered_s + 0.2


def torn_read(played: Played) -> None:
    """Of two consumers that one command has changed, one is read as it was after that, and then the other as before."""
    provider, one, other = new_id(), new_id(), new_id()
    played.call(envelope("provider.create", provider, {"name": "a"}))
    inventory = {"expected_generation": 0, "resource_class": "VCPU", "inventory": {"total": 8}}
    played.call(envelope("provider.put_inventory", provider, inventory))
    many = {one: some(provider), other: some(provider)}
    played.call(envelope("consumer.set_many", None, {"consumers": many}))
    before = played.get("consumer", other)
    again = {one: some(provider, expected=1), other: some(provider, expected=1)}
    played.call(envelope("consumer.set_many", None, {"consumers": again}))
    played.get("consumer", one)
    # Each of them alone could be right: the command was on its way.
    played.history[-2].answered_s = played.history[-1].answered_s + 5
    before.invoked_s = played.history[-1].answered_s + 1
    before.answered_s = before.invoked_s + 1


def torn_read_of_nothing(played: Played) -> None:
    """Of two consumers that one command has made, one is found, and then the other one is not."""
    provider, one, other = new_id(), new_id(), new_id()
    played.call(envelope("provider.create", provider, {"name": "a"}))
    inventory = {"expected_generation": 0, "resource_class": "VCPU", "inventory": {"total": 8}}
    played.call(envelope("provider.put_inventory", provider, inventory))
    before = played.get("consumer", other)
    many = {one: some(provider), other: some(provider)}
    made = played.call(envelope("consumer.set_many", None, {"consumers": many}))
    played.get("consumer", one)
    played.get("consumer", other).answer = before.answer
    made.answered_s = played.history[-1].answered_s + 1


def wrong_sum(played: Played) -> None:
    """More is said to be used of a provider than its consumers have."""
    provider = new_id()
    played.call(envelope("provider.create", provider, {"name": "a"}))
    inventory = {"expected_generation": 0, "resource_class": "VCPU", "inventory": {"total": 8}}
    played.call(envelope("provider.put_inventory", provider, inventory))
    played.call(envelope("consumer.set_allocations", new_id(), some(provider)))
    usages = played.call(envelope("provider.usages", provider, {}), query=True).answer
    assert usages is not None
    usages["records"][0]["used"] = 2


def traversal_that_was_overwritten(played: Played) -> None:
    """Two updates of a stack that expect the same traversal both succeed."""
    stack = new_id()
    created = played.call(envelope("stack.create", stack, {"name": "a", "template": {}}))
    played.call(envelope("stack.update", stack, {"expected_traversal": created.id, "template": {"a": 1}}))
    second = played.call(envelope("stack.rollback", stack, {"expected_traversal": played.history[-1].id}))
    second.request["data"]["expected_traversal"] = created.id


def reused_generation(played: Played) -> None:
    """A document that is created again begins with the first generation again."""
    document = new_id()
    played.put(document, None)
    played.call(envelope("document.delete", document, {"expected_generation": 0}))
    again = played.put(document, None).answer
    assert again is not None
    again["data"]["token"] = again["data"]["record"] = {"generation": 0}


def lose(operation: Operation) -> None:
    operation.answer, operation.answered_s = None, inf


def success_like(winner: Operation, loser: Operation) -> Json:
    """The answer that a loser would have got in the winner's place."""
    answer = deepcopy(winner.answer)
    assert answer is not None
    answer["causationid"] = loser.id
    answer["data"]["record"]["body"] = loser.request["data"]["body"]
    return answer


PLANTED: list[tuple[Planting, str]] = [
    (stale_read, "version 1 was seen after version 2"),
    (stale_read_of_nothing, "was not found, though it was there"),
    (non_monotonic_reads, "version 1 was seen after version 2"),
    (read_from_the_future, "version 2 was made after version 2 had been seen"),
    (lost_update, "got version 2 twice"),
    (lost_update_that_left_no_trace, "two values of 'token', 1 and 0"),
    (doubled_success, "two stories"),
    (success_that_never_took_effect, "version 1 was seen after version 2"),
    (success_with_another_effect, "is not what the commands come to"),
    (unanswered_command_that_took_effect_twice, "changed twice"),
    (unanswered_command_that_took_effect_twice_unseen, "had version 3, which no command can have made"),
    (effect_before_its_cause, "had version 2, which no command can have made"),
    (refusal_without_a_reason, "was as expected"),
    (two_stories, "two stories"),
    (broken_word, "said to have no effect"),
    (forgotten_outcome, "version 0 was seen after version 1"),
    (outcome_before_the_command, "decided before it was sent"),
    (torn_read, "no order is right for all records"),
    (torn_read_of_nothing, "no order is right for all records"),
    (wrong_sum, "is not what the commands come to"),
    (traversal_that_was_overwritten, "two values of 'token'"),
    (reused_generation, "two values of 'token', 2 and 0"),
]


@pytest.mark.parametrize(("plant", "finding"), PLANTED, ids=[plant.__name__ for plant, _ in PLANTED])
def test_planted_anomaly_is_found(played: Played, plant: Planting, finding: str) -> None:
    plant(played)
    everything(played)
    found = check(played.history).violations
    assert any(finding in one for one in found), found
