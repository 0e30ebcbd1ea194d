"""Commands on several records: all or nothing, each provider once, and only the picture in the end must be legal."""

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.outcomes import GenerationToken, Shortage
from genlock.service.kinds.providers.record import Provider
from genlock.service.kinds.providers.trees import Trees
from tests.support.consumer_factories import (
    consumer_at,
    consumer_of,
    deleted_consumer,
    generations,
    placed,
    reshape,
    set_allocations,
    set_many,
    wanted,
    with_room,
)
from tests.support.factories import Json, accepted, conflicting, decided, new_id, turned_down
from tests.support.provider_factories import below, delete_provider, provider_command, provider_of, shown


def token(generation: int) -> GenerationToken:
    return GenerationToken(generation=generation)


def inventories(provider: Provider, **totals: int) -> dict[str, Json]:
    """Inventories for a reshape: plain ones of these totals, with the generation that the provider has."""
    plain = {name: {"total": total} for name, total in totals.items()}
    return {provider.id: {"expected_generation": provider.generation, "inventories": plain}}


def test_set_many_changes_all_its_consumers_and_tells_all_tokens() -> None:
    provider, other = with_room(5, VCPU=8), with_room(7, VCPU=8)
    moving, leaving = consumer_at(3, {provider.id: {"VCPU": 1}}), consumer_at(4, {provider.id: {"VCPU": 2}})
    coming, back = new_id(), deleted_consumer(6)
    state = placed([provider, other], moving, leaving, back)
    sent = set_many(
        {
            moving.id: wanted(3, {other.id: {"VCPU": 1}}),
            leaving.id: wanted(4, {}),
            coming: wanted(None, {provider.id: {"VCPU": 4}}, project_id="p", user_id="u", consumer_type="T"),
            back.id: wanted(None, {provider.id: {"VCPU": 4}}),
        }
    )
    verdict = accepted(state, sent)
    assert (verdict.kind, verdict.id, verdict.sequence) == ("consumer", None, 0)
    assert (verdict.record, verdict.token) == (None, None)
    assert verdict.tokens == {
        "consumer": {moving.id: token(4), leaving.id: token(5), coming: token(1), back.id: token(7)},
        # However many of the consumers touch a provider, it goes up by one.
        "provider": {provider.id: token(6), other.id: token(8)},
    }
    assert consumer_of(state, leaving.id).deleted
    created = consumer_of(state, coming)
    assert (created.project_id, created.user_id, created.consumer_type) == ("p", "u", "T")
    assert {consumer_of(state, name).maker.command_id for name in (moving.id, leaving.id, coming, back.id)} == {sent.id}
    assert provider_of(state, provider.id).used == {"VCPU": 8}
    assert provider_of(state, other.id).used == {"VCPU": 1}


def test_two_consumers_swap_two_full_providers() -> None:
    providers = [with_room(VCPU=8), with_room(VCPU=8)]
    one, other = (consumer_at(1, {provider.id: {"VCPU": 8}}) for provider in providers)
    state = placed(providers, one, other)
    to_one, to_other = wanted(1, other.allocations), wanted(1, one.allocations)
    # One after the other there is no room for it.
    assert turned_down(state, set_allocations(one.id, 1, other.allocations)).code is Code.CAPACITY_EXCEEDED
    accepted(state, set_many({one.id: to_one, other.id: to_other}))
    assert consumer_of(state, one.id).allocations == other.allocations
    assert consumer_of(state, other.id).allocations == one.allocations
    assert [provider_of(state, provider.id).used for provider in providers] == [{"VCPU": 8}] * 2
    assert generations(state, *(provider.id for provider in providers)) == [1, 1]


def test_one_consumer_takes_in_a_full_provider_what_another_gives_back() -> None:
    provider = with_room(VCPU=8)
    giver = consumer_at(1, {provider.id: {"VCPU": 8}})
    for amount, fits in ((3, True), (4, False)):
        state, taker = placed([provider], giver), new_id()
        sent = set_many(
            {taker: wanted(None, {provider.id: {"VCPU": amount}}), giver.id: wanted(1, {provider.id: {"VCPU": 5}})}
        )
        if fits:
            accepted(state, sent)
        else:
            assert turned_down(state, sent).code is Code.CAPACITY_EXCEEDED


