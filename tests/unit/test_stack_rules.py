"""The rules of stacks: which commands each action and status allows, and the stack after each."""

from dataclasses import replace
from itertools import product

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.outcomes import ConflictData, RejectedData, SucceededData, TraversalToken
from genlock.schemas.stacks import Action, Status
from genlock.service.deciding.json_text import JsonText
from genlock.service.kinds.stacks.record import Stack
from tests.support.factories import (
    PREVIOUS_TEMPLATE,
    TEMPLATE,
    Json,
    accepted,
    conflicting,
    decided,
    deleted_stack,
    key,
    new_id,
    stack_command,
    stack_in,
    stack_of,
    state_of,
    turned_down,
)

VERBS = ("update", "delete", "rollback", "cancel", "set_state")

# The contract's table: actions, status, and what update, delete, rollback, cancel and set_state come to.
TABLE = """
CREATE UPDATE          | IN_PROGRESS | yes          | yes     | yes          | yes          | yes
CREATE UPDATE          | FAILED      | yes          | yes     | yes          | wrong_status | wrong_status
CREATE UPDATE ROLLBACK | COMPLETE    | yes          | yes     | wrong_status | wrong_status | wrong_status
ROLLBACK               | IN_PROGRESS | yes          | yes     | wrong_action | yes          | yes
ROLLBACK               | FAILED      | yes          | yes     | wrong_action | wrong_status | wrong_status
DELETE                 | IN_PROGRESS | wrong_action | yes     | wrong_action | yes          | yes
DELETE                 | FAILED      | wrong_action | yes     | wrong_action | wrong_status | wrong_status
DELETE                 | COMPLETE    | deleted      | deleted | deleted      | deleted      | deleted
"""

CELLS = [
    (action, status, verb, answer)
    for actions, status, *answers in ([cell.strip() for cell in row.split("|")] for row in TABLE.strip().splitlines())
    for action in actions.split()
    for verb, answer in zip(VERBS, answers, strict=True)
]


def test_table_has_every_action_and_status_once() -> None:
    assert sorted(cell[:3] for cell in CELLS) == sorted(product(Action, Status, VERBS))


@pytest.mark.parametrize(("action", "status", "verb", "answer"), CELLS)
def test_stack_takes_what_the_table_says(action: str, status: str, verb: str, answer: str) -> None:
    stack = stack_in(action, status)
    state = state_of(stack)
    sent = stack_command(verb, stack.id, expected_traversal=stack.traversal)
    verdict = decided(state, sent)
    if answer == "yes":
        assert isinstance(verdict, SucceededData)
        assert verdict.sequence == stack.sequence + 1
        assert stack_of(state, stack.id).sequence == stack.sequence + 1
    else:
        assert isinstance(verdict, RejectedData)
        assert verdict.code == answer
        assert (verdict.kind, verdict.id, verdict.sequence) == ("stack", stack.id, stack.sequence)
        assert verdict.command == sent.echo
        assert state.records == {key(stack): stack}


NOT_DELETED = [
    (action, status) for action, status in product(Action, Status) if (action, status) != ("DELETE", "COMPLETE")
]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(("action", "status"), NOT_DELETED)
def test_traversal_is_checked_before_action_and_status(action: Action, status: Status, verb: str) -> None:
    stack = stack_in(action, status)
    assert stack.previous_traversal is not None
    state = state_of(stack, traversals=[(stack.id, stack.previous_traversal)])
    for expected, reason in ((stack.previous_traversal, Reason.SUPERSEDED), (new_id(), Reason.AHEAD)):
        verdict = conflicting(state, stack_command(verb, stack.id, expected_traversal=expected))
        assert verdict.reason is reason
        assert verdict.expected == TraversalToken(traversal=expected)
        assert verdict.actual == stack.token
        assert verdict.winner == stack.maker.winner
        assert verdict.sequence == stack.sequence
    assert state.records == {key(stack): stack}


