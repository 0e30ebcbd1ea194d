"""The checker says of short histories what a search through all orders says, whatever is wrong with them."""

import random
from collections import Counter
from collections.abc import Callable
from copy import deepcopy
from math import inf

import pytest

from tests.faults.histories.checker import check
from tests.faults.histories.history import Json, Operation
from tests.faults.histories.search import can_be_ordered
from tests.faults.histories.specification import Specification
from tests.support.factories import envelope, new_id

HISTORIES = 300
OPERATIONS = 7
SPAN_S = 10.0
SPOILED = (0, 1, 1, 1, 2)
"""How often something is done to a history."""
UNANSWERED_SHARE = 0.15
AGAIN_SHARE = 0.2
SET_UP_S = -5.0
"""By then what a history rests on is made."""

Draw = Callable[[random.Random, list[str]], tuple[Json, bool]]


def of_documents(chance: random.Random, ids: list[str]) -> tuple[Json, bool]:
    """A call about one document or another."""
    subject = chance.choice(ids[:2])
    expected = chance.choice((None, None, 0, 0, 1, 1, 2))
    verb = chance.choice(("put", "put", "put", "merge", "delete", "get", "get", "get", "history"))
    match verb:
        case "put":
            return envelope("document.put", subject, {"expected_generation": expected, "body": {new_id(): 1}}), False
        case "merge":
            return envelope("document.merge", subject, {"patch": {new_id(): 1}}), False
        case "delete":
            return envelope("document.delete", subject, {"expected_generation": expected or 0}), False
        case "history":
            return envelope("record.history", subject, {"kind": "document"}), True
        case _:
            return envelope("document.get", subject, {}), True


def of_stacks(chance: random.Random, ids: list[str]) -> tuple[Json, bool]:
    """A call about a stack; a traversal is the id of the command that started it, so its author knows it before."""
    subject, traversals = ids[0], ids[1:]
    if chance.random() < 0.4:
        return envelope("stack.get", subject, {}), True
    verb = chance.choice(("create", "create", "update", "update", "delete", "set_state", "set_state"))
    data: Json = {} if verb == "create" else {"expected_traversal": chance.choice(traversals[-2:] or [new_id()])}
    data |= {"name": subject} if verb == "create" else {}
    data |= {"template": {new_id(): 1}} if verb in ("create", "update") else {}
    data |= {"status": chance.choice(("COMPLETE", "FAILED")), "reason": ""} if verb == "set_state" else {}
    command = envelope(f"stack.{verb}", subject, data)
    if verb != "set_state":
        ids.append(command["id"])
    return command, False


def of_allocations(chance: random.Random, ids: list[str]) -> tuple[Json, bool]:
    """A call about two consumers and a provider that two commands have made before."""
    provider, *consumers = ids[:3]
    what = chance.choice(("one", "one", "many", "many", "provider", "consumer", "allocations", "usages"))
    if what in ("one", "many"):
        some = {consumer: _wanted(chance, provider) for consumer in (consumers if what == "many" else consumers[:1])}
        if what == "many":
            return envelope("consumer.set_many", None, {"consumers": some}), False
        return envelope("consumer.set_allocations", consumers[0], some[consumers[0]]), False
    if what == "consumer":
        return envelope("consumer.get", chance.choice(consumers), {}), True
    return envelope("provider.get" if what == "provider" else f"provider.{what}", provider, {}), True


def _wanted(chance: random.Random, provider: str) -> Json:
    allocations: Json = {provider: {"resources": {"VCPU": chance.choice((1, 2))}}} if chance.random() < 0.8 else {}
    if allocations and chance.random() < 0.3:
        allocations[provider]["expected_generation"] = chance.choice((1, 2))
    expected = chance.choice((None, None, 1, 2))
    return {"expected_generation": expected, "project_id": "p", "user_id": "u", "allocations": allocations}


def before_of_allocations(ids: list[str]) -> list[Json]:
    """The commands that make the provider."""
    inventory = {"expected_generation": 0, "resource_class": "VCPU", "inventory": {"total": 1000}}
    create = envelope("provider.create", ids[0], {"name": ids[0]})
    return [create, envelope("provider.put_inventory", ids[0], inventory)]


