"""The rules of one consumer: creation, tokens, what changes with a command, removal. Capacity is elsewhere."""

from dataclasses import replace
from typing import Any

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.outcomes import Failure, GenerationToken
from genlock.service.kinds.allocations.record import Consumer
from tests.support.consumer_factories import (
    PROJECT,
    USER,
    consumer_at,
    consumer_of,
    deleted_consumer,
    generations,
    placed,
    set_allocations,
    shown_consumer,
    with_room,
)
from tests.support.factories import accepted, conflicting, key, new_id, refused_command, turned_down
from tests.support.provider_factories import below, deleted_provider, provider_of, shown


def token(generation: int) -> GenerationToken:
    return GenerationToken(generation=generation)


def test_consumer_is_created_by_its_first_allocation_at_generation_1_and_sequence_1() -> None:
    provider, consumer = with_room(7, VCPU=8, MEMORY_MB=4096), new_id()
    state = placed([provider])
    sent = set_allocations(consumer, None, {provider.id: {"VCPU": 2, "MEMORY_MB": 512}})
    verdict = accepted(state, sent)
    assert (verdict.kind, verdict.id, verdict.sequence) == ("consumer", consumer, 1)
    assert verdict.token == token(1)
    assert verdict.tokens == {"provider": {provider.id: token(8)}}
    assert verdict.record == {
        "id": consumer,
        "generation": 1,
        "project_id": PROJECT,
        "user_id": USER,
        "consumer_type": None,
        "allocations": {provider.id: {"VCPU": 2, "MEMORY_MB": 512}},
    }
    record = consumer_of(state, consumer)
    assert (record.generation, record.sequence, record.deleted) == (1, 1, False)
    assert (record.maker.command_id, record.maker.type) == (sent.id, "consumer.set_allocations")
    assert (record.maker.source, record.maker.time) == ("/tests", "2026-03-01T12:00:00.000000Z")


def test_provider_that_is_allocated_from_takes_the_next_generation_and_names_its_maker() -> None:
    root = with_room(1)
    provider = below(root, 7)
    state = placed([root, provider])
    sent = set_allocations(new_id(), None, {provider.id: {"VCPU": 4}})
    accepted(state, sent)
    after = provider_of(state, provider.id)
    assert (after.generation, after.sequence, after.maker.command_id) == (8, 9, sent.id)
    assert after.used == {"VCPU": 4}
    # Neither its other fields nor its parent have changed.
    assert shown(after, root_id=root.id) == shown(provider, generation=8, root_id=root.id)
    assert generations(state, root.id) == [1]


def test_each_change_takes_the_next_generation_and_replaces_everything() -> None:
    first, second = with_room(VCPU=8), with_room(5, VCPU=8, DISK_GB=100)
    consumer = consumer_at(3, {first.id: {"VCPU": 2}}, consumer_type="INSTANCE")
    state = placed([first, second], consumer)
    verdict = accepted(
        state,
        set_allocations(
            consumer.id, 3, {second.id: {"DISK_GB": 7}}, project_id="p", user_id="u", consumer_type="MIGRATION"
        ),
    )
    assert (verdict.token, verdict.sequence) == (token(4), 4)
    assert verdict.record == {
        "id": consumer.id,
        "generation": 4,
        "project_id": "p",
        "user_id": "u",
        "consumer_type": "MIGRATION",
        "allocations": {second.id: {"DISK_GB": 7}},
    }
    # The provider of the old allocations is touched as well as that of the new ones.
    assert verdict.tokens == {"provider": {first.id: token(1), second.id: token(6)}}
    assert provider_of(state, first.id).used == {}
    assert provider_of(state, second.id).used == {"DISK_GB": 7}


def test_provider_of_the_old_and_the_new_allocations_goes_up_once() -> None:
    provider = with_room(5, VCPU=8)
    consumer = consumer_at(1, {provider.id: {"VCPU": 2}})
    state = placed([provider], consumer)
    verdict = accepted(state, set_allocations(consumer.id, 1, {provider.id: {"VCPU": 3}}))
    assert verdict.tokens == {"provider": {provider.id: token(6)}}
    assert provider_of(state, provider.id).sequence == provider.sequence + 1


