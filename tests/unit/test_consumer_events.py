"""Outcome events of commands on consumers: all fields of the contract, and a size that passes."""

import json

import pytest

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, Verdict, parse_outcome
from genlock.service.deciding.state import State
from genlock.service.ledger.events import Event
from tests.support.consumer_factories import (
    consumer_at,
    deleted_consumer,
    placed,
    reshape,
    set_allocations,
    set_many,
    shown_consumer,
    wanted,
    with_room,
)
from tests.support.factories import Json, decided, event_of, new_id
from tests.support.provider_factories import shown

EVENT_BYTES_MAX = 4 * 1024 * 1024

PROVIDER = with_room(5, VCPU=8)
CONSUMER = consumer_at(3, {PROVIDER.id: {"VCPU": 6}}, consumer_type="INSTANCE")
GONE = deleted_consumer(4)


def state() -> State:
    return placed([PROVIDER], CONSUMER, GONE)


def data_of(sent: Command) -> Json:
    data: Json = json.loads(event_of(sent, decided(state(), sent)).body)["data"]
    return data


def inventories(expected: int) -> Json:
    return {PROVIDER.id: {"expected_generation": expected, "inventories": {"VCPU": {"total": 8}}}}


ONE: Json = {PROVIDER.id: {"VCPU": 1}}
COMMANDS = [
    set_allocations(new_id(), None, ONE),
    set_allocations(CONSUMER.id, 3, {}),
    set_allocations(CONSUMER.id, 2, ONE, {PROVIDER.id: 4}),
    set_allocations(CONSUMER.id, None, {}),
    set_allocations(GONE.id, 4, ONE),
    set_allocations(new_id(), None, {PROVIDER.id: {"VCPU": 3}}),
    set_allocations(new_id(), None, {}),
    set_many({CONSUMER.id: wanted(3, {}), new_id(): wanted(None, ONE)}),
    set_many({CONSUMER.id: wanted(4, {}), GONE.id: wanted(4, ONE)}),
    set_many({new_id(): wanted(None, {PROVIDER.id: {"VCPU": 3, "VGPU": 1}})}),
    reshape(inventories(5), {}),
    reshape(inventories(6), {CONSUMER.id: wanted(3, {})}),
    reshape(inventories(5), {new_id(): wanted(None, {PROVIDER.id: {"VCPU": 3}})}),
]


@pytest.mark.parametrize("sent", COMMANDS)
def test_every_event_can_be_read_back(sent: Command) -> None:
    verdict: Verdict = decided(state(), sent)
    event = event_of(sent, verdict)
    assert parse_outcome(event.body).data == verdict
    assert Event.stored(event.body) == event
    assert event.subject == (sent.subject or None)
    assert event.type.startswith(f"{sent.type}.")


def test_success_event_has_the_tokens_of_all_that_was_touched() -> None:
    assert data_of(COMMANDS[0]) == {
        "kind": "consumer",
        "id": COMMANDS[0].subject,
        "sequence": 1,
        "record": {
            "id": COMMANDS[0].subject,
            "generation": 1,
            "project_id": "project-1",
            "user_id": "user-1",
            "consumer_type": None,
            "allocations": ONE,
        },
        "token": {"generation": 1},
        "tokens": {"provider": {PROVIDER.id: {"generation": 6}}},
    }


def test_success_event_of_a_removal_shows_no_record_and_the_tokens_all_the_same() -> None:
    assert data_of(COMMANDS[1]) == {
        "kind": "consumer",
        "id": CONSUMER.id,
        "sequence": 4,
        "record": None,
        "token": {"generation": 4},
        "tokens": {"provider": {PROVIDER.id: {"generation": 6}}},
    }


def test_success_event_of_several_records_has_tokens_alone() -> None:
    sent = set_many({CONSUMER.id: wanted(3, {}), GONE.id: wanted(None, ONE)})
    assert data_of(sent) == {
        "kind": "consumer",
        "id": None,
        "sequence": 0,
        "record": None,
        "token": None,
        "tokens": {
            "consumer": {CONSUMER.id: {"generation": 4}, GONE.id: {"generation": 5}},
            "provider": {PROVIDER.id: {"generation": 6}},
        },
    }


def test_conflict_event_has_every_failed_check_and_the_first_at_the_top() -> None:
    sent = COMMANDS[2]
    first = {
        "kind": "consumer",
        "id": CONSUMER.id,
        "sequence": 3,
        "reason": "stale",
        "expected": {"generation": 2},
        "actual": {"generation": 3},
        "winner": CONSUMER.maker.winner.model_dump(exclude_unset=True),
        "current": shown_consumer(CONSUMER),
    }
    second = {
        "kind": "provider",
        "id": PROVIDER.id,
        "sequence": 6,
        "reason": "stale",
        "expected": {"generation": 4},
        "actual": {"generation": 5},
        "winner": PROVIDER.maker.winner.model_dump(exclude_unset=True),
        "current": shown(PROVIDER),
    }
    assert data_of(sent) == first | {
        "failures": [first, second],
        "command": sent.echo.model_dump(),
        "retry": {"allowed": True, "attempt": 1, "after_ms": 10},
    }


def test_rejection_event_for_capacity_has_the_shortages() -> None:
    sent = COMMANDS[5]
    data = data_of(sent)
    assert data["shortages"] == [
        {"provider_id": PROVIDER.id, "resource_class": "VCPU", "asked": 3, "used": 6, "capacity": 8}
    ]
    assert (data["kind"], data["id"], data["sequence"], data["code"]) == (
        "consumer",
        sent.subject,
        0,
        "capacity_exceeded",
    )
    assert data["command"] == sent.echo.model_dump()


def test_other_rejections_have_no_shortages() -> None:
    assert "shortages" not in data_of(COMMANDS[6])


# Sizes.


def many(consumers: int, providers: int) -> tuple[State, Command]:
    """Many consumers with large allocations, and a command that is stale for all of them."""
    racks = [with_room(1, VCPU=10**6) for _ in range(providers)]
    large = {rack.id: {"VCPU": 1} for rack in racks}
    large_consumers = [consumer_at(2, large) for _ in range(consumers)]
    return placed(racks, *large_consumers), set_many({consumer.id: wanted(1, {}) for consumer in large_consumers})


def test_conflict_past_4_mib_leaves_current_out_of_its_failures_too() -> None:
    before, sent = many(40, 2200)
    verdict = decided(before, sent)
    assert len(verdict.model_dump_json()) > EVENT_BYTES_MAX
    event = event_of(sent, verdict)
    assert len(event.body) < 50_000
    outcome = parse_outcome(event.body)
    assert isinstance(outcome, Conflict)
    assert outcome.data.truncated
    assert (outcome.current, outcome.data.command) == (None, None)
    # Every failed check is still told, with all but the state that its reader can fetch.
    assert outcome.data.failures == [
        failed.model_copy(update={"current": None}) for failed in getattr(verdict, "failures", [])
    ]
    assert len(outcome.data.failures or []) == 40
    assert '"current"' not in event.body


def test_conflict_up_to_4_mib_is_whole() -> None:
    before, sent = many(2, 2200)
    verdict = decided(before, sent)
    outcome = parse_outcome(event_of(sent, verdict).body)
    assert isinstance(outcome, Conflict)
    assert not outcome.data.truncated
    assert outcome.data == verdict
    assert [len((failed.current or {})["allocations"]) for failed in outcome.data.failures or []] == [2200, 2200]
