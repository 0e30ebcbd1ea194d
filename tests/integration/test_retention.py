"""Retention: expired rows are purged, a slice at a time; unconfirmed batches and histories stay."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from genlock.cli import proof
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Rejected
from genlock.service.database.transactions import Pool
from genlock.service.database.verify import remembered_since, verify
from genlock.service.deciding.decide import Decider
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.retention import Retention
from tests.support.ageing import age
from tests.support.database import Connection
from tests.support.factories import merge, new_id, put
from tests.support.forgetting import at_once
from tests.support.harness import outcomes, until_waiting

RETENTION = timedelta(days=14)

RFC_3339 = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
"""As PostgreSQL writes a time like those of history, in UTC."""


@pytest.fixture
def keeper(pool: Pool) -> Retention:
    return Retention(pool, RETENTION, 20, horizon=at_once(RETENTION))


@pytest.fixture
def small_slices(pool: Pool) -> Retention:
    """Forgets four commands at a time."""
    return Retention(pool, RETENTION, 20, horizon=at_once(RETENTION), slice_commands=4)


async def decide_in_batches(decider: Decider, batches: int, commands: int) -> list[Command]:
    """Decide so many batches of so many commands, and have them confirmed."""
    decided = []
    for _ in range(batches):
        batch = [put(new_id(), None) for _ in range(commands)]
        answers = await decider.decide(batch)
        await decider.confirm(answers.batch_ids)
        decided += batch
    return decided


async def remembered(second: Connection) -> set[str]:
    return {str(row["id"]) for row in await second.fetch("SELECT id FROM ledger")}


async def test_expired_batches_are_purged_and_their_history_kept(
    decider: Decider, keeper: Retention, second: Connection
) -> None:
    old = await decide_in_batches(decider, 3, 5)
    await age(second, 14.1)
    young = await decide_in_batches(decider, 2, 5)
    assert await keeper.purge() == len(old)
    assert await keeper.purge() == 0
    assert await remembered(second) == {command.id for command in young}
    assert await second.fetchval("SELECT count(*) FROM batches") == 1 + 2
    assert await second.fetchval("SELECT count(*) FROM changes") == len(old) + len(young)


async def dated(second: Connection, commands: list[Command], by: timedelta) -> None:
    """Let the batches of some commands have been dated by a clock that was ahead by so much, or behind."""
    move = (
        "UPDATE batches SET decided_at = decided_at + $1 WHERE id IN (SELECT batch_id FROM ledger WHERE id = ANY ($2))"
    )
    await second.execute(move, by, [command.id for command in commands])


@pytest.mark.parametrize("days", [-20, 5, 13])
async def test_batches_that_were_dated_by_a_wrong_clock_go_with_those_that_follow_and_keep_none_back(
    decider: Decider, keeper: Retention, second: Connection, days: float
) -> None:
    before = await decide_in_batches(decider, 1, 2)
    meanwhile = await decide_in_batches(decider, 2, 2)
    await dated(second, meanwhile, timedelta(days=days))
    assert await keeper.purge() == 0
    await age(second, 13.9)
    young = await decide_in_batches(decider, 1, 2)
    await age(second, 0.2)
    # Nothing tells when they were decided: it was after the first batch, and before the one that is young.
    assert await keeper.purge() == len(before)
    assert await keeper.purge() == 0
    await age(second, 13.9)
    assert await keeper.purge() == len(meanwhile) + len(young)
    assert await remembered(second) == set()


async def test_more_wrong_times_than_a_slice_has_keep_none_back(
    decider: Decider, pool: Pool, second: Connection
) -> None:
    keeper = Retention(pool, RETENTION, 20, horizon=at_once(RETENTION), slice_batches=2)
    for days in (20, -20):
        before = await decide_in_batches(decider, 1, 1)
        meanwhile = await decide_in_batches(decider, 9, 1)
        await dated(second, meanwhile, timedelta(days=days))
        after = await decide_in_batches(decider, 1, 1)
        await age(second, 14.1)
        assert sum([await keeper.purge() for _ in range(3)]) == len(before + meanwhile + after)


async def test_batch_that_was_decided_after_one_that_is_forgotten_is_not_taken_for_older(
    decider: Decider, keeper: Retention, second: Connection
) -> None:
    """What tells that its time is wrong outlives the commands of the older batch."""
    await decide_in_batches(decider, 1, 1)
    await age(second, 14.1)
    assert await keeper.purge() == 1
    meanwhile = await decide_in_batches(decider, 1, 1)
    await dated(second, meanwhile, timedelta(days=-20))
    assert await keeper.purge() == 0


async def test_batch_that_is_not_confirmed_is_remembered_however_old_it_is(
    decider: Decider, keeper: Retention, second: Connection
) -> None:
    lost = put(new_id(), None)
    await decider.decide([lost])
    old = await decide_in_batches(decider, 2, 2)
    await age(second, 100)
    assert await keeper.purge() == len(old)
    assert await remembered(second) == {lost.id}


async def test_no_slice_is_larger_than_the_limits_and_none_is_left_out(
    decider: Decider, pool: Pool, second: Connection
) -> None:
    keeper = Retention(pool, RETENTION, 20, horizon=at_once(RETENTION), slice_commands=7, slice_batches=3)
    await decide_in_batches(decider, 4, 10)
    await decide_in_batches(decider, 8, 1)
    await age(second, 15)
    slices = []
    while forgotten := await keeper.purge():
        slices.append(forgotten)
    assert sum(slices) == 48
    assert max(slices) == 7
    assert await second.fetchval("SELECT count(*) FROM batches") == 1


async def test_one_replica_forgets_at_a_time(
    decider: Decider, keeper: Retention, pool: Pool, second: Connection
) -> None:
    old = await decide_in_batches(decider, 1, 3)
    await age(second, 15)
    async with second.transaction():
        await second.execute("LOCK TABLE ledger")
        first = asyncio.create_task(keeper.purge())
        await until_waiting(second, 1)
        assert await Retention(pool, RETENTION, 20, horizon=at_once(RETENTION)).purge() == 0
    assert await first == len(old)


async def test_forgotten_command_is_refused_by_its_time_or_answered_from_its_record(
    decider: Decider, keeper: Retention, second: Connection
) -> None:
    long_ago = (datetime.now(UTC) - timedelta(days=15)).isoformat()
    dated, undated = put(new_id(), None, time=long_ago), put(new_id(), None)
    first = await decider.decide([undated])
    await decider.confirm(first.batch_ids)
    await age(second, 15)
    await keeper.purge()
    again = outcomes(await decider.decide([dated, undated]))
    assert isinstance(again[0], Rejected)
    assert again[0].code == "expired"
    assert again[1].id == outcomes(first)[0].id
    assert again[1].type == "document.put.succeeded"


async def test_proof_holds_when_the_ledger_has_forgotten(
    database_url: str, decider: Decider, keeper: Retention, second: Connection
) -> None:
    await decide_in_batches(decider, 3, 3)
    await age(second, 15)
    await decide_in_batches(decider, 1, 3)
    await keeper.purge()
    assert [checked.claim async for checked in verify(database_url, KINDS) if checked.violations] == []


async def test_proof_holds_when_purged_commands_are_sent_again(
    database_url: str, decider: Decider, keeper: Retention, second: Connection
) -> None:
    """It is not applied again, and has a verdict now that is not the one of its change."""
    document = new_id()
    first, later = put(document, None), put(document, 0)
    forgotten = await decider.decide([first, later])
    await decider.confirm(forgotten.batch_ids)
    await age(second, 15)
    await keeper.purge()
    await decide_in_batches(decider, 1, 1)
    again = outcomes(await decider.decide([first]))
    assert again[0].type == "document.put.conflict"
    assert [checked.claim async for checked in verify(database_url, KINDS) if checked.violations] == []


async def test_proof_allows_for_what_nothing_protects_once_it_is_forgotten(
    database_url: str, decider: Decider, keeper: Retention, second: Connection
) -> None:
    """A merge without a time and without a token is applied again; twice while it is remembered would be a fault."""
    document = new_id()
    unprotected = merge(document, {"n": 1})
    forgotten = await decider.decide([put(document, None), unprotected, merge(document, {"n": 2})])
    await decider.confirm(forgotten.batch_ids)
    await age(second, 15)
    await keeper.purge()
    again = await decider.decide([unprotected])
    await decider.confirm(again.batch_ids)
    assert outcomes(again)[0].type == "document.merge.succeeded"
    assert await second.fetchval("SELECT count(*) FROM changes WHERE command_id = $1", unprotected.id) == 2
    assert [checked.claim async for checked in verify(database_url, KINDS) if checked.violations] == []
    for apart in ("23 hours", "2 days"):
        # Both applications lie within the retention, or too near to each other for a purge between them.
        moment = "UPDATE changes SET decided_at = to_char(now() - $1::text::interval, $2) WHERE sequence = 2"
        await second.execute(moment, apart, RFC_3339)
        if apart == "2 days":
            await second.execute("UPDATE batches SET decided_at = decided_at - interval '3 days'")
        found = [checked.claim async for checked in verify(database_url, KINDS) if checked.violations]
        assert [claim.partition(",")[0] for claim in found] == ["No command has changed a record twice in the history"]


async def test_proof_says_since_when_the_ledger_remembers(
    database_url: str, decider: Decider, small_slices: Retention, second: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await remembered_since(database_url) is None
    await decide_in_batches(decider, 3, 3)
    await age(second, 15)
    await small_slices.purge()
    since = await remembered_since(database_url)
    assert since is not None
    # One command is left of the second batch, and all of the third.
    whole = "SELECT count(*) FROM ledger JOIN batches ON batches.id = batch_id WHERE decided_at > $1"
    assert await second.fetchval(whole, since) == 3
    assert await second.fetchval("SELECT count(*) FROM ledger") == 5
    assert await proof.check(database_url, proof.Progress(), quiet=False) == 0
    assert f"remembers commands decided after {since:%Y-%m-%dT%H:%M:%SZ}" in " ".join(capsys.readouterr().out.split())
