"""Held messages in the database: whose turn it is, and what a clock that was wrong cannot put off."""

from dataclasses import replace
from datetime import timedelta

import pytest

from genlock.service.database.transactions import Pool
from genlock.service.ledger.held import BEHIND_BYTES_MAX, HeldMessage, HeldTable, NotHeldError
from genlock.service.ledger.waiting import LONGEST
from tests.support.database import Connection
from tests.support.deciders import decider_on
from tests.support.factories import new_id, put

LEASE_S = 5.0


def message(*records: str) -> HeldMessage:
    return HeldMessage(new_id(), b"", "commands", b"document.put", b"", b"{}", False, frozenset(records), "the test")


@pytest.fixture
def table(pool: Pool) -> HeldTable:
    return HeldTable(pool, timeout_s=5, pause_max_s=5)


async def test_first_of_a_record_is_claimed_and_the_next_one_when_it_is_gone(table: HeldTable) -> None:
    await table.add([message("a"), message("a", "b"), message("b"), message("c")])
    first, other = await table.claim(LEASE_S), await table.claim(LEASE_S)
    assert first is not None
    assert other is not None
    assert (first.records, other.records) == (frozenset("a"), frozenset("c"))
    assert await table.claim(LEASE_S) is None
    await table.remove([first])
    then = await table.claim(LEASE_S)
    assert then is not None
    assert then.records == {"a", "b"}


async def test_messages_that_follow_are_read_up_to_a_limit_in_bytes(table: HeldTable) -> None:
    large = [replace(message("a"), body=bytes(BEHIND_BYTES_MAX // 2 + 1)) for _ in range(4)]
    await table.add([message("a"), *large])
    first = await table.claim(LEASE_S)
    assert first is not None
    behind = await table.behind(first)
    assert [len(one.body) for one in behind] == [BEHIND_BYTES_MAX // 2 + 1] * 2
    await table.remove([first, *behind])
    then = await table.claim(LEASE_S)
    assert then is not None
    assert len(await table.behind(then)) == 1


async def test_message_that_was_put_off_by_a_clock_ahead_is_tried_at_once(table: HeldTable, second: Connection) -> None:
    await table.add([message("a")])
    await second.execute("UPDATE held_messages SET next_at = clock_timestamp() + $1::interval", timedelta(days=20))
    assert await table.next_try_s() == 0
    claimed = await table.claim(LEASE_S)
    assert claimed is not None
    assert await table.claim(LEASE_S) is None
    left_s = await table.next_try_s()
    assert left_s is not None
    assert 0 < left_s <= LEASE_S


async def test_message_is_put_off_for_the_longest_pause_by_a_clock_that_is_right(
    table: HeldTable, second: Connection
) -> None:
    await table.add([message("a")])
    await second.execute("UPDATE held_messages SET next_at = clock_timestamp() + $1::interval", LONGEST)
    assert await table.claim(LEASE_S) is None
    assert await table.next_try_s() == pytest.approx(LONGEST.total_seconds(), abs=60)


async def test_message_that_is_being_dropped_is_decided_by_no_replica(pool: Pool, table: HeldTable) -> None:
    dropped, kept = put(new_id(), None), put(new_id(), None)
    messages = [replace(message(command.id), command_id=command.id) for command in (dropped, kept)]
    await table.add(messages)
    claimed = await table.claim(LEASE_S)
    assert claimed is not None
    decider = decider_on(pool, heed_held=False)
    async with table.dropping([claimed.position]):
        with pytest.raises(NotHeldError):
            await decider.decide([dropped], patient=True)
    with pytest.raises(NotHeldError):
        await decider.decide([dropped], patient=True)
    assert len((await decider.decide([kept], patient=True)).events) == 1
    assert await pool.fetchval("SELECT array_agg(id::text) FROM ledger") == [kept.id]


async def test_message_that_was_dropped_while_it_was_tried_leaves_nothing_behind(
    table: HeldTable, second: Connection
) -> None:
    await table.add([message("a")])
    claimed = await table.claim(LEASE_S)
    assert claimed is not None
    async with table.dropping([claimed.position]) as there:
        assert [one.position for one in there] == [claimed.position]
    await table.put_off(claimed, frozenset({"a", "b"}), "the test")
    await table.add([message("b")])
    assert await table.claim(LEASE_S) is not None
    assert await second.fetchval("SELECT count(*) FROM held") == 1