def test_the_same_allocations_again_are_a_change_like_any_other() -> None:
    provider = with_room(5, VCPU=8)
    consumer = consumer_at(1, {provider.id: {"VCPU": 2}})
    state = placed([provider], consumer)
    accepted(state, set_allocations(consumer.id, 1, consumer.allocations))
    assert generations(state, consumer.id, provider.id) == [2, 6]


@pytest.mark.parametrize(
    ("before", "data", "after"),
    [
        ("INSTANCE", {}, "INSTANCE"),
        ("INSTANCE", {"consumer_type": None}, None),
        ("INSTANCE", {"consumer_type": "MIGRATION"}, "MIGRATION"),
        (None, {}, None),
        (None, {"consumer_type": "INSTANCE"}, "INSTANCE"),
    ],
)
def test_type_that_is_left_out_is_kept(before: str | None, data: dict[str, Any], after: str | None) -> None:
    provider = with_room(VCPU=8)
    consumer = consumer_at(1, {provider.id: {"VCPU": 2}}, consumer_type=before)
    state = placed([provider], consumer)
    accepted(state, set_allocations(consumer.id, 1, {provider.id: {"VCPU": 2}}, **data))
    assert consumer_of(state, consumer.id).consumer_type == after


def test_empty_allocations_remove_the_consumer_and_leave_a_tombstone() -> None:
    provider = with_room(5, VCPU=8)
    consumer = consumer_at(3, {provider.id: {"VCPU": 2}})
    state = placed([provider], consumer)
    sent = set_allocations(consumer.id, 3, {})
    verdict = accepted(state, sent)
    assert (verdict.record, verdict.token, verdict.sequence) == (None, token(4), 4)
    assert verdict.tokens == {"provider": {provider.id: token(6)}}
    tombstone = consumer_of(state, consumer.id)
    assert (tombstone.deleted, tombstone.allocations) == (True, {})
    assert tombstone.maker.command_id == sent.id
    assert provider_of(state, provider.id).used == {}


def test_consumer_created_again_goes_on_from_its_tombstone_and_keeps_no_type_of_it() -> None:
    provider, tombstone = with_room(VCPU=8), replace(deleted_consumer(4), consumer_type="INSTANCE")
    verdict = accepted(placed([provider], tombstone), set_allocations(tombstone.id, None, {provider.id: {"VCPU": 1}}))
    assert (verdict.token, verdict.sequence) == (token(5), 5)
    assert verdict.record is not None
    assert verdict.record["consumer_type"] is None


def test_author_who_saw_the_consumer_before_its_removal_is_stale() -> None:
    provider, consumer = with_room(VCPU=8), new_id()
    state = placed([provider])
    amounts = {provider.id: {"VCPU": 1}}
    accepted(state, set_allocations(consumer, None, amounts), set_allocations(consumer, 1, {}))
    accepted(state, set_allocations(consumer, None, amounts))
    verdict = conflicting(state, set_allocations(consumer, 1, {}))
    assert (verdict.reason, verdict.actual) == (Reason.STALE, token(3))


@pytest.mark.parametrize("known", [False, True])
def test_consumer_that_does_not_exist_is_not_removed(known: bool) -> None:
    tombstone = deleted_consumer(4)
    state = placed([], *([tombstone] if known else []))
    sent = set_allocations(tombstone.id, None, {})
    verdict = turned_down(state, sent)
    assert (verdict.code, verdict.sequence) == (Code.NOT_FOUND, 4 if known else 0)
    assert verdict.errors[0].path == "data"
    assert tombstone.id in verdict.message
    assert verdict.command == sent.echo