def test_consumers_of_one_command_share_the_room_and_their_shortage_is_told_once() -> None:
    provider = with_room(VCPU=8)
    state = placed([provider], consumer_at(1, {provider.id: {"VCPU": 2}}))
    first, second = new_id(), new_id()
    sent = set_many({name: wanted(None, {provider.id: {"VCPU": 4}}) for name in (first, second)})
    verdict = turned_down(state, sent)
    assert (verdict.code, verdict.kind, verdict.id, verdict.sequence) == (
        Code.CAPACITY_EXCEEDED,
        "consumer",
        None,
        0,
    )
    assert verdict.shortages == [Shortage(provider_id=provider.id, resource_class="VCPU", asked=8, used=2, capacity=8)]
    assert [error.path for error in verdict.errors] == [
        f"data.consumers.{first}.allocations.{provider.id}.resources.VCPU"
    ]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (wanted(7, {}), Reason.MISSING),
        (wanted(None, {}), Code.NOT_FOUND),
        (wanted(None, {new_id(): {"VCPU": 1}}), Code.NOT_FOUND),
        (wanted(None, {"provider": {"VCPUS": 1}}), Code.UNKNOWN_RESOURCE_CLASS),
        (wanted(None, {"provider": {"VGPU": 1}}), Code.NO_INVENTORY),
        (wanted(None, {"provider": {"VCPU": 9}}), Code.CAPACITY_EXCEEDED),
        (wanted(None, {"provider": {"VCPU": 1}}, {"provider": 4}), Reason.STALE),
    ],
)
def test_one_that_fails_fails_all(bad: Json, why: Code | Reason) -> None:
    provider = with_room(5, VCPU=8)
    leaving = consumer_at(1, {provider.id: {"VCPU": 1}})
    allocations = {provider.id if name == "provider" else name: new for name, new in bad["allocations"].items()}
    good = {new_id(): wanted(None, {provider.id: {"VCPU": 1}}), leaving.id: wanted(1, {})}
    consumers = good | {new_id(): bad | {"allocations": allocations}}
    for sent in (set_many(consumers), reshape(inventories(provider, VCPU=8, DISK_GB=8), consumers)):
        state = placed([provider], leaving)
        before = dict(state.records)
        verdict = decided(state, sent)
        assert why in (getattr(verdict, "reason", None), getattr(verdict, "code", None))
        assert state.records == before


def test_all_failures_of_several_records_are_told_each_once() -> None:
    provider, other = with_room(5, VCPU=8), with_room(6, VCPU=8)
    stale, exists, fine = (consumer_at(3, {provider.id: {"VCPU": 1}}) for _ in range(3))
    absent = new_id()
    state = placed([provider, other], stale, exists, fine)
    amounts = {provider.id: {"VCPU": 1}}
    sent = reshape(
        inventories(other, VCPU=1) | {provider.id: {"expected_generation": 4, "inventories": {"VCPU": {"total": 9}}}},
        {
            fine.id: wanted(3, amounts, {provider.id: 4}),
            stale.id: wanted(2, amounts, {provider.id: 4}),
            exists.id: wanted(None, amounts, {provider.id: 5}),
            absent: wanted(9, amounts, {provider.id: 6}),
        },
    )
    verdict = conflicting(state, sent)
    assert [(failed.kind, failed.id, failed.reason, failed.expected) for failed in verdict.failures or []] == [
        ("consumer", stale.id, Reason.STALE, token(2)),
        ("consumer", exists.id, Reason.EXISTS, None),
        ("consumer", absent, Reason.MISSING, token(9)),
        # Each thing that was expected of the provider, once.
        ("provider", provider.id, Reason.STALE, token(4)),
        ("provider", provider.id, Reason.AHEAD, token(6)),
    ]
    assert (verdict.kind, verdict.id, verdict.sequence, verdict.reason) == ("consumer", stale.id, 3, Reason.STALE)
    assert (verdict.failures or [])[3].current == shown(provider)


def test_not_found_names_all_that_are_not_there() -> None:
    provider, gone, nowhere = with_room(VCPU=8), deleted_consumer(3), new_id()
    asking = new_id()
    sent = set_many({gone.id: wanted(None, {}), asking: wanted(None, {nowhere: {"VCPU": 1}, provider.id: {"VCPU": 1}})})
    verdict = turned_down(placed([provider], gone), sent)
    assert verdict.code is Code.NOT_FOUND
    assert [error.path for error in verdict.errors] == [
        f"data.consumers.{gone.id}",
        f"data.consumers.{asking}.allocations.{nowhere}",
    ]


