"""Which batches are decided at once, and which wait for one another."""

import asyncio

import pytest

from genlock.consumers.commands.overlap import AT_ONCE, ConcurrentBatches
from genlock.schemas.decode import Command
from genlock.service.deciding.footprint import Footprint
from genlock.service.kinds.registry import KINDS
from tests.support.factories import new_id, put
from tests.support.provider_factories import create_provider

FULL = 4
"""So small that a single command counts as a full batch."""


def enter(concurrent: ConcurrentBatches, *commands: Command, exclusive: bool = False) -> Footprint:
    """Enter, which must be possible."""
    footprint = concurrent.enter(commands, exclusive=exclusive)
    assert footprint is not None
    return footprint


def test_batches_of_different_records_enter_up_to_the_limit() -> None:
    concurrent = ConcurrentBatches(KINDS, full=FULL)
    inside = [enter(concurrent, put(new_id(), 0)) for _ in range(AT_ONCE)]
    assert concurrent.enter([put(new_id(), 0)], exclusive=False) is None
    concurrent.leave(inside[0])
    enter(concurrent, put(new_id(), 0))


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
    concurrent = ConcurrentBatches(KINDS, full=FULL)
    inside = enter(concurrent, first)
    batch = [put(new_id(), 0), then]
    assert concurrent.enter(batch, exclusive=False) is None
    concurrent.leave(inside)
    enter(concurrent, *batch)


def test_exclusive_batch_waits_for_all_and_all_for_it() -> None:
    concurrent = ConcurrentBatches(KINDS, full=FULL)
    before = enter(concurrent, put(new_id(), 0))
    assert concurrent.enter([put(new_id(), 0)], exclusive=True) is None
    concurrent.leave(before)
    exclusive = enter(concurrent, put(new_id(), 0), exclusive=True)
    assert concurrent.enter([put(new_id(), 0)], exclusive=False) is None
    concurrent.leave(exclusive)
    enter(concurrent, put(new_id(), 0))


def test_a_batch_that_is_small_for_its_limit_enters_only_where_there_is_no_other() -> None:
    concurrent = ConcurrentBatches(KINDS, full=5 * FULL)
    small, large = ([put(new_id(), 0) for _ in range(size)] for size in (FULL, FULL + 1))
    inside = enter(concurrent, *small)
    assert concurrent.enter(small, exclusive=False) is None
    enter(concurrent, *large)
    concurrent.leave(inside)
    assert concurrent.enter([put(new_id(), 0) for _ in range(FULL)], exclusive=False) is None


async def test_waiting_batch_hears_of_the_next_that_leaves() -> None:
    concurrent = ConcurrentBatches(KINDS, full=FULL)
    inside = enter(concurrent, put(new_id(), 0))
    waiting = asyncio.create_task(concurrent.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    concurrent.leave(inside)
    await waiting
