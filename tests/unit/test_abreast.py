"""Which batches are decided at once, and which wait for one another."""

import asyncio

import pytest

from genlock.consumers.abreast import AT_ONCE, Abreast, Touches
from genlock.schemas.decode import Command
from tests.factories import new_id, put
from tests.provider_factories import create_provider

FULL = 4
"""So that a single command is worth a batch."""


def enter(abreast: Abreast, *commands: Command, alone: bool = False) -> Touches:
    """Enter, which must be possible."""
    touches = abreast.enter(commands, alone=alone)
    assert touches is not None
    return touches


def test_batches_of_different_records_enter_up_to_the_limit() -> None:
    abreast = Abreast(full=FULL)
    inside = [enter(abreast, put(new_id(), 0)) for _ in range(AT_ONCE)]
    assert abreast.enter([put(new_id(), 0)], alone=False) is None
    abreast.leave(inside[0])
    enter(abreast, put(new_id(), 0))


DOCUMENT, PARENT = new_id(), new_id()
COPIED = put(new_id(), 0)


@pytest.mark.parametrize(
    ("first", "then"),
    [
        (put(DOCUMENT, 0), put(DOCUMENT, 1)),
        (create_provider(new_id(), "a name"), create_provider(new_id(), "a name")),
        (create_provider(PARENT), create_provider(new_id(), parent_id=PARENT)),
        (COPIED, COPIED),
    ],
    ids=["a record", "a name", "a parent", "a command"],
)
def test_a_batch_waits_for_the_one_that_touches_the_same(first: Command, then: Command) -> None:
    abreast = Abreast(full=FULL)
    inside = enter(abreast, first)
    batch = [put(new_id(), 0), then]
    assert abreast.enter(batch, alone=False) is None
    abreast.leave(inside)
    enter(abreast, *batch)


def test_who_is_to_be_alone_waits_for_all_and_all_for_them() -> None:
    abreast = Abreast(full=FULL)
    before = enter(abreast, put(new_id(), 0))
    assert abreast.enter([put(new_id(), 0)], alone=True) is None
    abreast.leave(before)
    alone = enter(abreast, put(new_id(), 0), alone=True)
    assert abreast.enter([put(new_id(), 0)], alone=False) is None
    abreast.leave(alone)
    enter(abreast, put(new_id(), 0))


def test_a_batch_that_is_small_for_its_limit_enters_only_where_there_is_no_other() -> None:
    abreast = Abreast(full=5 * FULL)
    small, large = ([put(new_id(), 0) for _ in range(size)] for size in (FULL, FULL + 1))
    inside = enter(abreast, *small)
    assert abreast.enter(small, alone=False) is None
    enter(abreast, *large)
    abreast.leave(inside)
    assert abreast.enter([put(new_id(), 0) for _ in range(FULL)], alone=False) is None


async def test_who_waits_hears_of_the_next_that_leaves() -> None:
    abreast = Abreast(full=FULL)
    inside = enter(abreast, put(new_id(), 0))
    waiting = asyncio.create_task(abreast.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    abreast.leave(inside)
    await waiting
