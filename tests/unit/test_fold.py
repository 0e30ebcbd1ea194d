"""The fold: which commands reach the rules, which do not, and how one command's fault affects the others."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command, Refusal
from genlock.schemas.outcomes import GenerationToken, RejectedData, SucceededData, TraversalToken
from genlock.service.deciding.fold import EXPIRY_MARGIN, Folded
from genlock.service.deciding.state import State
from genlock.service.deciding.verdicts import Decision
from genlock.service.kinds.registry import KINDS
from genlock.service.kinds.stacks.traversals import AskedTraversals
from genlock.service.ledger.events import timestamp
from tests.support.factories import (
    NOW,
    accepted,
    conflicting,
    decided,
    delete_document,
    deleted_stack,
    document_at,
    document_in,
    folded_over,
    key,
    merge,
    new_id,
    put,
    refused_command,
    stack_command,
    stack_in,
    stack_of,
    state_of,
    turned_down,
)


def test_rules_and_catalogue_have_the_same_types() -> None:
    assert KINDS.rules.keys() == COMMANDS.keys()


def test_each_command_has_its_verdict_and_each_change_its_command_in_order() -> None:
    commands = [put("a", None), put("b", 3), merge("a", {"x": 1}), put("b", None), delete_document("a", 1)]
    result = folded_over(state_of(), commands)
    assert [type(verdict).__name__[:4] for verdict in result.verdicts] == ["Succ", "Conf", "Succ", "Succ", "Succ"]
    assert [change.command for change in result.changes] == [commands[0], *commands[2:]]
    assert [(change.record.id, change.record.sequence) for change in result.changes] == [
        ("a", 1),
        ("a", 2),
        ("b", 1),
        ("a", 3),
    ]
    assert {change.decided_at for change in result.changes} == {timestamp(NOW)}
    assert result.faults == []


def test_empty_batch_comes_to_nothing() -> None:
    assert folded_over(state_of(), []) == Folded()


def test_two_commands_with_one_token_have_one_winner() -> None:
    document = document_at(3)
    state = state_of(document)
    commands = [put(document.id, 3, {"by": number}) for number in range(5)]
    result = folded_over(state, commands)
    assert [isinstance(verdict, SucceededData) for verdict in result.verdicts] == [True, False, False, False, False]
    assert document_in(state, document.id).body == {"by": 0}


# Refusals.


def test_refused_command_is_rejected_and_touches_nothing() -> None:
    document = document_at(3)
    state = state_of(document)
    sent = refused_command("document.put", document.id, {"unknown": 1})
    verdict = turned_down(state, sent)
    assert isinstance(sent.data, Refusal)
    assert (verdict.code, verdict.message, tuple(verdict.errors)) == (
        Code.INVALID_DATA,
        sent.data.message,
        sent.data.errors,
    )
    assert (verdict.kind, verdict.id, verdict.sequence) == ("document", document.id, document.sequence)
    assert state.records == {key(document): document}


def test_command_of_unknown_type_has_neither_kind_nor_id() -> None:
    verdict = turned_down(state_of(), refused_command("frobnicate", "d", {}))
    assert (verdict.code, verdict.kind, verdict.id, verdict.sequence) == (Code.UNKNOWN_TYPE, None, None, 0)


def test_refusal_comes_before_expiry() -> None:
    old = timestamp(NOW - timedelta(days=900))
    assert turned_down(state_of(), refused_command("document.put", "d", {}, time=old)).code is Code.INVALID_DATA


# Commands that the ledger has forgotten.


def test_command_that_made_the_token_of_a_document_succeeds_again() -> None:
    state, sent = state_of(), put("d", None, {"a": 1}, time=timestamp(NOW - timedelta(days=900)))
    document = replace(document_at(0, {"a": 1}), id="d")
    document = replace(document, maker=replace(document.maker, command_id=sent.id))
    state = state_of(document)
    result = folded_over(state, [sent])
    assert isinstance(result.verdicts[0], SucceededData)
    assert result.verdicts[0].token == GenerationToken(generation=0)
    assert result.verdicts[0].record == {"id": "d", "generation": 0, "body": {"a": 1}}
    assert result.verdicts[0].sequence == document.sequence
    assert result.changes == []
    assert state.records == {key(document): document}


@pytest.mark.parametrize("last", ["put", "delete"])
def test_repeated_command_is_answered_as_it_was(last: str) -> None:
    state = state_of()
    sent = put("d", 0, {"a": 1}) if last == "put" else delete_document("d", 0)
    first = accepted(state, put("d", None), sent)
    assert decided(state, sent) == first


def test_command_that_started_the_traversal_of_a_stack_succeeds_again() -> None:
    stack = stack_in("UPDATE", "COMPLETE")
    update = replace(stack_command("update", stack.id, expected_traversal=new_id()), id=stack.traversal)
    verdict = accepted(state_of(stack), update)
    assert verdict.token == TraversalToken(traversal=stack.traversal, previous_traversal=stack.previous_traversal)
    assert (verdict.record, verdict.sequence) == (stack.summary(), stack.sequence)


def test_command_that_started_the_deletion_of_a_deleted_stack_succeeds_again() -> None:
    stack = deleted_stack()
    delete = replace(stack_command("delete", stack.id, expected_traversal=new_id()), id=stack.traversal)
    verdict = accepted(state_of(stack), delete)
    assert (verdict.record, verdict.token) == (None, stack.token)


def test_command_whose_token_was_replaced_meanwhile_is_told_the_truth() -> None:
    state, sent = state_of(), put("d", 0, {"a": 1})
    accepted(state, put("d", None), sent, put("d", 1, {"a": 2}))
    verdict = conflicting(state, sent)
    assert (verdict.reason, verdict.actual) == (Reason.STALE, GenerationToken(generation=2))
    assert document_in(state, "d").body == {"a": 2}


def test_maker_of_another_record_s_token_is_no_repetition() -> None:
    document = document_at(3)
    sent = replace(put("other", None), id=document.maker.command_id)
    assert accepted(state_of(document), sent).sequence == 1


# Expiry.


@pytest.mark.parametrize(("older_by", "expired"), [(timedelta(0), False), (timedelta(microseconds=1), True)])
def test_unknown_command_expires_a_day_before_the_ledger_forgets(older_by: timedelta, expired: bool) -> None:
    assert timedelta(days=1) == EXPIRY_MARGIN
    sent = put("d", None, time=timestamp(NOW - timedelta(days=13) - older_by))
    state = state_of()
    verdict = decided(state, sent)
    assert isinstance(verdict, RejectedData) == expired
    if isinstance(verdict, RejectedData):
        assert verdict.code is Code.EXPIRED
        assert state.records == {}


def test_time_counts_as_the_moment_that_it_names() -> None:
    limit = NOW - timedelta(days=13)
    late = limit.replace(tzinfo=None).isoformat() + "-00:01"
    early = limit.replace(tzinfo=None).isoformat() + "+00:01"
    assert isinstance(decided(state_of(), put("d", None, time=late)), SucceededData)
    assert turned_down(state_of(), put("d", None, time=early)).code is Code.EXPIRED


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1970-01-01T00:00:00Z"])
def test_time_however_old_is_expired(time: str) -> None:
    assert turned_down(state_of(), put("d", None, time=time)).code is Code.EXPIRED


@pytest.mark.parametrize("time", ["9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59-23:59"])
def test_time_to_come_is_not_expired(time: str) -> None:
    assert isinstance(decided(state_of(), put("d", None, time=time)), SucceededData)


def test_expiry_comes_before_the_token() -> None:
    sent = put("none", 7, time=timestamp(NOW - timedelta(days=20)))
    assert turned_down(state_of(), sent).code is Code.EXPIRED


# Faults.


def test_rule_that_raises_ends_its_own_command_alone() -> None:
    def broken(_state: State, _command: Command, _data: Any, _decided_at: str) -> Decision:
        raise ZeroDivisionError("broken rule")

    rules = {**KINDS.rules, "document.delete": replace(KINDS.rules["document.delete"], apply=broken)}
    document = document_at(3)
    state = state_of(document)
    commands = [put(document.id, 3, {"a": 1}), delete_document(document.id, 4), put(document.id, 4, {"a": 2})]
    result = folded_over(state, commands, rules)
    first, fault, third = result.verdicts
    assert isinstance(first, SucceededData)
    assert isinstance(third, SucceededData)
    assert isinstance(fault, RejectedData)
    assert fault.code is Code.INTERNAL_ERROR
    assert "broken rule" not in fault.message
    assert (fault.kind, fault.id) == ("document", document.id)
    assert [(command, "ZeroDivisionError: broken rule" in trace) for command, trace in result.faults] == [
        (commands[1], True)
    ]
    assert [change.command for change in result.changes] == [commands[0], commands[2]]
    assert document_in(state, document.id).body == {"a": 2}


# The footprint of a batch.


def test_batch_touches_its_records_names_and_expected_traversals() -> None:
    one, two = new_id(), new_id()
    expected = {verb: new_id() for verb in ("update", "delete", "rollback", "cancel", "set_state")}
    wanted = KINDS.footprint_of(
        [
            put("d", None),
            merge("e", {}),
            delete_document("d", 0),
            stack_command("create", one, name="blue"),
            *[stack_command(verb, two, expected_traversal=traversal) for verb, traversal in expected.items()],
        ]
    )
    assert wanted.changes == {"document": {"d", "e"}, "stack": {one, two}}
    assert wanted.reads == {}
    assert wanted.names == {("stack", "blue")}
    assert wanted.part(AskedTraversals).pairs == {(two, traversal) for traversal in expected.values()}


def test_refused_command_touches_its_record_only_where_it_is_known() -> None:
    refused = [
        refused_command("document.put", "d", {"unknown": 1}),
        refused_command("frobnicate", "e", {}),
        refused_command("stack.create", "no uuid", {"name": "blue", "template": {}}),
    ]
    wanted = KINDS.footprint_of(refused)
    assert (wanted.changes, wanted.reads) == ({}, {"document": {"d"}})
    assert (wanted.names, wanted.parts) == (set(), {})


def test_document_and_stack_of_one_id_are_two_records() -> None:
    stack = stack_in("UPDATE", "COMPLETE")
    state = state_of(stack)
    accepted(state, put(stack.id, None, {"a": 1}))
    assert document_in(state, stack.id).body == {"a": 1}
    assert stack_of(state, stack.id) == stack
