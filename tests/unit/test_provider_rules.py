"""The rules of providers, each outcome of each command: creation, names, tokens, deletion. Trees are elsewhere."""

from dataclasses import replace

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import GenerationToken, RejectedData, SucceededData
from genlock.service.kinds.providers.record import Provider
from genlock.service.kinds.providers.rules import put_inventory
from genlock.service.kinds.providers.trees import Trees
from tests.support.factories import Json, accepted, conflicting, key, new_id, put, refused_command, turned_down
from tests.support.provider_factories import (
    below,
    create_provider,
    delete_provider,
    deleted_provider,
    forest,
    provider_at,
    provider_command,
    provider_of,
    rename_provider,
    shown,
)

VERBS = ("update", "delete", "set_inventories", "put_inventory", "delete_inventory", "set_traits", "set_aggregates")
"""All but create."""


def test_provider_is_created_at_generation_0_and_sequence_1() -> None:
    state, provider = forest(), new_id()
    create = create_provider(provider, "compute é")
    verdict = accepted(state, create)
    assert (verdict.kind, verdict.id, verdict.sequence) == ("provider", provider, 1)
    assert verdict.token == GenerationToken(generation=0)
    assert verdict.tokens is None
    assert verdict.record == {
        "id": provider,
        "name": "compute é",
        "generation": 0,
        "parent_id": None,
        "root_id": provider,
        "inventories": {},
        "traits": [],
        "aggregates": [],
    }
    record = provider_of(state, provider)
    assert (record.generation, record.sequence, record.deleted) == (0, 1, False)
    assert (record.maker.command_id, record.maker.type) == (create.id, "provider.create")
    assert (record.maker.source, record.maker.time) == ("/tests", "2026-03-01T12:00:00.000000Z")


def test_provider_that_exists_is_not_created() -> None:
    provider = provider_at(7)
    state = forest(provider)
    # Existence comes first: the name and the parent are as bad as they can be.
    create = create_provider(provider.id, provider.provider_name, parent_id=new_id())
    verdict = conflicting(state, create)
    assert (verdict.reason, verdict.expected) == (Reason.EXISTS, None)
    assert verdict.actual == GenerationToken(generation=7)
    assert verdict.winner == provider.maker.winner
    assert verdict.current == shown(provider)
    assert verdict.command == create.echo
    assert verdict.sequence == 8
    assert state.records == {key(provider): provider}


def test_provider_created_again_goes_on_from_its_tombstone_and_has_nothing_of_its_former_self() -> None:
    parent, tombstone = provider_at(3), deleted_provider(8)
    create = create_provider(tombstone.id, "again", parent_id=parent.id)
    verdict = accepted(forest(parent, tombstone), create)
    assert verdict.token == GenerationToken(generation=9)
    assert verdict.sequence == tombstone.sequence + 1
    assert verdict.record == shown(tombstone, name="again", generation=9, parent_id=parent.id, root_id=parent.id)


def test_author_who_read_the_provider_before_its_deletion_is_stale() -> None:
    state, provider = forest(), new_id()
    state.part(Trees).children[provider] = set()
    accepted(state, create_provider(provider), rename_provider(provider, 0, "new"), delete_provider(provider, 1))
    accepted(state, create_provider(provider))
    verdict = conflicting(state, rename_provider(provider, 1, "newer"))
    assert (verdict.reason, verdict.actual) == (Reason.STALE, GenerationToken(generation=3))


@pytest.mark.parametrize("verb", VERBS)
def test_each_change_takes_the_next_generation_and_names_its_maker(verb: str) -> None:
    provider = provider_at(7)
    state = forest(provider)
    sent = provider_command(verb, provider.id, expected_generation=7)
    verdict = accepted(state, sent)
    assert verdict.token == GenerationToken(generation=8)
    assert verdict.sequence == provider.sequence + 1
    record = provider_of(state, provider.id)
    assert (record.generation, record.sequence) == (8, 9)
    assert (record.maker.command_id, record.maker.type) == (sent.id, f"provider.{verb}")
    assert verdict.record == (None if verb == "delete" else shown(record))


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("expected", "reason"), [(0, Reason.STALE), (6, Reason.STALE), (8, Reason.AHEAD), (2**63 - 1, Reason.AHEAD)]
)
def test_other_generation_is_not_applied(verb: str, expected: int, reason: Reason) -> None:
    root = provider_at(0)
    provider = below(root, 7)
    state = forest(root, provider)
    sent = provider_command(verb, provider.id, expected_generation=expected)
    verdict = conflicting(state, sent)
    assert verdict.reason is reason
    assert (verdict.kind, verdict.id, verdict.sequence) == ("provider", provider.id, 8)
    assert verdict.expected == GenerationToken(generation=expected)
    assert verdict.actual == GenerationToken(generation=7)
    assert verdict.winner == provider.maker.winner
    assert verdict.current == shown(provider, root_id=root.id)
    assert verdict.command == sent.echo
    assert verdict.retry.allowed
    assert state.records == {key(root): root, key(provider): provider}