@pytest.mark.parametrize("verb", VERBS)
def test_traversal_of_another_stack_is_ahead(verb: str) -> None:
    stack, other = stack_in("UPDATE", "IN_PROGRESS"), stack_in("UPDATE", "IN_PROGRESS")
    verdict = conflicting(state_of(stack, other), stack_command(verb, stack.id, expected_traversal=other.traversal))
    assert verdict.reason is Reason.AHEAD


@pytest.mark.parametrize("verb", VERBS)
def test_stack_that_never_was_is_missing(verb: str) -> None:
    verdict = conflicting(state_of(), stack_command(verb, new_id(), expected_traversal=new_id()))
    assert (verdict.reason, verdict.sequence, verdict.actual) == (Reason.MISSING, 0, None)
    assert (verdict.winner, verdict.current) == (None, None)


@pytest.mark.parametrize("verb", VERBS)
def test_deleted_stack_is_deleted_whatever_is_expected(verb: str) -> None:
    stack = deleted_stack()
    for expected in (stack.traversal, stack.previous_traversal, new_id()):
        verdict = turned_down(state_of(stack), stack_command(verb, stack.id, expected_traversal=expected))
        assert (verdict.code, verdict.sequence) == (Code.DELETED, stack.sequence)


# What each command leaves.


def test_created_stack_is_in_progress_under_the_command_s_id() -> None:
    stack_id, state = new_id(), state_of()
    sent = stack_command("create", stack_id, name="blue", template={"a": 1}, timeout_s=5)
    verdict = accepted(state, sent)
    assert verdict.sequence == 1
    assert verdict.token == TraversalToken(traversal=sent.id, previous_traversal=None)
    assert verdict.record == {
        "id": stack_id,
        "name": "blue",
        "action": "CREATE",
        "status": "IN_PROGRESS",
        "status_reason": "",
        "traversal": sent.id,
        "previous_traversal": None,
        "disable_rollback": True,
        "timeout_s": 5,
    }
    stack = stack_of(state, stack_id)
    assert (stack.template, stack.previous_template, stack.maker.command_id) == (JsonText({"a": 1}), None, sent.id)


def started(state_before: Stack, verb: str, **data: object) -> Stack:
    """The stack after a command that starts a traversal, whose token and event are checked here."""
    state = state_of(state_before)
    sent = stack_command(verb, state_before.id, expected_traversal=state_before.traversal, **data)
    verdict = accepted(state, sent)
    stack = stack_of(state, state_before.id)
    assert (stack.traversal, stack.previous_traversal) == (sent.id, state_before.traversal)
    assert verdict.token == TraversalToken(traversal=sent.id, previous_traversal=state_before.traversal)
    assert (stack.maker.command_id, stack.maker.type) == (sent.id, sent.type)
    assert verdict.record is not None
    assert verdict.record == stack.summary()
    assert verdict.record.keys() & {"template", "previous_template", "failed_template"} == set()
    assert (verdict.record["action"], verdict.record["status"]) == (stack.action, stack.status)
    return stack


@pytest.mark.parametrize(("action", "status"), [cell[:2] for cell in CELLS if cell[2:] == ("update", "yes")])
def test_update_keeps_the_template_before(action: str, status: str) -> None:
    stack = started(stack_in(action, status), "update", template={"new": 1})
    assert (stack.action, stack.status, stack.status_reason) == (Action.UPDATE, Status.IN_PROGRESS, "")
    assert (stack.template, stack.previous_template) == (JsonText({"new": 1}), JsonText(TEMPLATE))


def test_update_leaves_what_it_does_not_name() -> None:
    before = stack_in("CREATE", "COMPLETE", disable_rollback=False)
    stack = started(before, "update")
    assert (stack.disable_rollback, stack.timeout_s, stack.stack_name) == (False, 60, before.stack_name)
    stack = started(before, "update", disable_rollback=True, timeout_s=7)
    assert (stack.disable_rollback, stack.timeout_s) == (True, 7)
    stack = started(replace(before, disable_rollback=True), "update", disable_rollback=False)
    assert stack.disable_rollback is False


