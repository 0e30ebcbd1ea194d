"""Forgetting: what is past the retention goes, a slice at a time; what is not confirmed and what is history stays."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

import asyncpg
import pytest

from genlock.cli import proof
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Rejected
from genlock.service.database.transactions import Pool
from genlock.service.database.verify import remembered_since, verify
from genlock.service.deciding.decide import Decider
from genlock.service.ledger import retention as upkeep
from genlock.service.ledger.retention import Upkeep
from tests.factories import merge, new_id, put
from tests.harness import outcomes, until_waiting

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

RETENTION = timedelta(days=14)

RFC_3339 = 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'
"""As PostgreSQL writes a time like those of history, in UTC."""


@pytest.fixture
def keeper(pool: Pool) -> Upkeep:
    return Upkeep(pool, RETENTION, 20)


@pytest.fixture
def small_slices(keeper: Upkeep, monkeypatch: pytest.MonkeyPatch) -> Upkeep:
    """Forgets four commands at a time."""
    monkeypatch.setattr(upkeep, "SLICE_COMMANDS", 4)
    return keeper


async def decide_in_batches(decider: Decider, batches: int, commands: int) -> list[Command]:
    """Decide so many batches of so many commands, and have them confirmed."""
    decided = []
    for _ in range(batches):
        batch = [put(new_id(), None) for _ in range(commands)]
        answers = await decider.decide(batch)
        await decider.confirm(answers.batch_ids)
        decided += batch
    return decided


async def age(second: Connection, days: float) -> None:
    """Let everything that is decided have been decided so long ago."""
    await second.execute("UPDATE batches SET decided_at = decided_at - $1::interval", timedelta(days=days))


async def remembered(second: Connection) -> set[str]:
    return {str(row["id"]) for row in await second.fetch("SELECT id FROM ledger")}


async def test_what_is_past_the_retention_is_forgotten_and_its_history_kept(
    decider: Decider, keeper: Upkeep, second: Connection
) -> None:
    old = await decide_in_batches(decider, 3, 5)
    await age(second, 14.1)
    young = await decide_in_batches(decider, 2, 5)
    assert await keeper.forget() == len(old)
    assert await keeper.forget() == 0
    assert await remembered(second) == {command.id for command in young}
    assert await second.fetchval("SELECT count(*) FROM batches") == 2
    assert await second.fetchval("SELECT count(*) FROM changes") == len(old) + len(young)


async def test_batch_whose_time_was_noted_while_the_clock_was_behind_is_remembered(
    decider: Decider, keeper: Upkeep, second: Connection
) -> None:
    before = await decide_in_batches(decider, 1, 2)
    meanwhile = await decide_in_batches(decider, 2, 2)
    behind, ids = timedelta(days=20), [command.id for command in meanwhile]
    await second.execute(
        "UPDATE batches SET decided_at = decided_at - $1::interval"
        " WHERE id IN (SELECT batch_id FROM ledger WHERE id = ANY ($2::uuid[]))",
        behind,
        ids,
    )
    assert await keeper.forget() == 0
    await age(second, 14.1)
    assert await keeper.forget() == len(before) + len(meanwhile)


async def test_batch_that_is_not_confirmed_is_remembered_however_old_it_is(
    decider: Decider, keeper: Upkeep, second: Connection
) -> None:
    lost = put(new_id(), None)
    await decider.decide([lost])
    old = await decide_in_batches(decider, 2, 2)
    await age(second, 100)
    assert await keeper.forget() == len(old)
    assert await remembered(second) == {lost.id}


async def test_no_slice_is_larger_than_the_limits_and_none_is_left_out(
    decider: Decider, keeper: Upkeep, second: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "SLICE_COMMANDS", 7)
    monkeypatch.setattr(upkeep, "SLICE_BATCHES", 3)
    await decide_in_batches(decider, 4, 10)
    await decide_in_batches(decider, 8, 1)
    await age(second, 15)
    slices = []
    while forgotten := await keeper.forget():
        slices.append(forgotten)
    assert sum(slices) == 48
    assert max(slices) == 7
    assert await second.fetchval("SELECT count(*) FROM batches") == 0


async def test_one_replica_forgets_at_a_time(decider: Decider, keeper: Upkeep, pool: Pool, second: Connection) -> None:
    old = await decide_in_batches(decider, 1, 3)
    await age(second, 15)
    async with second.transaction():
        await second.execute("LOCK TABLE ledger")
        first = asyncio.create_task(keeper.forget())
        await until_waiting(second, 1)
        assert await Upkeep(pool, RETENTION, 20).forget() == 0
    assert await first == len(old)


async def test_forgotten_command_is_refused_by_its_time_or_answered_from_its_record(
    decider: Decider, keeper: Upkeep, second: Connection
) -> None:
    long_ago = (datetime.now(UTC) - timedelta(days=15)).isoformat()
    dated, undated = put(new_id(), None, time=long_ago), put(new_id(), None)
    first = await decider.decide([undated])
    await decider.confirm(first.batch_ids)
    await age(second, 15)
    await keeper.forget()
    again = outcomes(await decider.decide([dated, undated]))
    assert isinstance(again[0], Rejected)
    assert again[0].code == "expired"
    assert again[1].id == outcomes(first)[0].id
    assert again[1].type == "document.put.succeeded"


async def test_proof_holds_when_the_ledger_has_forgotten(
    database_url: str, decider: Decider, keeper: Upkeep, second: Connection
) -> None:
    await decide_in_batches(decider, 3, 3)
    await age(second, 15)
    await decide_in_batches(decider, 1, 3)
    await keeper.forget()
    assert [checked.claim async for checked in verify(database_url) if checked.offences] == []


async def test_proof_holds_when_what_was_forgotten_is_sent_again(
    database_url: str, decider: Decider, keeper: Upkeep, second: Connection
) -> None:
    """It is not applied again, and has a verdict now that is not the one of its change."""
    document = new_id()
    first, later = put(document, None), put(document, 0)
    forgotten = await decider.decide([first, later])
    await decider.confirm(forgotten.batch_ids)
    await age(second, 15)
    await second.execute("UPDATE changes SET decided_at = '2020-01-01T00:00:00.000000Z'")
    await keeper.forget()
    await decide_in_batches(decider, 1, 1)
    again = outcomes(await decider.decide([first]))
    assert again[0].type == "document.put.conflict"
    assert [checked.claim async for checked in verify(database_url) if checked.offences] == []


async def test_proof_allows_for_what_nothing_protects_once_it_is_forgotten(
    database_url: str, decider: Decider, keeper: Upkeep, second: Connection
) -> None:
    """A merge without a time and without a token is applied again; twice while it is remembered would be a fault."""
    document = new_id()
    unprotected = merge(document, {"n": 1})
    forgotten = await decider.decide([put(document, None), unprotected, merge(document, {"n": 2})])
    await decider.confirm(forgotten.batch_ids)
    await age(second, 15)
    await second.execute("UPDATE changes SET decided_at = to_char(now() - interval '15 days', $1)", RFC_3339)
    await keeper.forget()
    again = await decider.decide([unprotected])
    await decider.confirm(again.batch_ids)
    assert outcomes(again)[0].type == "document.merge.succeeded"
    assert await second.fetchval("SELECT count(*) FROM changes WHERE command_id = $1", unprotected.id) == 2
    assert [checked.claim async for checked in verify(database_url) if checked.offences] == []
    for apart in ("23 hours", "2 days"):
        # Both applications lie within what is remembered, or too near to each other to have been forgotten between.
        moment = "UPDATE changes SET decided_at = to_char(now() - $1::text::interval, $2) WHERE sequence = 2"
        await second.execute(moment, apart, RFC_3339)
        await age(second, 3 if apart == "2 days" else 0)
        found = [checked.claim async for checked in verify(database_url) if checked.offences]
        assert [claim.partition(",")[0] for claim in found] == ["No command has changed a record twice in the history"]


async def test_proof_says_since_when_the_ledger_remembers(
    database_url: str, decider: Decider, small_slices: Upkeep, second: Connection, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await remembered_since(database_url) is None
    await decide_in_batches(decider, 3, 3)
    await age(second, 15)
    await small_slices.forget()
    since = await remembered_since(database_url)
    assert since is not None
    # One command is left of the second batch, and all of the third.
    whole = "SELECT count(*) FROM ledger JOIN batches ON batches.id = batch_id WHERE decided_at > $1"
    assert await second.fetchval(whole, since) == 3
    assert await second.fetchval("SELECT count(*) FROM ledger") == 5
    assert await proof._verify(database_url, quiet=False) == 0
    assert f"remembers commands decided after {since:%Y-%m-%dT%H:%M:%SZ}" in " ".join(capsys.readouterr().out.split())