@pytest.mark.parametrize("verb", VERBS)
def test_provider_that_never_was_is_missing(verb: str) -> None:
    verdict = conflicting(forest(), provider_command(verb, new_id(), expected_generation=3))
    assert (verdict.reason, verdict.sequence) == (Reason.MISSING, 0)
    assert verdict.expected == GenerationToken(generation=3)
    assert (verdict.actual, verdict.winner, verdict.current) == (None, None, None)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("expected", [3, 4])
def test_deleted_provider_is_missing_and_its_winner_is_its_deleter(verb: str, expected: int) -> None:
    provider = deleted_provider(4)
    state = forest(provider)
    verdict = conflicting(state, provider_command(verb, provider.id, expected_generation=expected))
    assert (verdict.reason, verdict.sequence) == (Reason.MISSING, 5)
    assert (verdict.actual, verdict.current) == (None, None)
    assert verdict.winner == provider.maker.winner
    assert state.records == {key(provider): provider}


def test_first_of_two_authors_wins_and_the_second_is_told_the_winner() -> None:
    provider = provider_at(7)
    first = provider_command("set_traits", provider.id, expected_generation=7, traits=["CUSTOM_ONE"])
    second = provider_command("set_traits", provider.id, expected_generation=7, traits=["CUSTOM_TWO"])
    state = forest(provider)
    verdict = conflicting(state, first, second)
    assert verdict.reason is Reason.STALE
    assert verdict.winner is not None
    assert verdict.winner.command_id == first.id
    assert verdict.current == shown(provider, generation=8, traits=["CUSTOM_ONE"])
    assert provider_of(state, provider.id).traits == {"CUSTOM_ONE"}


def bad_but_stale(verb: str, provider: Provider) -> Command:
    """A command whose token is stale, and which would be rejected if it were not."""
    bad: dict[str, Json] = {
        "update": {"name": "taken", "parent_id": new_id()},
        "set_inventories": {"inventories": {"NOPE": {"total": 1}}},
        "put_inventory": {"resource_class": "NOPE"},
        "delete_inventory": {"resource_class": "NOPE"},
        "set_traits": {"traits": ["NOPE"]},
    }
    return provider_command(verb, provider.id, expected_generation=6, **bad.get(verb, {}))


@pytest.mark.parametrize("verb", VERBS)
def test_token_is_checked_before_references_and_names(verb: str) -> None:
    provider, other = provider_at(7), provider_at(1, provider_name="taken")
    verdict = conflicting(forest(provider, other, below(provider)), bad_but_stale(verb, provider))
    assert verdict.reason is Reason.STALE


@pytest.mark.parametrize("verb", VERBS)
def test_expected_generation_is_required(verb: str) -> None:
    valid = provider_command(verb, new_id(), expected_generation=0).echo.data
    assert valid is not None
    without = {name: value for name, value in valid.items() if name != "expected_generation"}
    for data in (without, without | {"expected_generation": None}):
        refusal = refused_command(f"provider.{verb}", new_id(), data).data
        assert getattr(refusal, "code", None) is Code.INVALID_DATA


def test_command_that_made_the_current_generation_succeeds_again_when_the_ledger_has_forgotten_it() -> None:
    provider = provider_at(7)
    state = forest(provider)
    sent = rename_provider(provider.id, 7, "new")
    first = accepted(state, sent)
    assert accepted(state, sent) == first
    assert provider_of(state, provider.id).generation == 8


# Names.


def test_rename_changes_the_name_alone() -> None:
    root = provider_at(0)
    provider = below(root, 7)
    verdict = accepted(forest(root, provider), rename_provider(provider.id, 7, "new"))
    assert verdict.record == shown(provider, generation=8, name="new", root_id=root.id)


def test_name_of_another_live_provider_is_a_duplicate() -> None:
    owner, other = provider_at(0, provider_name="taken"), provider_at(3)
    for sent, sequence in ((create_provider(new_id(), "taken"), 0), (rename_provider(other.id, 3, "taken"), 4)):
        state = forest(owner, other)
        verdict = turned_down(state, sent)
        assert (verdict.code, verdict.sequence) == (Code.DUPLICATE_NAME, sequence)
        assert owner.id in verdict.message
        assert verdict.command == sent.echo
        assert state.records == {key(owner): owner, key(other): other}


def test_provider_may_be_renamed_to_the_name_that_it_has() -> None:
    provider = provider_at(7, provider_name="same")
    state = forest(provider)
    verdict = accepted(state, rename_provider(provider.id, 7, "same"))
    assert verdict.record == shown(provider, generation=8)
    assert turned_down(state, create_provider(new_id(), "same")).code is Code.DUPLICATE_NAME


def test_names_are_compared_letter_by_letter() -> None:
    assert accepted(forest(provider_at(0, provider_name="a")), create_provider(new_id(), "A")).record is not None