@pytest.mark.parametrize(("action", "status"), [cell[:2] for cell in CELLS if cell[2:] == ("delete", "yes")])
def test_delete_starts_and_touches_no_template(action: str, status: str) -> None:
    stack = started(stack_in(action, status), "delete")
    assert (stack.action, stack.status, stack.status_reason) == (Action.DELETE, Status.IN_PROGRESS, "")
    assert (stack.template, stack.previous_template) == (JsonText(TEMPLATE), JsonText(PREVIOUS_TEMPLATE))


@pytest.mark.parametrize("status", ["IN_PROGRESS", "FAILED"])
def test_rollback_makes_the_previous_template_the_template_and_drops_it(status: str) -> None:
    stack = started(stack_in("UPDATE", status), "rollback")
    assert (stack.action, stack.status, stack.status_reason) == (Action.ROLLBACK, Status.IN_PROGRESS, "")
    assert (stack.template, stack.previous_template) == (JsonText(PREVIOUS_TEMPLATE), None)


@pytest.mark.parametrize("status", ["IN_PROGRESS", "FAILED"])
def test_rollback_of_a_creation_goes_back_to_the_empty_template(status: str) -> None:
    stack = started(stack_in("CREATE", status, previous_template=None), "rollback")
    assert (stack.action, stack.template, stack.previous_template) == (Action.ROLLBACK, JsonText({}), None)


@pytest.mark.parametrize("action", ["CREATE", "UPDATE", "ROLLBACK", "DELETE"])
@pytest.mark.parametrize("disable_rollback", [True, False])
def test_cancel_fails_under_a_new_traversal_without_rollback(action: str, disable_rollback: bool) -> None:
    stack = started(stack_in(action, "IN_PROGRESS", disable_rollback=disable_rollback), "cancel")
    assert (stack.action, stack.status) == (Action(action), Status.FAILED)
    assert stack.status_reason
    assert (stack.template, stack.previous_template) == (JsonText(TEMPLATE), JsonText(PREVIOUS_TEMPLATE))


def reported(before: Stack, status: str) -> tuple[Stack, SucceededData]:
    state = state_of(before)
    data: Json = {"expected_traversal": before.traversal, "status": status, "reason": "because"}
    verdict = accepted(state, stack_command("set_state", before.id, **data))
    return stack_of(state, before.id), verdict


@pytest.mark.parametrize("action", ["CREATE", "UPDATE", "ROLLBACK"])
@pytest.mark.parametrize("disable_rollback", [True, False])
def test_completion_drops_the_previous_template_and_keeps_the_traversal(action: str, disable_rollback: bool) -> None:
    before = stack_in(action, "IN_PROGRESS", disable_rollback=disable_rollback)
    stack, verdict = reported(before, "COMPLETE")
    completed = replace(before, status=Status.COMPLETE, status_reason="because", sequence=4)
    assert stack == replace(completed, previous_template=None)
    assert verdict.token == before.token
    assert verdict.record == stack.summary()
    assert "template" not in verdict.record


@pytest.mark.parametrize(
    ("action", "disable_rollback"),
    [("CREATE", True), ("UPDATE", True), ("ROLLBACK", True), ("ROLLBACK", False), ("DELETE", True), ("DELETE", False)],
)
def test_failure_that_starts_no_rollback_keeps_traversal_and_templates(action: str, disable_rollback: bool) -> None:
    before = stack_in(action, "IN_PROGRESS", disable_rollback=disable_rollback)
    stack, verdict = reported(before, "FAILED")
    assert stack == replace(before, status=Status.FAILED, status_reason="because", sequence=4)
    assert verdict.token == before.token
    assert verdict.record == stack.summary()
    assert "template" not in verdict.record