@pytest.mark.parametrize("amount", [0, 1])
def test_consumer_that_was_expected_and_never_was_is_missing(amount: int) -> None:
    provider, consumer = with_room(VCPU=8), new_id()
    verdict = conflicting(
        placed([provider]), set_allocations(consumer, 2, {provider.id: {"VCPU": amount}} if amount else {})
    )
    assert (verdict.reason, verdict.sequence) == (Reason.MISSING, 0)
    assert verdict.expected == token(2)
    assert (verdict.actual, verdict.winner, verdict.current) == (None, None, None)


@pytest.mark.parametrize("expected", [3, 4])
def test_removed_consumer_is_missing_and_its_winner_is_its_remover(expected: int) -> None:
    provider, tombstone = with_room(VCPU=8), deleted_consumer(4)
    state = placed([provider], tombstone)
    verdict = conflicting(state, set_allocations(tombstone.id, expected, {provider.id: {"VCPU": 1}}))
    assert (verdict.reason, verdict.sequence) == (Reason.MISSING, 4)
    assert (verdict.actual, verdict.current, verdict.winner) == (None, None, tombstone.maker.winner)


@pytest.mark.parametrize("amounts", [{}, {"VCPU": 2}])
@pytest.mark.parametrize(
    ("expected", "reason"),
    [(None, Reason.EXISTS), (0, Reason.STALE), (6, Reason.STALE), (8, Reason.AHEAD), (2**63 - 1, Reason.AHEAD)],
)
def test_other_generation_is_not_applied_and_the_conflict_carries_the_current_state(
    expected: int | None, reason: Reason, amounts: dict[str, int]
) -> None:
    provider = with_room(5, VCPU=8)
    consumer = consumer_at(7, {provider.id: {"VCPU": 1}}, consumer_type="INSTANCE")
    state = placed([provider], consumer)
    before = dict(state.records)
    sent = set_allocations(consumer.id, expected, {provider.id: amounts} if amounts else {})
    verdict = conflicting(state, sent)
    assert (verdict.kind, verdict.id, verdict.sequence) == ("consumer", consumer.id, 7)
    assert verdict.reason is reason
    assert verdict.expected == (None if expected is None else token(expected))
    assert verdict.actual == token(7)
    assert verdict.winner == consumer.maker.winner
    assert verdict.current == shown_consumer(consumer)
    assert verdict.command == sent.echo
    assert verdict.retry.allowed
    [failed] = verdict.failures or []
    assert failed.model_dump() == {
        name: value for name, value in verdict.model_dump().items() if name in Failure.model_fields
    }
    assert state.records == before


# Generations of providers.


@pytest.mark.parametrize(("expected", "reason"), [(4, Reason.STALE), (6, Reason.AHEAD)])
def test_generation_of_a_provider_is_checked_if_it_is_given(expected: int, reason: Reason) -> None:
    root = with_room()
    provider, consumer = below(root, 5), new_id()
    state = placed([root, provider])
    before = dict(state.records)
    verdict = conflicting(state, set_allocations(consumer, None, {provider.id: {"VCPU": 4}}, {provider.id: expected}))
    assert (verdict.kind, verdict.id, verdict.sequence) == ("provider", provider.id, 6)
    assert (verdict.reason, verdict.expected, verdict.actual) == (reason, token(expected), token(5))
    assert verdict.winner == provider.maker.winner
    assert verdict.current == shown(provider, root_id=root.id)
    assert [(failed.kind, failed.id) for failed in verdict.failures or []] == [("provider", provider.id)]
    assert state.records == before


def test_generation_of_a_provider_that_is_the_actual_one_passes() -> None:
    provider = with_room(5, VCPU=8)
    verdict = accepted(
        placed([provider]), set_allocations(new_id(), None, {provider.id: {"VCPU": 1}}, {provider.id: 5})
    )
    assert verdict.tokens == {"provider": {provider.id: token(6)}}


def test_generation_0_of_a_provider_is_an_expectation_like_any_other() -> None:
    provider = with_room(1, VCPU=8)
    sent = set_allocations(new_id(), None, {provider.id: {"VCPU": 1}}, {provider.id: 0})
    assert conflicting(placed([provider]), sent).reason is Reason.STALE