# Reshape.


def test_class_loses_its_inventory_while_its_allocations_move_to_another_provider() -> None:
    root = with_room(5, VCPU=8, DISK_GB=100)
    child = below(root, 0, inventories={})
    one = consumer_at(1, {root.id: {"VCPU": 3, "DISK_GB": 10}})
    other = consumer_at(2, {root.id: {"VCPU": 5}})
    state = placed([root, child], one, other)
    moved = inventories(root, DISK_GB=100) | inventories(child, VCPU=8)
    # A consumer that is left behind keeps the class in use.
    verdict = turned_down(state, reshape(moved, {other.id: wanted(2, {child.id: {"VCPU": 5}})}))
    assert verdict.code is Code.INVENTORY_IN_USE
    assert "3 of VCPU are in use" in verdict.message
    assert [error.path for error in verdict.errors] == [f"data.inventories.{root.id}"]
    sent = reshape(
        moved,
        {
            one.id: wanted(1, {child.id: {"VCPU": 3}, root.id: {"DISK_GB": 10}}),
            other.id: wanted(2, {child.id: {"VCPU": 5}}),
        },
    )
    succeeded = accepted(state, sent)
    assert succeeded.tokens == {
        "consumer": {one.id: token(2), other.id: token(3)},
        "provider": {root.id: token(6), child.id: token(1)},
    }
    after = [provider_of(state, provider.id) for provider in (root, child)]
    assert [sorted(provider.inventories) for provider in after] == [["DISK_GB"], ["VCPU"]]
    assert [provider.used for provider in after] == [{"DISK_GB": 10}, {"VCPU": 8}]
    assert {provider.maker.command_id for provider in after} == {sent.id}


def test_reshape_asks_new_inventories_for_what_they_have() -> None:
    provider = with_room(5, VCPU=8)
    state = placed([provider], consumer_at(1, {provider.id: {"VCPU": 8}}))
    new = {new_id(): wanted(None, {provider.id: {"VCPU": 4, "DISK_GB": 7}})}
    accepted_one = reshape(inventories(provider, VCPU=12, DISK_GB=7), new)
    for totals in ({"VCPU": 11, "DISK_GB": 7}, {"VCPU": 12, "DISK_GB": 6}):
        assert turned_down(state, reshape(inventories(provider, **totals), new)).code is Code.CAPACITY_EXCEEDED
    assert turned_down(state, reshape(inventories(provider, VCPU=12), new)).code is Code.NO_INVENTORY
    accepted(state, accepted_one)


def test_class_that_the_consumer_still_asks_for_and_that_is_gone_in_the_end_is_no_inventory() -> None:
    provider = with_room(5, VCPU=8, DISK_GB=8)
    consumer = consumer_at(1, {provider.id: {"VCPU": 8}})
    sent = reshape(inventories(provider, DISK_GB=8), {consumer.id: wanted(1, consumer.allocations)})
    assert turned_down(placed([provider], consumer), sent).code is Code.NO_INVENTORY


@pytest.mark.parametrize(("amount", "fits"), [(6, True), (7, False)])
def test_reshape_may_shrink_below_the_use_but_gives_no_consumer_more(amount: int, fits: bool) -> None:
    provider = with_room(5, VCPU=8)
    consumer = consumer_at(1, {provider.id: {"VCPU": 6}})
    state = placed([provider], consumer)
    sent = reshape(inventories(provider, VCPU=4), {consumer.id: wanted(1, {provider.id: {"VCPU": amount}})})
    if fits:
        accepted(state, sent)
        assert provider_of(state, provider.id).used == {"VCPU": 6}
    else:
        assert turned_down(state, sent).code is Code.CAPACITY_EXCEEDED


def test_reshape_of_inventories_alone_changes_several_providers_or_none() -> None:
    one, other = with_room(5, VCPU=8), with_room(7, VCPU=8)
    state = placed([one, other], consumer_at(1, {one.id: {"VCPU": 2}}))
    before = dict(state.records)
    stale = inventories(one, VCPU=4) | {other.id: {"expected_generation": 6, "inventories": {}}}
    verdict = conflicting(state, reshape(stale, {}))
    assert (verdict.kind, verdict.id, verdict.sequence) == ("provider", other.id, 8)
    assert state.records == before
    accepted(state, reshape(inventories(one, VCPU=4) | inventories(other), {}))
    assert generations(state, one.id, other.id) == [6, 8]
    assert provider_of(state, one.id).used == {"VCPU": 2}
    assert provider_of(state, other.id).inventories == {}


