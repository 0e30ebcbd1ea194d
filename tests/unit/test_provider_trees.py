"""Trees of providers: parents, moves, loops, and what may be deleted."""

import pytest

from genlock.schemas.codes import Code, Reason
from genlock.service.deciding.footprint import Footprint
from genlock.service.deciding.state import State
from genlock.service.kinds.providers.record import Provider
from genlock.service.kinds.providers.trees import TreeFootprint, Trees, ancestors_of, root_of
from genlock.service.kinds.registry import KINDS
from tests.support.factories import accepted, conflicting, key, new_id, turned_down
from tests.support.provider_factories import (
    below,
    create_provider,
    delete_provider,
    deleted_provider,
    forest,
    move_provider,
    provider_at,
    provider_command,
    provider_of,
    shown,
)


def line(length: int) -> list[Provider]:
    """A root and its descendants, one below the other."""
    providers = [provider_at(0)]
    for generation in range(1, length):
        providers.append(below(providers[-1], generation))
    return providers


def test_provider_is_created_below_its_parent_and_has_the_root_of_it() -> None:
    root, middle = line(2)
    provider = new_id()
    verdict = accepted(forest(root, middle), create_provider(provider, parent_id=middle.id))
    assert verdict.record is not None
    assert (verdict.record["parent_id"], verdict.record["root_id"]) == (middle.id, root.id)


def test_parent_and_child_are_created_in_one_batch() -> None:
    state, parent, child = forest(), new_id(), new_id()
    verdict = accepted(state, create_provider(parent), create_provider(child, parent_id=parent))
    assert verdict.record is not None
    assert verdict.record["root_id"] == parent


def test_parent_is_untouched_by_what_happens_below_it() -> None:
    root = provider_at(4)
    state = forest(root)
    verdict = accepted(state, create_provider(new_id(), parent_id=root.id))
    assert verdict.tokens is None
    assert state.records[key(root)] is root


@pytest.mark.parametrize("tombstone", [False, True])
def test_parent_that_is_not_there_is_not_found(tombstone: bool) -> None:
    provider = provider_at(7)
    parent = deleted_provider(3)
    for sent, sequence in (
        (create_provider(new_id(), parent_id=parent.id), 0),
        (move_provider(provider.id, 7, parent.id), 8),
    ):
        state = forest(provider, *[parent] if tombstone else [])
        before = dict(state.records)
        verdict = turned_down(state, sent)
        assert (verdict.code, verdict.sequence) == (Code.PARENT_NOT_FOUND, sequence)
        assert parent.id in verdict.message
        assert verdict.command == sent.echo
        assert state.records == before


def test_parent_that_the_batch_has_deleted_before_is_not_found() -> None:
    parent, provider = provider_at(0), provider_at(7)
    state = forest(parent, provider)
    accepted(state, delete_provider(parent.id, 0))
    for sent in (create_provider(new_id(), parent_id=parent.id), move_provider(provider.id, 7, parent.id)):
        assert turned_down(state, sent).code is Code.PARENT_NOT_FOUND


def test_parent_that_the_batch_has_created_again_is_found() -> None:
    parent, provider = deleted_provider(3), provider_at(7)
    verdict = accepted(forest(parent, provider), create_provider(parent.id), move_provider(provider.id, 7, parent.id))
    assert verdict.record == shown(provider, generation=8, parent_id=parent.id, root_id=parent.id)


def test_provider_is_not_created_below_itself() -> None:
    for provider in (new_id(), deleted_provider(3).id):
        assert turned_down(forest(), create_provider(provider, parent_id=provider)).code is Code.PARENT_LOOP


def test_provider_is_not_moved_below_itself() -> None:
    provider = provider_at(7)
    verdict = turned_down(forest(provider), move_provider(provider.id, 7, provider.id))
    assert (verdict.code, verdict.sequence) == (Code.PARENT_LOOP, 8)


@pytest.mark.parametrize("mover", [0, 1])
@pytest.mark.parametrize("depth", [1, 2, 8])
def test_provider_is_not_moved_below_its_descendant(mover: int, depth: int) -> None:
    providers = line(12)
    state = forest(*providers)
    moved, parent = providers[mover], providers[mover + depth]
    verdict = turned_down(state, move_provider(moved.id, moved.generation, parent.id))
    assert verdict.code is Code.PARENT_LOOP
    assert state.records == {key(provider): provider for provider in providers}


def test_loop_that_two_moves_of_one_batch_would_make_is_refused() -> None:
    one, other = provider_at(0), provider_at(0)
    state = forest(one, other)
    verdict = turned_down(state, move_provider(one.id, 0, other.id), move_provider(other.id, 0, one.id))
    assert verdict.code is Code.PARENT_LOOP
    assert provider_of(state, one.id).root_id == other.id


def test_move_that_an_earlier_move_of_the_batch_makes_legal_is_applied() -> None:
    root, middle, leaf = line(3)
    state = forest(root, middle, leaf)
    accepted(state, move_provider(leaf.id, 2, None), move_provider(root.id, 0, leaf.id))
    assert provider_of(state, middle.id).root_id == leaf.id


def test_null_parent_makes_a_root() -> None:
    root, middle, leaf = line(3)
    state = forest(root, middle, leaf)
    verdict = accepted(state, move_provider(middle.id, 1, None))
    assert verdict.record == shown(middle, generation=2, parent_id=None, root_id=middle.id)
    assert provider_of(state, leaf.id).root_id == middle.id


def test_null_parent_leaves_a_root_where_it_is() -> None:
    root = provider_at(7)
    assert accepted(forest(root), move_provider(root.id, 7, None)).record == shown(root, generation=8)