def test_without_a_generation_of_the_provider_consumers_commute() -> None:
    provider = with_room(5, VCPU=8)
    state = placed([provider])
    for number in range(4):
        verdict = accepted(state, set_allocations(new_id(), None, {provider.id: {"VCPU": 2}}))
        assert verdict.tokens == {"provider": {provider.id: token(6 + number)}}
    assert provider_of(state, provider.id).used == {"VCPU": 8}


def test_of_two_consumers_that_saw_one_generation_of_the_provider_the_second_is_stale() -> None:
    provider = with_room(5, VCPU=8)
    first, second = (set_allocations(new_id(), None, {provider.id: {"VCPU": 1}}, {provider.id: 5}) for _ in range(2))
    verdict = conflicting(placed([provider]), first, second)
    assert (verdict.reason, verdict.actual) == (Reason.STALE, token(6))
    assert verdict.winner is not None
    assert verdict.winner.command_id == first.id


@pytest.mark.parametrize("known", [False, True])
def test_provider_that_is_not_there_is_not_found_or_missing_if_a_generation_is_expected_of_it(known: bool) -> None:
    gone = deleted_provider(4)
    state = placed([gone] if known else [])
    amounts = {gone.id: {"VCPU": 1}}
    verdict = turned_down(state, set_allocations(new_id(), None, amounts))
    assert verdict.code is Code.NOT_FOUND
    assert [error.path for error in verdict.errors] == [f"data.allocations.{gone.id}"]
    assert gone.id in verdict.message
    conflict = conflicting(state, set_allocations(new_id(), None, amounts, {gone.id: 4}))
    assert (conflict.kind, conflict.id, conflict.reason) == ("provider", gone.id, Reason.MISSING)
    assert (conflict.actual, conflict.current) == (None, None)
    assert conflict.winner == (gone.maker.winner if known else None)


def test_all_failed_checks_are_told_the_consumer_first() -> None:
    stale, ahead, good = with_room(5, VCPU=8), with_room(7, VCPU=8), with_room(9, VCPU=8)
    missing = new_id()
    consumer = consumer_at(3, {good.id: {"VCPU": 1}})
    amounts = {provider: {"VCPU": 1} for provider in (stale.id, ahead.id, good.id, missing)}
    expected = {stale.id: 4, ahead.id: 8, good.id: 9, missing: 0}
    verdict = conflicting(placed([stale, ahead, good], consumer), set_allocations(consumer.id, 2, amounts, expected))
    assert [(failed.kind, failed.id, failed.reason) for failed in verdict.failures or []] == [
        ("consumer", consumer.id, Reason.STALE),
        ("provider", stale.id, Reason.STALE),
        ("provider", ahead.id, Reason.AHEAD),
        ("provider", missing, Reason.MISSING),
    ]
    assert [failed.actual for failed in verdict.failures or []] == [token(3), token(5), token(7), None]
    first = (verdict.failures or [])[0]
    assert (verdict.kind, verdict.id, verdict.reason, verdict.sequence) == ("consumer", consumer.id, Reason.STALE, 3)
    assert (verdict.expected, verdict.actual, verdict.current) == (first.expected, first.actual, first.current)


# Several commands in one batch, and ids.


def test_chain_of_commands_in_one_batch_builds_on_one_another() -> None:
    one, other = with_room(VCPU=8), with_room(VCPU=8)
    state, consumer = placed([one, other]), new_id()
    verdict = accepted(
        state,
        set_allocations(consumer, None, {one.id: {"VCPU": 8}}),
        set_allocations(consumer, 1, {other.id: {"VCPU": 8}}),
        set_allocations(new_id(), None, {one.id: {"VCPU": 8}}),
        set_allocations(consumer, 2, {}),
        set_allocations(consumer, None, {other.id: {"VCPU": 1}}),
    )
    assert (verdict.token, verdict.sequence) == (token(4), 4)
    assert generations(state, one.id, other.id) == [3, 3]
    assert provider_of(state, one.id).used == {"VCPU": 8}
    assert provider_of(state, other.id).used == {"VCPU": 1}