@pytest.mark.parametrize(("action", "template"), [("CREATE", {}), ("UPDATE", PREVIOUS_TEMPLATE)])
def test_failure_starts_the_rollback_in_the_same_command(action: str, template: Json) -> None:
    before = stack_in(action, "IN_PROGRESS", disable_rollback=False)
    state = state_of(before)
    data: Json = {"expected_traversal": before.traversal, "status": "FAILED", "reason": "disk full"}
    sent = stack_command("set_state", before.id, **data)
    verdict = accepted(state, sent)
    stack = stack_of(state, before.id)
    assert (stack.action, stack.status, stack.status_reason) == (Action.ROLLBACK, Status.IN_PROGRESS, "disk full")
    assert (stack.traversal, stack.previous_traversal) == (sent.id, before.traversal)
    assert (stack.maker.command_id, stack.maker.type) == (sent.id, "stack.set_state")
    assert (stack.template, stack.previous_template, stack.sequence) == (JsonText(template), None, 4)
    assert verdict.token == stack.token
    assert verdict.record is not None
    assert (verdict.record["template"], verdict.record["failed_template"]) == (template, TEMPLATE)
    assert verdict.record["previous_template"] is None


def test_failed_rollback_starts_no_second_one() -> None:
    before = stack_in("UPDATE", "IN_PROGRESS", disable_rollback=False)
    rolling, _ = reported(before, "FAILED")
    failed, verdict = reported(rolling, "FAILED")
    assert (failed.action, failed.status, failed.traversal) == (Action.ROLLBACK, Status.FAILED, rolling.traversal)
    assert verdict.token == rolling.token
    for action in ("FAILED", "COMPLETE"):
        again = stack_command("set_state", failed.id, expected_traversal=failed.traversal, status=action)
        assert turned_down(state_of(failed), again).code is Code.WRONG_STATUS


def test_completed_deletion_leaves_a_tombstone_and_frees_the_name() -> None:
    before = stack_in("DELETE", "IN_PROGRESS", stack_name="blue")
    state = state_of(before)
    report = stack_command("set_state", before.id, expected_traversal=before.traversal)
    verdict = accepted(state, report)
    assert (verdict.record, verdict.token) == (None, before.token)
    assert state.names == {}
    assert stack_of(state, before.id).deleted
    other = new_id()
    assert accepted(state, stack_command("create", other, name="blue")).id == other
    assert state.names == {("stack", "blue"): other}


# Conflicts.


def conflict_with(verb: str, *, superseded: bool, attempt: int = 1) -> tuple[ConflictData, Stack]:
    stack = stack_in("UPDATE", "IN_PROGRESS")
    expected = new_id()
    state = state_of(stack, traversals=[(stack.id, expected)] if superseded else [])
    sent = stack_command(verb, stack.id, expected_traversal=expected)
    return conflicting(state, replace(sent, attempt=attempt)), stack


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("superseded", [True, False])
def test_only_a_report_of_a_superseded_traversal_is_not_to_be_tried_again(verb: str, superseded: bool) -> None:
    verdict, _ = conflict_with(verb, superseded=superseded, attempt=3)
    assert verdict.retry.allowed == (not (verb == "set_state" and superseded))
    assert verdict.retry.attempt == 3


@pytest.mark.parametrize("superseded", [True, False])
def test_conflicts_carry_the_templates_except_those_of_reports(superseded: bool) -> None:
    for verb in VERBS:
        verdict, stack = conflict_with(verb, superseded=superseded)
        assert verdict.current is not None
        templates = {name: verdict.current[name] for name in verdict.current if "template" in name}
        whole = {"template": TEMPLATE, "previous_template": PREVIOUS_TEMPLATE}
        assert templates == ({} if verb == "set_state" else whole)
        assert verdict.current == stack.summary() | templates


def test_stack_whose_traversal_was_taken_over_in_the_same_batch_is_superseded() -> None:
    stack = stack_in("CREATE", "IN_PROGRESS", disable_rollback=False)
    update = stack_command("update", stack.id, expected_traversal=stack.traversal)
    report = stack_command("set_state", stack.id, expected_traversal=stack.traversal, status="FAILED")
    state = state_of(stack)
    verdict = conflicting(state, update, report)
    assert verdict.reason is Reason.SUPERSEDED
    assert verdict.winner is not None
    assert verdict.winner.command_id == update.id
    assert stack_of(state, stack.id).action is Action.UPDATE