def made(chance: random.Random, draw: Draw, before: Callable[[list[str]], list[Json]]) -> list[Operation]:
    """A history that is linearizable: each call takes effect between its two times, or has no answer."""
    ids = [new_id() for _ in range(3)] if draw is not of_stacks else [new_id()]
    specification = Specification()
    history = []
    for number, command in enumerate(before(ids)):
        answer = specification.answer(command, query=False)
        history.append(Operation("setting up", command, False, number - 9.0, number - 8.5, answer))
    for moment in sorted(chance.uniform(0, SPAN_S) for _ in range(OPERATIONS)):
        sent = [one.request for one in history if not one.query and one.invoked_s > SET_UP_S]
        again = sent and chance.random() < AGAIN_SHARE
        request, query = _again(chance, chance.choice(sent)) if again else draw(chance, ids)
        invoked_s, answered_s = max(moment - chance.expovariate(0.7), SET_UP_S + 0.1), moment + chance.expovariate(0.7)
        operation = Operation("a client", request, query, invoked_s)
        history.append(operation)
        if _rejects_several(specification, request):
            history.pop()
            continue
        lost = not query and _may_be_lost(request) and chance.random() < UNANSWERED_SHARE
        if not lost or chance.random() < 0.5:
            answer = specification.answer(request, query=query)
            operation.answer, operation.answered_s = (None, inf) if lost else (answer, answered_s)
    return history


def _again(chance: random.Random, command: Json) -> tuple[Json, bool]:
    """The same command once more, or a query of its outcome."""
    return (command, False) if chance.random() < 0.5 else (envelope("command.get", command["id"], {}), True)


def _rejects_several(specification: Specification, request: Json) -> bool:
    """Whether it is a command on allocations that is rejected now: the checker does not ask why."""
    if not request["type"].startswith("consumer.") or request["type"] == "consumer.get":
        return False
    return bool(deepcopy(specification).answer(request, query=False)["type"].endswith(".rejected"))


def _may_be_lost(command: Json) -> bool:
    """Whether its answer may be lost here: that of one on several records may not, for the checker then says less."""
    return not command["type"].startswith("consumer.")


def spoil(chance: random.Random, history: list[Operation]) -> None:
    """Do something to one operation; the history may still be linearizable after that."""
    answered = [operation for operation in history if operation.answer is not None and operation.invoked_s > SET_UP_S]
    if not answered:
        return
    one, other = chance.choice(answered), chance.choice(answered)
    what = chance.choice(("earlier", "later", "exchange", "version", "effect", "lose"))
    if what in ("earlier", "later"):
        # Not before what it rests on was set up.
        shift_s = (
            chance.uniform(1, 6) if what == "later" else max(chance.uniform(-6, -1), SET_UP_S + 0.1 - one.invoked_s)
        )
        one.invoked_s, one.answered_s = one.invoked_s + shift_s, one.answered_s + shift_s
    elif what == "exchange" and _name(one) == _name(other):
        one.answer, other.answer = other.answer, one.answer
    elif what == "version":
        _miscount(chance, one)
    elif what == "effect" and one.succeeded:
        history.remove(one)
    elif what == "lose" and not one.query and _may_be_lost(one.request):
        one.answer, one.answered_s = None, inf


def _name(operation: Operation) -> tuple[str, str] | str:
    """What two queries have in common whose answers can be exchanged."""
    request = operation.request
    return (request["type"], request["subject"]) if operation.query else operation.id


def _miscount(chance: random.Random, operation: Operation) -> None:
    assert operation.answer is not None
    answer = operation.answer if operation.query else operation.answer["data"]
    # A command on several records tells one for each of these.
    if isinstance(answer.get("sequence"), int) and (operation.query or answer["id"] is not None):
        by = chance.choice((-1, 1))
        answer["sequence"] += by
        for member in ("record", "token"):
            if answer.get(member) and "generation" in answer[member]:
                answer[member]["generation"] += by


@pytest.mark.parametrize("draw", [of_documents, of_stacks, of_allocations])
def test_checker_agrees_with_a_search_through_all_orders(draw: Draw) -> None:
    before = before_of_allocations if draw is of_allocations else lambda _ids: list[Json]()
    seen = Counter[bool]()
    for seed in range(HISTORIES):
        chance = random.Random(seed)
        history = made(chance, draw, before)
        for _ in range(chance.choice(SPOILED)):
            spoil(chance, history)
        report = check(deepcopy(history))
        ordered = can_be_ordered(history)
        told = (seed, report.violations, list(map(str, history)))
        assert ordered or report.violations or report.guessed, told
        assert not (ordered and report.violations), told
        seen[ordered] += 1
    assert min(seen[True], seen[False]) > HISTORIES / 20, seen