def test_consumer_and_provider_may_have_the_same_id() -> None:
    provider = with_room(5, VCPU=8)
    state = placed([provider])
    verdict = accepted(state, set_allocations(provider.id, None, {provider.id: {"VCPU": 2}}))
    assert (verdict.kind, verdict.id, verdict.token, verdict.sequence) == ("consumer", provider.id, token(1), 1)
    assert verdict.tokens == {"provider": {provider.id: token(6)}}
    assert verdict.record is not None
    assert verdict.record["allocations"] == {provider.id: {"VCPU": 2}}
    assert state.get(Consumer, provider.id) is not None
    assert provider_of(state, provider.id).generation == 6


def test_ids_in_upper_case_are_the_same_ids() -> None:
    provider = with_room(5, VCPU=8)
    consumer = consumer_at(1, {provider.id: {"VCPU": 2}})
    state = placed([provider], consumer)
    verdict = accepted(state, set_allocations(consumer.id.upper(), 1, {provider.id.upper(): {"VCPU": 3}}))
    assert verdict.id == consumer.id
    assert verdict.record is not None
    assert verdict.record["allocations"] == {provider.id: {"VCPU": 3}}


# Commands whose ledger rows have expired.


def test_command_that_made_the_current_generation_succeeds_again_when_the_ledger_has_forgotten_it() -> None:
    provider = with_room(5, VCPU=8)
    state, consumer = placed([provider]), new_id()
    for sent in (
        set_allocations(consumer, None, {provider.id: {"VCPU": 1}}),
        set_allocations(consumer, 1, {provider.id: {"VCPU": 2}}, consumer_type="INSTANCE"),
    ):
        first = accepted(state, sent)
        before = dict(state.records)
        assert accepted(state, sent) == first
        assert state.records == before


def test_removal_that_the_ledger_has_forgotten_succeeds_again() -> None:
    provider = with_room(5, VCPU=8)
    consumer = consumer_at(3, {provider.id: {"VCPU": 2}})
    state = placed([provider], consumer)
    sent = set_allocations(consumer.id, 3, {})
    accepted(state, sent)
    again = accepted(state, sent)
    assert (again.record, again.token, again.sequence) == (None, token(4), 4)
    assert provider_of(state, provider.id).generation == 6


def test_forgotten_command_tells_the_tokens_that_are_still_its_own() -> None:
    kept, moved_on = with_room(5, VCPU=8), with_room(7, VCPU=8)
    state = placed([kept, moved_on])
    sent = set_allocations(new_id(), None, {kept.id: {"VCPU": 1}, moved_on.id: {"VCPU": 1}})
    accepted(state, sent, set_allocations(new_id(), None, {moved_on.id: {"VCPU": 1}}))
    assert accepted(state, sent).tokens == {"provider": {kept.id: token(6)}}


def test_forgotten_command_whose_consumer_has_moved_on_conflicts() -> None:
    provider, other = with_room(5, VCPU=8), with_room(5, VCPU=8)
    state, consumer = placed([provider, other]), new_id()
    sent = set_allocations(consumer, None, {provider.id: {"VCPU": 1}})
    accepted(state, sent, set_allocations(consumer, 1, {provider.id: {"VCPU": 1}, other.id: {"VCPU": 1}}))
    assert conflicting(state, sent).reason is Reason.EXISTS


def test_refused_command_changes_nothing() -> None:
    provider = with_room(5, VCPU=8)
    consumer = consumer_at(3, {provider.id: {"VCPU": 2}})
    state = placed([provider], consumer)
    before = dict(state.records)
    verdict = turned_down(state, refused_command("consumer.set_allocations", consumer.id, {}))
    assert (verdict.code, verdict.sequence) == (Code.INVALID_DATA, 3)
    assert state.records == before
    assert key(consumer) in before
