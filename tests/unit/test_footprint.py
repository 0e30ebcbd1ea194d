"""When two footprints are disjoint, so that batches with them may be decided at once, and what a copy shares."""

from dataclasses import replace

import pytest

from genlock.schemas.decode import Command
from genlock.service.kinds.registry import KINDS
from tests.support.factories import new_id, put
from tests.support.provider_factories import create_provider, move_provider

RECORD, PARENT = new_id(), new_id()
SENT = put(new_id(), 0)


def below(parent_id: str) -> Command:
    return create_provider(new_id(), new_id(), parent_id=parent_id)


@pytest.mark.parametrize(
    ("one", "other", "disjoint"),
    [
        (put(new_id(), 0), put(new_id(), 0), True),
        (put(RECORD, 0), put(RECORD, 1), False),
        (put(RECORD, 0), create_provider(RECORD, new_id()), True),
        (create_provider(new_id(), "a name"), create_provider(new_id(), "a name"), False),
        (create_provider(PARENT, new_id()), below(PARENT), False),
        (below(PARENT), below(PARENT), True),
        (SENT, SENT, False),
    ],
    ids=["other records", "one record", "kinds with one id", "one name", "read and changed", "read by both", "a copy"],
)
def test_footprints_are_disjoint_if_neither_changes_what_the_other_touches(
    one: Command, other: Command, *, disjoint: bool
) -> None:
    first, second = KINDS.footprint_of([one]), KINDS.footprint_of([other])
    assert first.disjoint(second) is disjoint
    assert second.disjoint(first) is disjoint


def test_a_copy_with_one_id_and_other_content_is_not_disjoint() -> None:
    assert not KINDS.footprint_of([SENT]).disjoint(KINDS.footprint_of([replace(put(new_id(), 0), id=SENT.id)]))


def test_a_copy_is_widened_by_itself() -> None:
    moved = new_id()
    footprint = KINDS.footprint_of([move_provider(moved, 0, PARENT)])
    copy = footprint.copy()
    copy.change("provider", PARENT)
    copy.read("document", RECORD)
    assert copy.may_change(("provider", PARENT))
    assert not footprint.may_change(("provider", PARENT))
    assert not footprint.touches("document")
    assert copy.parts == footprint.parts
