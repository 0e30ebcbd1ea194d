"""Dry runs: each says what deciding comes to, leaves nothing behind, and is not in the way of others for long."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from pydantic import BaseModel

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import RejectedData, SucceededData
from genlock.service.database import clocks
from genlock.service.database.clocks import Clock, ClocksDifferError
from genlock.service.database.transactions import DatabaseTroubleError, Pool
from genlock.service.deciding.decide import Decider, DryRun
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.retry_ids import FinalVerdict, NextRetry, first_id, next_retry, retry_id
from tests.e2e.test_crash_recovery import workload
from tests.support.database import Connection
from tests.support.dead_letters import broken, dump
from tests.support.factories import Json, command, merge, new_id, put, received
from tests.support.failing_writes import fail
from tests.support.harness import outcomes, until_waiting

RETENTION = timedelta(days=14)


async def dry_run(pool: Pool, each: Command, clock: Clock = clocks.now) -> DryRun:
    decider = Decider(pool, KINDS, source="/genlock", retention=RETENTION, timeout_s=20, clock=clock)
    return await decider.dry_run(each)


def shown(data: BaseModel) -> Json:
    """An outcome's members, without the advice when to retry: that depends on other waiting commands."""
    members = data.model_dump()
    if "retry" in members:
        del members["retry"]["after_ms"]
    return members


async def test_a_dry_run_says_what_deciding_then_comes_to_and_leaves_nothing(
    pool: Pool, decider: Decider, second: Connection
) -> None:
    commands = [received(members) for members in workload()]
    providers = [command("provider.create", new_id(), {"name": "one"}) for _ in range(2)]
    claim = {
        "project_id": "p",
        "user_id": "u",
        "expected_generation": None,
        "allocations": {new_id(): {"resources": {"VCPU": 1}}},
    }
    consumer = command("consumer.set_allocations", new_id(), claim)
    decided: set[str] = set()
    for each in [*commands, *providers, consumer]:
        before = await dump(second)
        tried = await dry_run(pool, each)
        assert await dump(second) == before
        (outcome,) = outcomes(await decider.decide([each]))
        expected, found = shown(outcome.data), shown(tried.verdict)
        if isinstance(tried.verdict, RejectedData) and tried.verdict.code == Code.ID_REUSED:
            assert found["code"] == expected["code"]
            continue
        assert found == expected
        assert tried.decided == (each.id in decided)
        decided.add(each.id)


async def test_a_command_that_its_record_remembers_is_decided_already(
    pool: Pool, decider: Decider, second: Connection
) -> None:
    create = put(new_id(), None)
    await decider.decide([create])
    await second.execute("DELETE FROM ledger")
    tried = await dry_run(pool, create)
    assert tried.decided
    assert isinstance(tried.verdict, SucceededData)


async def test_what_poisons_its_transaction_would_be_an_internal_error(pool: Pool, second: Connection) -> None:
    create = put(new_id(), None)
    with broken("document.put"):
        by_rule = await dry_run(pool, create)
    assert create.subject is not None
    await fail(second, create.subject, "22000")
    by_write = await dry_run(pool, create)
    for tried in (by_rule, by_write):
        assert isinstance(tried.verdict, RejectedData)
        assert tried.verdict.code == Code.INTERNAL_ERROR
    assert await second.fetchval("SELECT count(*) FROM ledger") == 0


async def test_a_dry_run_waits_for_a_batch_and_sees_what_it_leaves(
    pool: Pool, decider: Decider, second: Connection, database_url: str
) -> None:
    document = new_id()
    await decider.decide([put(document, None)])
    holding = second.transaction()
    await holding.start()
    await second.execute("SELECT 1 FROM documents WHERE id = $1 FOR UPDATE", document)
    late = asyncio.create_task(decider.decide([merge(document, {})]))
    watcher = await asyncpg.connect(database_url)
    await until_waiting(watcher, 1)
    tried = asyncio.create_task(dry_run(pool, put(document, 0)))
    await until_waiting(watcher, 2)
    await holding.rollback()
    await late
    verdict = (await tried).verdict
    assert verdict.model_dump()["reason"] == "stale"
    await watcher.close()


async def test_a_database_that_cannot_work_is_no_verdict(pool: Pool) -> None:
    await pool.expire_connections()
    await pool.close()
    with pytest.raises(DatabaseTroubleError):
        await dry_run(pool, put(new_id(), None))


def test_the_first_id_of_a_retry_is_that_of_its_cause() -> None:
    first, other = new_id(), new_id()
    assert first_id(retry_id(first, 1), first) == first
    assert first_id(retry_id(first, 17), first) == first
    assert first_id(retry_id(first, 1), other) == retry_id(first, 1)
    assert first_id(other, first) == other


async def test_next_try_passes_faults_and_foreign_content_and_stops_at_a_verdict(pool: Pool, decider: Decider) -> None:
    document = new_id()
    await decider.decide([put(document, None)])
    members: Json = {"patch": {}}
    tried = command("document.merge", document, members)

    def again(number: int, data: Any = members) -> Command:
        return command("document.merge", document, data, id=retry_id(tried.id, number))

    async def found() -> NextRetry | FinalVerdict:
        async with pool.acquire() as connection:
            return await next_retry(connection, tried, tried.id)

    assert await found() == NextRetry(tried.id)
    with broken("document.merge"):
        await decider.decide([tried])
        assert await found() == NextRetry(retry_id(tried.id, 1))
        await decider.decide([again(1)])
    await decider.decide([again(2, {"patch": {"foreign": True}})])
    assert await found() == NextRetry(retry_id(tried.id, 3))
    await decider.decide([again(3)])
    settled = await found()
    assert isinstance(settled, FinalVerdict)
    assert (settled.command_id, type(settled.verdict)) == (retry_id(tried.id, 3), SucceededData)


@pytest.mark.parametrize(("days", "expired"), [(1, False), (30, True)])
async def test_a_dry_run_goes_by_the_time_at_which_it_is(pool: Pool, days: int, expired: bool) -> None:
    dated = put(new_id(), None, time=(datetime.now(UTC) - timedelta(days=days)).isoformat())
    tried = await dry_run(pool, dated)
    assert (getattr(tried.verdict, "code", None) == Code.EXPIRED) is expired


async def test_a_dry_run_says_nothing_about_a_command_that_one_clock_alone_calls_expired(pool: Pool) -> None:
    now = datetime.now(UTC)
    dated, wrong = put(new_id(), None, time=now.isoformat()), now + timedelta(days=20)
    with pytest.raises(ClocksDifferError):
        await dry_run(pool, dated, clock=lambda: wrong)
