"""Each command and each code that the contract lets it be rejected with: the rejection tells its faults as data.

That an entry points into the command is checked for every rejection in the tests (tests/support/told_faults.py).
"""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest

from genlock.schemas.base import ANY_COMMAND, DOCUMENT_BYTES_MAX
from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.codes import Code
from genlock.schemas.decode import Command, decode
from genlock.schemas.outcomes import RejectedData
from genlock.schemas.providers import Inventory
from genlock.service.deciding.fold import fold
from genlock.service.deciding.state import State
from tests.support.consumer_factories import consumer_at, placed, reshape, set_allocations, set_many, wanted, with_room
from tests.support.factories import (
    NOW,
    RETENTION,
    Json,
    command,
    declare,
    deleted_stack,
    envelope,
    json_bytes,
    merge,
    new_id,
    received,
    stack_command,
    stack_in,
    state_of,
    turned_down,
)
from tests.support.provider_factories import (
    below,
    create_provider,
    delete_provider,
    forest,
    move_provider,
    provider_at,
    provider_command,
)
from tests.unit.test_routing_table import OUTDATED

Sent = tuple[State, Command]
Case = tuple[str, Code]

LARGE = {"text": "x" * DOCUMENT_BYTES_MAX}
GONE = new_id().upper()
"""An id that no record has, as a publisher may write it."""

SCARCE = provider_at(3, inventories={"VCPU": Inventory(total=4, min_unit=2, max_unit=3, step_size=2)})
CONSUMER = consumer_at(1, {})


def allocating(kind: str, amounts: Mapping[str, int], provider_id: str = SCARCE.id) -> Sent:
    """A command of one of the three types that asks for these amounts of a provider."""
    state, consumer_id = placed([SCARCE]), new_id()
    given = {provider_id.upper(): dict(amounts)}
    if kind == "consumer.set_allocations":
        return state, set_allocations(consumer_id, None, given)
    consumers = {consumer_id.upper(): wanted(None, given)}
    return state, set_many(consumers) if kind == "consumer.set_many" else reshape({}, consumers)


def of_consumers(kind: str) -> dict[Case, Sent]:
    return {
        (kind, Code.NOT_FOUND): allocating(kind, {"VCPU": 2}, GONE),
        (kind, Code.UNKNOWN_RESOURCE_CLASS): allocating(kind, {"VCPUU": 2}),
        (kind, Code.NO_INVENTORY): allocating(kind, {"VGPU": 2}),
        (kind, Code.UNIT_CONSTRAINT_VIOLATED): allocating(kind, {"VCPU": 5}),
        (kind, Code.CAPACITY_EXCEEDED): capacity(kind),
    }


def capacity(kind: str) -> Sent:
    provider = with_room(3, VCPU=1)
    state, consumer_id = placed([provider]), new_id()
    given = {provider.id: {"VCPU": 2}}
    if kind == "consumer.set_allocations":
        return state, set_allocations(consumer_id, None, given)
    consumers = {consumer_id: wanted(None, given)}
    return state, set_many(consumers) if kind == "consumer.set_many" else reshape({}, consumers)


def used() -> State:
    return placed([USED], consumer_at(1, {USED.id: {"VCPU": 1, "DISK_GB": 1}}))


USED = with_room(3, VCPU=8, DISK_GB=8)
PARENT, OTHER = provider_at(3), provider_at(3)
CHILD = below(PARENT)
DELETED, RUNNING, ROLLING, COMPLETE = (
    deleted_stack(),
    stack_in("DELETE", "IN_PROGRESS"),
    stack_in("ROLLBACK", "IN_PROGRESS"),
    stack_in("UPDATE", "COMPLETE"),
)


def moved(parent_id: str) -> Sent:
    return forest(PARENT, CHILD, OTHER), move_provider(PARENT.id, 3, parent_id)


def on_stack(verb: str, stack: Any, **data: Any) -> Sent:
    token = {} if verb == "create" else {"expected_traversal": stack.traversal}
    return state_of(stack), stack_command(verb, stack.id, **token, **data)