def test_two_providers_swap_their_names_within_a_batch() -> None:
    one, other = provider_at(0, provider_name="red"), provider_at(0, provider_name="blue")
    state = forest(one, other)
    accepted(state, rename_provider(one.id, 0, "free"), rename_provider(other.id, 0, "red"))
    accepted(state, rename_provider(one.id, 1, "blue"))
    assert state.names == {("provider", "red"): other.id, ("provider", "blue"): one.id}


def test_name_freed_by_a_delete_in_the_same_batch_can_be_taken() -> None:
    owner, new = provider_at(2, provider_name="wanted"), new_id()
    verdict = accepted(forest(owner), delete_provider(owner.id, 2), create_provider(new, "wanted"))
    assert verdict.id == new


def test_name_freed_by_a_rename_in_the_same_batch_can_be_taken() -> None:
    owner = provider_at(2, provider_name="wanted")
    state = forest(owner)
    accepted(state, rename_provider(owner.id, 2, "other"), create_provider(new_id(), "wanted"))
    assert turned_down(state, create_provider(new_id(), "other")).code is Code.DUPLICATE_NAME


def test_name_of_a_tombstone_is_free() -> None:
    tombstone = deleted_provider(2, provider_name="wanted")
    assert accepted(forest(tombstone), create_provider(new_id(), "wanted")).record is not None


def test_name_of_a_stack_is_no_name_of_a_provider() -> None:
    state = forest()
    state.names["stack", "wanted"] = new_id()
    assert accepted(state, create_provider(new_id(), "wanted")).record is not None


def test_refused_command_takes_no_name() -> None:
    provider = provider_at(7)
    state = forest(provider)
    turned_down(state, create_provider(new_id(), "wanted", parent_id=new_id()))
    conflicting(state, rename_provider(provider.id, 6, "wanted"))
    assert accepted(state, create_provider(new_id(), "wanted")).record is not None


@pytest.mark.parametrize("data", [{}, {"name": None}, {"name": ""}, {"name": "x" * 256}, {"name": 1}])
def test_update_without_anything_to_change_or_with_a_bad_name_is_invalid(data: Json) -> None:
    refusal = refused_command("provider.update", new_id(), {"expected_generation": 0, **data}).data
    assert getattr(refusal, "code", None) is Code.INVALID_DATA


@pytest.mark.parametrize("data", [{}, {"name": None}, {"name": ""}, {"name": "x" * 256}])
def test_creation_needs_a_name(data: Json) -> None:
    refusal = refused_command("provider.create", new_id(), data).data
    assert getattr(refusal, "code", None) is Code.INVALID_DATA


def test_names_of_255_characters_are_taken() -> None:
    name = "é" * 255
    assert (accepted(forest(), create_provider(new_id(), name)).record or {})["name"] == name


# Deletion.


def test_delete_leaves_a_tombstone_that_holds_nothing() -> None:
    root = provider_at(0)
    provider = below(root, 7)
    state = forest(root, provider)
    verdict = accepted(state, delete_provider(provider.id, 7))
    assert (verdict.record, verdict.token) == (None, GenerationToken(generation=8))
    tombstone = provider_of(state, provider.id)
    assert tombstone.deleted
    assert (tombstone.parent_id, tombstone.name) == (None, None)
    assert (tombstone.inventories, tombstone.traits, tombstone.aggregates) == ({}, frozenset(), frozenset())
    assert state.names == {("provider", root.provider_name): root.id}


def test_record_of_another_kind_under_the_same_id_is_another_record() -> None:
    provider = provider_at(7)
    state = forest(provider)
    assert accepted(state, put(provider.id, None)).sequence == 1
    assert provider_of(state, provider.id) == replace(provider, root_id=provider.id)


def test_provider_has_no_more_inventories_than_a_command_can_read() -> None:
    provider = provider_at(3)
    state = forest(provider)
    grown = provider_command("put_inventory", provider.id, expected_generation=3, resource_class="CUSTOM_THIRD")
    replaced = provider_command("put_inventory", provider.id, expected_generation=3, resource_class="CUSTOM_GOLD")
    refused = put_inventory(state, grown, grown.data, "", most=2).verdict  # type: ignore[arg-type]
    assert isinstance(refused, RejectedData)
    assert refused.code is Code.TOO_LARGE
    assert refused.message == f"The provider {provider.id} has 2 inventories, and may have no more than 2."
    [entry] = refused.errors
    assert (entry.code, entry.path, entry.value) == (Code.TOO_LARGE, "data.resource_class", "CUSTOM_THIRD")
    assert entry.constraints == {"maxProperties": 2}
    # Those that are there can be changed, also where there are more.
    for most in (1, 2):
        decision = put_inventory(state, replaced, replaced.data, "", most=most)  # type: ignore[arg-type]
        assert isinstance(decision.verdict, SucceededData)
    accepted(state, grown)