def test_chain_sent_without_waiting_is_applied_link_by_link() -> None:
    stack_id, state = new_id(), state_of()
    create = stack_command("create", stack_id)
    update = stack_command("update", stack_id, expected_traversal=create.id)
    delete = stack_command("delete", stack_id, expected_traversal=update.id)
    done = stack_command("set_state", stack_id, expected_traversal=delete.id)
    assert accepted(state, create, update, delete, done).sequence == 4


def test_link_that_arrives_too_early_is_ahead() -> None:
    stack = stack_in("UPDATE", "COMPLETE")
    update = stack_command("update", stack.id, expected_traversal=stack.traversal)
    delete = stack_command("delete", stack.id, expected_traversal=update.id)
    assert conflicting(state_of(stack), delete).reason is Reason.AHEAD


def test_stack_that_exists_is_not_created() -> None:
    stack = stack_in("UPDATE", "COMPLETE")
    verdict = conflicting(state_of(stack), stack_command("create", stack.id, name="other"))
    assert (verdict.reason, verdict.expected, verdict.actual) == (Reason.EXISTS, None, stack.token)
    assert verdict.current == stack.state()
    assert verdict.winner == stack.maker.winner


def test_deleted_stack_is_never_created_again() -> None:
    stack = deleted_stack()
    verdict = turned_down(state_of(stack), stack_command("create", stack.id))
    assert (verdict.code, verdict.sequence) == (Code.DELETED, stack.sequence)


# Names.


@pytest.mark.parametrize(("action", "status"), NOT_DELETED)
def test_name_of_a_live_stack_is_taken(action: Action, status: Status) -> None:
    stack = stack_in(action, status, stack_name="blue")
    verdict = turned_down(state_of(stack), stack_command("create", new_id(), name="blue"))
    assert (verdict.code, verdict.sequence) == (Code.DUPLICATE_NAME, 0)


def test_name_taken_earlier_in_the_batch_is_taken() -> None:
    state, first = state_of(), new_id()
    verdict = turned_down(
        state, stack_command("create", first, name="blue"), stack_command("create", new_id(), name="blue")
    )
    assert verdict.code is Code.DUPLICATE_NAME
    assert state.names == {("stack", "blue"): first}


def test_existing_stack_conflicts_before_its_name_is_looked_at() -> None:
    stack = stack_in("CREATE", "COMPLETE", stack_name="blue")
    verdict = conflicting(state_of(stack), stack_command("create", stack.id, name="blue"))
    assert verdict.reason is Reason.EXISTS


def test_two_stacks_swap_their_names_within_a_batch() -> None:
    one, two = (stack_in("DELETE", "IN_PROGRESS", stack_name=name) for name in ("blue", "green"))
    state = state_of(one, two)
    ends = [stack_command("set_state", stack.id, expected_traversal=stack.traversal) for stack in (one, two)]
    new_one, new_two = new_id(), new_id()
    creates = stack_command("create", new_one, name="green"), stack_command("create", new_two, name="blue")
    accepted(state, *ends, *creates)
    assert state.names == {("stack", "green"): new_one, ("stack", "blue"): new_two}


def test_name_wanted_just_before_it_is_freed_is_still_taken() -> None:
    stack = stack_in("DELETE", "IN_PROGRESS", stack_name="blue")
    state = state_of(stack)
    assert turned_down(state, stack_command("create", new_id(), name="blue")).code is Code.DUPLICATE_NAME
    end = stack_command("set_state", stack.id, expected_traversal=stack.traversal)
    assert accepted(state, end, stack_command("create", new_id(), name="blue")).sequence == 1


@pytest.mark.parametrize("verb", ["create", "update"])
@pytest.mark.parametrize("extra", [0, 1])
def test_template_is_too_large_past_512_kib(verb: str, extra: int) -> None:
    stack = stack_in("UPDATE", "COMPLETE")
    data: Json = {"template": {"a": "x" * (512 * 1024 - len('{"a":""}') + extra)}}
    data |= {"expected_traversal": stack.traversal} if verb == "update" else {}
    verdict = decided(state_of(stack), stack_command(verb, stack.id if verb == "update" else new_id(), **data))
    assert getattr(verdict, "code", None) == (Code.TOO_LARGE if extra else None)