REJECTED: dict[Case, Sent] = {
    ("provider.create", Code.PARENT_NOT_FOUND): (forest(), create_provider(new_id(), parent_id=GONE)),
    ("provider.create", Code.PARENT_LOOP): (forest(), create_provider(OTHER.id.upper(), "a", parent_id=OTHER.id)),
    ("provider.create", Code.DUPLICATE_NAME): (forest(OTHER), create_provider(new_id(), OTHER.provider_name)),
    ("provider.update", Code.PARENT_NOT_FOUND): moved(GONE),
    ("provider.update", Code.PARENT_LOOP): moved(CHILD.id.upper()),
    ("provider.update", Code.DUPLICATE_NAME): (
        forest(PARENT, OTHER),
        provider_command("update", PARENT.id, expected_generation=3, name=OTHER.provider_name),
    ),
    ("provider.delete", Code.PROVIDER_HAS_CHILDREN): (forest(PARENT, CHILD), delete_provider(PARENT.id, 3)),
    ("provider.delete", Code.PROVIDER_IN_USE): (used(), delete_provider(USED.id, 3)),
    ("provider.set_inventories", Code.UNKNOWN_RESOURCE_CLASS): (
        forest(OTHER),
        provider_command("set_inventories", OTHER.id, expected_generation=3, inventories={"MEMORY": {"total": 1}}),
    ),
    ("provider.set_inventories", Code.INVENTORY_IN_USE): (
        used(),
        provider_command("set_inventories", USED.id, expected_generation=3),
    ),
    ("provider.put_inventory", Code.UNKNOWN_RESOURCE_CLASS): (
        forest(OTHER),
        provider_command("put_inventory", OTHER.id, expected_generation=3, resource_class="VCPUS"),
    ),
    ("provider.delete_inventory", Code.NO_INVENTORY): (
        forest(OTHER),
        provider_command("delete_inventory", OTHER.id, expected_generation=3, resource_class="CUSTOM_GOLDD"),
    ),
    ("provider.delete_inventory", Code.INVENTORY_IN_USE): (
        used(),
        provider_command("delete_inventory", USED.id, expected_generation=3),
    ),
    ("provider.set_traits", Code.UNKNOWN_TRAIT): (
        forest(OTHER),
        provider_command("set_traits", OTHER.id, expected_generation=3, traits=["CUSTOM_A", "HW_CPU_X86_AVX_2"]),
    ),
    **of_consumers("consumer.set_allocations"),
    **of_consumers("consumer.set_many"),
    **of_consumers("consumer.reshape"),
    ("consumer.reshape", Code.INVENTORY_IN_USE): (
        used(),
        reshape({USED.id.upper(): {"expected_generation": 3, "inventories": {"VCPU": {"total": 8}}}}, {}),
    ),
    ("stack.create", Code.DELETED): on_stack("create", DELETED),
    ("stack.create", Code.DUPLICATE_NAME): (
        state_of(COMPLETE),
        stack_command("create", new_id(), name=COMPLETE.stack_name),
    ),
    ("stack.update", Code.DELETED): on_stack("update", DELETED),
    ("stack.update", Code.WRONG_ACTION): on_stack("update", RUNNING),
    ("stack.delete", Code.DELETED): on_stack("delete", DELETED),
    ("stack.rollback", Code.DELETED): on_stack("rollback", DELETED),
    ("stack.rollback", Code.WRONG_ACTION): on_stack("rollback", ROLLING),
    ("stack.rollback", Code.WRONG_STATUS): on_stack("rollback", COMPLETE),
    ("stack.cancel", Code.DELETED): on_stack("cancel", DELETED),
    ("stack.cancel", Code.WRONG_STATUS): on_stack("cancel", COMPLETE),
    ("stack.set_state", Code.DELETED): on_stack("set_state", DELETED),
    ("stack.set_state", Code.WRONG_STATUS): on_stack("set_state", COMPLETE),
    ("document.merge", Code.NOT_FOUND): (state_of(), merge("absent", {})),
}
"""By the type of the command and the code: a state and a command that is rejected so."""


def test_each_code_of_each_command_has_an_example() -> None:
    assert REJECTED.keys() == {(name, code) for name, known in COMMANDS.items() for code in known.model.rejections}


@pytest.mark.parametrize("case", REJECTED, ids=lambda case: f"{case[0]}-{case[1]}")
def test_rejection_tells_its_faults(case: Case) -> None:
    verdict = turned_down(*REJECTED[case])
    assert verdict.code is case[1]
    first = verdict.errors[0]
    assert first.code is case[1]
    assert first.pointer
    assert "value" in first.model_fields_set
    # The sentence is made of the faults.
    assert first.message.rstrip(".") in verdict.message or (first.id or first.value) in verdict.message


ABOUT_A_RECORD = {
    Code.NOT_FOUND,
    Code.DUPLICATE_NAME,
    Code.DELETED,
    Code.INVENTORY_IN_USE,
    Code.PROVIDER_IN_USE,
    Code.PROVIDER_HAS_CHILDREN,
    Code.PARENT_NOT_FOUND,
    Code.PARENT_LOOP,
    Code.NO_INVENTORY,
    Code.CAPACITY_EXCEEDED,
    Code.UNIT_CONSTRAINT_VIOLATED,
    Code.WRONG_ACTION,
    Code.WRONG_STATUS,
}


@pytest.mark.parametrize("case", [case for case in REJECTED if case[1] in ABOUT_A_RECORD], ids="-".join)
def test_fault_about_a_record_says_which(case: Case) -> None:
    for entry in turned_down(*REJECTED[case]).errors:
        assert entry.kind in ("provider", "consumer", "stack", "document")
        assert entry.id
        assert entry.id in entry.message or entry.code in (
            Code.DELETED,
            Code.PARENT_LOOP,
            Code.WRONG_ACTION,
            Code.WRONG_STATUS,
        )


