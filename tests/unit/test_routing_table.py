"""The routing table: each command has a guard and a footprint, and a slip in either ends that one command alone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import pytest

from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import ConflictData, RejectedData, SucceededData
from genlock.service.deciding.fold import Folded, fold
from genlock.service.deciding.footprint import Footprint, UndeclaredError
from genlock.service.deciding.rule import Guard, Rule
from genlock.service.deciding.state import FalseChangeError, State
from genlock.service.deciding.verdicts import Decision
from genlock.service.kinds.providers.tree_rows import TreeRows
from genlock.service.kinds.providers.trees import TreeFootprint
from genlock.service.kinds.registry import KINDS
from genlock.service.kinds.stacks.record import Stack
from genlock.service.kinds.stacks.traversals import AskedTraversals, Traversals
from tests.support.consumer_factories import consumer_at, placed, reshape, set_allocations, set_many, wanted, with_room
from tests.support.factories import (
    NOW,
    RETENTION,
    command,
    decided,
    declare,
    delete_document,
    document_at,
    merge,
    new_id,
    put,
    stack_command,
    stack_in,
    state_of,
)
from tests.support.provider_factories import deleted_provider, forest, provider_at

STALE, ACTUAL = 3, 4

DOCUMENT = document_at(ACTUAL)
PROVIDER = provider_at(ACTUAL)
CONSUMER = consumer_at(ACTUAL, {PROVIDER.id: {"VCPU": 1}})
STACK = stack_in("UPDATE", "IN_PROGRESS")


def state() -> State:
    """One record of each kind."""
    placed_state = placed([PROVIDER], CONSUMER)
    placed_state.take([DOCUMENT, STACK])
    return placed_state


def provider(verb: str, **data: Any) -> Command:
    return command(f"provider.{verb}", PROVIDER.id, {"expected_generation": STALE} | data)


INVENTORY = {"total": 1}
MANY = {CONSUMER.id: wanted(STALE, {PROVIDER.id: {"VCPU": 1}})}
OUTDATED: Mapping[str, Command] = {
    sent.type: sent
    for sent in (
        put(DOCUMENT.id, STALE),
        merge(DOCUMENT.id, {}, expected_generation=STALE),
        delete_document(DOCUMENT.id, STALE),
        command("provider.create", PROVIDER.id, {"name": "new"}),
        provider("update", name="new"),
        provider("delete"),
        provider("set_inventories", inventories={}),
        provider("put_inventory", resource_class="VCPU", inventory=INVENTORY),
        provider("delete_inventory", resource_class="VCPU"),
        provider("set_traits", traits=[]),
        provider("set_aggregates", aggregates=[]),
        set_allocations(CONSUMER.id, STALE, {PROVIDER.id: {"VCPU": 1}}),
        set_many(MANY),
        reshape({PROVIDER.id: {"expected_generation": ACTUAL, "inventories": {"VCPU": INVENTORY}}}, MANY),
        stack_command("create", STACK.id, name="new"),
        *(
            stack_command(verb, STACK.id, expected_traversal=STACK.previous_traversal)
            for verb in ("update", "delete", "rollback", "cancel", "set_state")
        ),
    )
}
"""A command of each type whose author saw an earlier token, or no record where there is one."""


def test_each_type_of_command_has_an_outdated_example() -> None:
    assert OUTDATED.keys() == COMMANDS.keys() == KINDS.rules.keys()


@pytest.mark.parametrize("name", COMMANDS)
def test_command_with_another_token_than_the_actual_one_is_a_conflict(name: str) -> None:
    assert isinstance(decided(state(), OUTDATED[name]), ConflictData)


@pytest.mark.parametrize("name", COMMANDS)
def test_it_is_the_guard_that_finds_the_conflict(name: str) -> None:
    unguarded = {name: replace(KINDS.rules[name], guard=Guard(lambda *_: None))}
    before = state()
    declare(before, [OUTDATED[name]])
    (verdict,) = fold(before, [OUTDATED[name]], NOW, RETENTION, unguarded).verdicts
    assert not isinstance(verdict, ConflictData)


def test_tokens_that_may_be_left_out_are_a_closed_list_and_the_models_say_the_same() -> None:
    omittable = {name: rule.guard.omittable for name, rule in KINDS.rules.items() if rule.guard.omittable}
    of_providers = ("allocations.*.expected_generation",)
    assert omittable == {
        "document.merge": ("expected_generation",),
        "consumer.set_allocations": of_providers,
        "consumer.set_many": of_providers,
        "consumer.reshape": of_providers,
    }
    optional = {
        name
        for name, kind_of_command in COMMANDS.items()
        for field, info in kind_of_command.model.model_fields.items()
        if field.startswith("expected_") and not info.is_required()
    }
    assert optional == {name for name, paths in omittable.items() if "expected_generation" in paths}


@pytest.mark.parametrize("part", ["guard", "footprint", "apply"])
def test_rule_cannot_be_made_without_a_part(part: str) -> None:
    whole = KINDS.rules["document.put"]
    parts = {field.name: getattr(whole, field.name) for field in fields(whole) if field.name != part}
    with pytest.raises(TypeError, match=part):
        Rule(**parts)


# Slips: what a rule does outside of its footprint ends its own command, and no other.


@dataclass(frozen=True)
class Slip:
    """A rule whose footprint has lost something, and a command that needs it."""

    sent: Command
    before: Callable[[], State]
    forget: Callable[[Footprint], object]


OTHER = with_room(ACTUAL, VCPU=8)


def free_provider() -> State:
    return forest(PROVIDER, OTHER)


TOMBSTONE = deleted_provider(ACTUAL)
SLIPS = {
    "the record": Slip(put(DOCUMENT.id, ACTUAL), lambda: state_of(DOCUMENT), lambda f: f.changes.clear()),
    "a record that is not there": Slip(put(new_id(), None), state_of, lambda f: f.changes.clear()),
    "that the record changes": Slip(
        put(DOCUMENT.id, ACTUAL),
        lambda: state_of(DOCUMENT),
        lambda f: f.read("document", *f.changes.pop("document")),
    ),
    "a name": Slip(stack_command("create", new_id(), name="blue"), state_of, lambda f: f.names.clear()),
    "the name of a tombstone": Slip(
        command("provider.create", TOMBSTONE.id, {"name": "n"}), lambda: forest(TOMBSTONE), lambda f: f.names.clear()
    ),
    "a former traversal": Slip(
        stack_command("update", STACK.id, expected_traversal=new_id()),
        lambda: state_of(STACK),
        lambda f: f.part(AskedTraversals).pairs.clear(),
    ),
    "the parent": Slip(
        command("provider.create", new_id(), {"name": "n", "parent_id": new_id()}), forest, lambda f: f.reads.clear()
    ),
    "the move": Slip(
        command("provider.update", OTHER.id, {"expected_generation": ACTUAL, "parent_id": PROVIDER.id}),
        free_provider,
        lambda f: f.part(TreeFootprint).moves.clear(),
    ),
    "the deletion": Slip(
        command("provider.delete", OTHER.id, {"expected_generation": ACTUAL}),
        free_provider,
        lambda f: f.part(TreeFootprint).deletions.clear(),
    ),
    "a provider that is asked of": Slip(
        set_allocations(new_id(), None, {OTHER.id: {"VCPU": 1}}), free_provider, lambda f: f.changes.pop("provider")
    ),
}


def fold_with(slip: Slip, *commands: Command) -> Folded:
    before = slip.before()
    declare(before, commands)
    slip.forget(before.footprint)
    # Records outside of the footprint are not read from the database either.
    before.records = {key: record for key, record in before.records.items() if before.footprint.has(key)}
    return fold(before, commands, NOW, RETENTION, KINDS.rules)


@pytest.mark.parametrize("name", SLIPS)
def test_command_whose_footprint_lacks_something_ends_as_internal_error(name: str) -> None:
    result = fold_with(SLIPS[name], SLIPS[name].sent)
    (verdict,) = result.verdicts
    assert isinstance(verdict, RejectedData)
    assert verdict.code is Code.INTERNAL_ERROR
    assert UndeclaredError.__name__ in result.faults[0][1]
    assert result.changes == []


@pytest.mark.parametrize("name", SLIPS)
def test_the_same_command_with_its_whole_footprint_is_no_fault(name: str) -> None:
    whole = replace(SLIPS[name], forget=lambda _: None)
    assert fold_with(whole, whole.sent).faults == []


def test_neighbours_of_a_slip_are_decided() -> None:
    slip = SLIPS["a name"]
    first, last = put(new_id(), None), put(new_id(), None)
    result = fold_with(slip, first, slip.sent, last)
    assert [type(verdict) for verdict in result.verdicts] == [SucceededData, RejectedData, SucceededData]
    assert [change.command for change in result.changes] == [first, last]


def test_footprint_that_raises_ends_its_own_command_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_footprint: Footprint, command: Command, _data: Any) -> None:
        raise ZeroDivisionError(command.id)

    monkeypatch.setitem(KINDS.rules, "document.merge", replace(KINDS.rules["document.merge"], footprint=broken))
    first, slip, last = put(new_id(), None), merge(DOCUMENT.id, {}), put(new_id(), None)
    before = KINDS.state(KINDS.footprint_of([first, slip, last]))
    result = fold(before, [first, slip, last], NOW, RETENTION, KINDS.rules)
    assert [type(verdict) for verdict in result.verdicts] == [SucceededData, RejectedData, SucceededData]
    assert [command for command, _ in result.faults] == [slip]


def test_extension_that_raises_ends_the_commands_that_need_it_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_self: TreeRows, _footprint: Footprint, commands: Sequence[Command]) -> None:
        raise ZeroDivisionError(commands)

    monkeypatch.setattr(TreeRows, "gather", broken)
    parent, child = new_id(), new_id()
    create = command("provider.create", child, {"name": "n", "parent_id": parent})
    commands = [create, put(new_id(), None)]
    result = fold(KINDS.state(KINDS.footprint_of(commands)), commands, NOW, RETENTION, KINDS.rules)
    assert isinstance(result.verdicts[1], SucceededData)


@pytest.mark.parametrize("false", [{"sequence": 1}, {"stack_name": "taken"}], ids=["sequence", "name"])
def test_change_that_the_database_would_never_take_ends_as_internal_error(false: Mapping[str, Any]) -> None:
    """Each try would end in DecideAgainError, and the inbox would wait for ever."""
    rule = KINDS.rules["stack.update"]

    def falsified(*asked: Any) -> Decision:
        decision = rule.apply(*asked)
        (after,) = decision.changed
        assert isinstance(after, Stack)
        return replace(decision, changed=(replace(after, **false),))

    slip, last = stack_command("update", STACK.id, expected_traversal=STACK.traversal), put(new_id(), None)
    before = state_of(STACK, stack_in("CREATE", "COMPLETE", stack_name="taken"))
    declare(before, [slip, last])
    before.footprint.names.add(("stack", "taken"))
    result = fold(before, [slip, last], NOW, RETENTION, {**KINDS.rules, "stack.update": replace(rule, apply=falsified)})
    assert [type(verdict) for verdict in result.verdicts] == [RejectedData, SucceededData]
    assert FalseChangeError.__name__ in result.faults[0][1]


def test_part_of_a_state_that_raises_leaves_no_half_of_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fold raises, and the batch is decided in halves."""
    slip = stack_command("create", new_id(), name="blue")
    before = state_of()
    declare(before, [slip])

    def broken(_self: Traversals, _before: Stack | None, after: Stack) -> None:
        raise ZeroDivisionError(after)

    monkeypatch.setattr(Traversals, "take", broken)
    with pytest.raises(ZeroDivisionError):
        fold(before, [slip], NOW, RETENTION, KINDS.rules)


def test_footprint_separates_changed_records_from_read_ones() -> None:
    parent, child = new_id(), new_id()
    footprint = KINDS.footprint_of([command("provider.create", child, {"name": "n", "parent_id": parent})])
    assert (footprint.changes, footprint.reads) == ({"provider": {child}}, {"provider": {parent}})
    assert footprint.ids("provider") == {parent, child}