def test_reshape_of_allocations_alone_is_like_set_many() -> None:
    provider = with_room(5, VCPU=8)
    state, consumer = placed([provider]), new_id()
    accepted(state, reshape({}, {consumer: wanted(None, {provider.id: {"VCPU": 8}})}))
    assert generations(state, consumer, provider.id) == [1, 6]


def test_generation_is_required_of_a_provider_that_gets_inventories_and_checked() -> None:
    provider, gone = with_room(5, VCPU=8), new_id()
    for name, expected, reason in (
        (provider.id, 4, Reason.STALE),
        (provider.id, 6, Reason.AHEAD),
        (gone, 0, Reason.MISSING),
    ):
        sent = reshape({name: {"expected_generation": expected, "inventories": {}}}, {})
        assert conflicting(placed([provider]), sent).reason is reason


def test_unknown_class_in_a_reshape_is_told_wherever_it_stands() -> None:
    provider = with_room(5, VCPU=8)
    asked: Json = {new_id(): wanted(None, {provider.id: {"DISKS": 1}})}
    verdict = turned_down(placed([provider]), reshape(inventories(provider, VCPUS=8), asked))
    assert verdict.code is Code.UNKNOWN_RESOURCE_CLASS
    assert "VCPUS" in verdict.message
    assert "DISKS" in verdict.message


# With providers in one batch.


def test_commands_of_providers_and_consumers_build_on_one_another() -> None:
    state, provider, consumer = placed([]), new_id(), new_id()
    state.part(Trees).children[provider] = set()
    accepted(
        state,
        provider_command("create", provider),
        provider_command("put_inventory", provider, expected_generation=0),
        set_allocations(consumer, None, {provider: {"VCPU": 8}}, {provider: 1}),
        provider_command("put_inventory", provider, expected_generation=2, resource_class="DISK_GB"),
    )
    assert turned_down(state, delete_provider(provider, 3)).code is Code.PROVIDER_IN_USE
    accepted(state, set_many({consumer: wanted(1, {})}), delete_provider(provider, 4))
    assert generations(state, consumer, provider) == [2, 5]


def test_provider_command_that_did_not_see_the_allocation_is_stale_and_told_its_maker() -> None:
    provider = with_room(5, VCPU=8)
    allocating = set_allocations(new_id(), None, {provider.id: {"VCPU": 1}})
    stale = provider_command("put_inventory", provider.id, expected_generation=5)
    verdict = conflicting(placed([provider]), allocating, stale)
    assert (verdict.reason, verdict.actual) == (Reason.STALE, token(6))
    assert verdict.winner is not None
    assert (verdict.winner.command_id, verdict.winner.type) == (allocating.id, "consumer.set_allocations")


# Commands whose ledger rows have expired.


def test_forgotten_set_many_and_reshape_succeed_again_with_the_tokens_that_are_still_theirs() -> None:
    provider, other = with_room(5, VCPU=8), with_room(7, VCPU=8)
    one, two = new_id(), new_id()
    consumers = {one: wanted(None, {provider.id: {"VCPU": 1}}), two: wanted(None, {other.id: {"VCPU": 1}})}
    for sent in (set_many(consumers), reshape(inventories(provider, VCPU=4), consumers)):
        state = placed([provider, other])
        first = accepted(state, sent)
        before = dict(state.records)
        assert accepted(state, sent) == first
        assert state.records == before
        accepted(state, set_allocations(one, 1, {provider.id: {"VCPU": 2}}))
        assert accepted(state, sent).tokens == {"consumer": {two: token(1)}, "provider": {other.id: token(8)}}


def test_forgotten_command_of_which_no_token_is_left_is_decided_as_if_it_were_new() -> None:
    provider, consumer = with_room(5, VCPU=8), new_id()
    state = placed([provider])
    sent = set_many({consumer: wanted(None, {provider.id: {"VCPU": 1}})})
    accepted(state, sent, set_allocations(consumer, 1, {provider.id: {"VCPU": 2}}))
    assert conflicting(state, sent).reason is Reason.EXISTS