@pytest.mark.parametrize(
    ("case", "suggested"),
    [
        (("consumer.set_allocations", Code.UNKNOWN_RESOURCE_CLASS), "VCPU"),
        (("consumer.reshape", Code.UNKNOWN_RESOURCE_CLASS), "VCPU"),
        (("provider.set_inventories", Code.UNKNOWN_RESOURCE_CLASS), "MEMORY_MB"),
        (("provider.put_inventory", Code.UNKNOWN_RESOURCE_CLASS), "VCPU"),
        (("provider.set_traits", Code.UNKNOWN_TRAIT), "HW_CPU_X86_AVX2"),
        (("provider.delete_inventory", Code.NO_INVENTORY), "CUSTOM_GOLD"),
    ],
)
def test_nearest_names_are_suggested(case: Case, suggested: str) -> None:
    assert suggested in turned_down(*REJECTED[case]).errors[0].suggestions


def test_unit_violation_says_which_units_and_what_they_demand() -> None:
    (entry,) = turned_down(*REJECTED["consumer.set_many", Code.UNIT_CONSTRAINT_VIOLATED]).errors[:1]
    assert (entry.value, entry.constraints) == (5, {"max_unit": 3, "step_size": 2})
    assert (entry.kind, entry.id, entry.actual) == ("provider", SCARCE.id, {"resource_class": "VCPU"})


def test_consumer_that_is_not_found_is_told_as_a_consumer() -> None:
    absent = new_id()
    verdict = turned_down(placed([]), set_many({absent.upper(): wanted(None, {})}))
    (entry,) = verdict.errors
    assert (entry.code, entry.kind, entry.id) == (Code.NOT_FOUND, "consumer", absent)
    assert (entry.pointer, entry.value) == (f"/data/consumers/{absent.upper()}", absent.upper())


def test_each_child_is_told() -> None:
    children = [below(PARENT) for _ in range(3)]
    verdict = turned_down(forest(PARENT, *children), delete_provider(PARENT.id, 3))
    assert [entry.id for entry in verdict.errors] == sorted(child.id for child in children)


def test_each_unknown_name_is_told_in_each_place() -> None:
    one, other = with_room(VCPU=1), with_room(VCPU=1)
    names = [f"VCPU{number}" for number in range(12)]
    verdict = turned_down(
        placed([one, other]),
        set_allocations(new_id(), None, {provider.id: dict.fromkeys(names, 1) for provider in (one, other)}),
    )
    assert [entry.value for entry in verdict.errors] == names * 2
    assert all("VCPU" in entry.suggestions for entry in verdict.errors)
    assert "and 2 more" in verdict.message
    assert verdict.errors_total is None


def test_ten_thousand_faults_are_counted_and_bounded() -> None:
    provider = with_room(VCPU=1)
    amounts = {f"X{number:0250}": 1 for number in range(3_000)}
    verdict = turned_down(placed([provider]), set_allocations(new_id(), None, {provider.id: amounts}))
    assert verdict.errors_total == 3_000
    assert 0 < len(verdict.errors) <= 100
    assert len(verdict.model_copy(update={"command": None}).model_dump_json(exclude_unset=True)) < 160_000


def answered_always(kind: str) -> Mapping[Code, Callable[[], RejectedData]]:
    """How a command of any type is rejected, apart from `id_reused`, which the ledger tells."""
    valid = OUTDATED[kind]
    members = envelope(kind, valid.echo.subject, valid.echo.data)

    def refused(sent: Json) -> RejectedData:
        return turned_down(state_of(), received(sent))

    def misrouted() -> RejectedData:
        sent = decode(json_bytes(members), "document.other")
        assert isinstance(sent, Command)
        verdict = turned_down(state_of(), sent)
        assert (verdict.errors[0].pointer, verdict.errors[0].value) == ("/type", kind)
        return verdict

    def expired() -> RejectedData:
        old = (NOW - RETENTION - timedelta(days=9)).isoformat().replace("+00:00", "Z")
        verdict = turned_down(state_of(), command(kind, valid.echo.subject, valid.echo.data, time=old))
        assert verdict.errors[0].value == old
        return verdict

    def failed() -> RejectedData:
        state = state_of()
        declare(state, [valid])
        (verdict,) = fold(state, [valid], NOW, RETENTION, {}).verdicts
        assert isinstance(verdict, RejectedData)
        return verdict

    return {
        Code.INVALID_DATA: lambda: refused(members | {"data": {"unknown": 1}}),
        Code.EXPIRED: expired,
        Code.INTERNAL_ERROR: failed,
        Code.TOO_LARGE: lambda: refused(members | {"more": "x" * 2**20}),
        Code.ROUTING_KEY_MISMATCH: misrouted,
    }


ALWAYS = [code for code in ANY_COMMAND if code is not Code.ID_REUSED]


@pytest.mark.parametrize("kind", COMMANDS)
@pytest.mark.parametrize("code", ALWAYS)
def test_rejection_of_any_command_tells_its_faults(kind: str, code: Code) -> None:
    verdict = answered_always(kind)[code]()
    assert verdict.code is code
    assert verdict.errors
    assert {entry.code for entry in verdict.errors} == {code}