def test_move_to_the_parent_that_it_has_is_applied() -> None:
    root, leaf = line(2)
    verdict = accepted(forest(root, leaf), move_provider(leaf.id, 1, root.id))
    assert verdict.record == shown(leaf, generation=2, root_id=root.id)


def test_rename_leaves_the_parent_as_it_is() -> None:
    root, leaf = line(2)
    verdict = accepted(forest(root, leaf), provider_command("update", leaf.id, expected_generation=1, name="new"))
    assert verdict.record == shown(leaf, generation=2, name="new", root_id=root.id)


def test_one_update_renames_and_moves_or_does_neither() -> None:
    root, leaf = line(2)
    other = provider_at(0, provider_name="taken")
    both = {"expected_generation": 1, "name": "new", "parent_id": other.id}
    verdict = accepted(forest(root, leaf, other), provider_command("update", leaf.id, **both))
    assert verdict.record == shown(leaf, generation=2, name="new", parent_id=other.id, root_id=other.id)
    for bad, code in (({"name": "taken"}, Code.DUPLICATE_NAME), ({"parent_id": new_id()}, Code.PARENT_NOT_FOUND)):
        state = forest(root, leaf, other)
        assert turned_down(state, provider_command("update", leaf.id, **both | bad)).code is code
        assert state.records[key(leaf)] is leaf


def test_root_of_all_below_follows_a_move_without_touching_them() -> None:
    root, middle, leaf = line(3)
    other = provider_at(0)
    state = forest(root, middle, leaf, other)
    verdict = accepted(state, move_provider(middle.id, 1, other.id))
    assert verdict.record == shown(middle, generation=2, parent_id=other.id, root_id=other.id)
    assert verdict.tokens is None
    assert state.records[key(leaf)] is leaf
    assert provider_of(state, leaf.id).root_id == other.id
    # The next read shows the new root, under the generation that it had before.
    verdict = accepted(state, provider_command("set_traits", leaf.id, expected_generation=2))
    assert verdict.record == shown(leaf, generation=3, traits=[], root_id=other.id)
    conflict = conflicting(state, provider_command("set_traits", leaf.id, expected_generation=2))
    assert conflict.reason is Reason.STALE
    assert conflict.current == verdict.record


def test_provider_with_children_is_not_deleted() -> None:
    root, leaf = line(2)
    state = forest(root, leaf)
    sent = delete_provider(root.id, 0)
    verdict = turned_down(state, sent)
    assert (verdict.code, verdict.sequence) == (Code.PROVIDER_HAS_CHILDREN, 1)
    assert leaf.id in verdict.message
    assert verdict.command == sent.echo
    assert state.records == {key(root): root, key(leaf): leaf}


def family() -> tuple[State, Provider, Provider, Provider]:
    """A root with two children."""
    root = provider_at(0)
    one, other = below(root), below(root)
    return forest(root, one, other), root, one, other


def test_provider_is_deleted_after_the_last_of_its_children() -> None:
    state, root, one, other = family()
    assert turned_down(state, delete_provider(one.id, 0), delete_provider(root.id, 0)).code == "provider_has_children"
    assert accepted(state, delete_provider(other.id, 0), delete_provider(root.id, 0)).record is None


def test_provider_is_deleted_after_its_children_were_moved_away() -> None:
    state, root, one, other = family()
    accepted(state, move_provider(one.id, 0, None))
    assert turned_down(state, delete_provider(root.id, 0)).code is Code.PROVIDER_HAS_CHILDREN
    assert accepted(state, move_provider(other.id, 0, one.id), delete_provider(root.id, 0)).record is None


@pytest.mark.parametrize("way", ["created", "moved"])
def test_provider_that_the_batch_gave_a_child_is_not_deleted(way: str) -> None:
    provider, other = provider_at(0), provider_at(0)
    sent = {
        "created": create_provider(new_id(), parent_id=provider.id),
        "moved": move_provider(other.id, 0, provider.id),
    }
    verdict = turned_down(forest(provider, other), sent[way], delete_provider(provider.id, 0))
    assert verdict.code is Code.PROVIDER_HAS_CHILDREN


def test_provider_created_again_may_stand_in_another_tree() -> None:
    root, leaf = line(2)
    other = provider_at(0)
    state = forest(root, leaf, other)
    verdict = accepted(state, delete_provider(leaf.id, 1), create_provider(leaf.id, "again", parent_id=other.id))
    assert verdict.record is not None
    assert (verdict.record["generation"], verdict.record["root_id"]) == (3, other.id)
    assert accepted(state, delete_provider(root.id, 0)).record is None
    assert turned_down(state, delete_provider(other.id, 0)).code is Code.PROVIDER_HAS_CHILDREN


def test_ancestors_of_a_broken_tree_end() -> None:
    """A loop in the table would be a fault elsewhere; it must not become an endless loop."""
    footprint = Footprint()
    footprint.read("provider", "a")
    state = KINDS.state(footprint)
    state.part(Trees).parents = {"a": "b", "b": "c", "c": "b"}
    assert ancestors_of(state, "a") == ["b", "c"]
    assert root_of(state, "a") == "c"


def test_move_below_a_provider_that_its_batch_creates_touches_the_tree_that_one_is_to_stand_in() -> None:
    moved, created, below, parent = (new_id() for _ in range(4))
    result = KINDS.footprint_of(
        [
            create_provider(below, parent_id=created),
            create_provider(created, parent_id=parent),
            move_provider(moved, 0, below),
        ]
    )
    assert result.part(TreeFootprint).moves == {moved, below, created, parent}
