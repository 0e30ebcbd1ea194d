"""A database that fails: answers that are lost, transactions that break, one command that breaks them."""

import asyncio
import gc
from collections.abc import AsyncIterator

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.outcomes import Rejected, Succeeded
from genlock.service.database.transactions import DatabaseTroubleError, Pool
from genlock.service.deciding.decide import TRIES_MAX, Decider
from genlock.service.deciding.failpoints import Step
from tests.support.database import Connection
from tests.support.deciders import decider_on, deciding_pool
from tests.support.factories import merge, new_id, put, stack_command
from tests.support.failing_writes import fail, fail_where, mend
from tests.support.harness import outcomes, until, until_waiting
from tests.support.proxy import Cut, Proxy, Way, proxied

COMMIT = b"COMMIT\0"


@pytest.fixture
def steps() -> list[Step]:
    """Return the steps that the test's decider has reached."""
    return []


@pytest.fixture
async def proxy(database_url: str) -> AsyncIterator[Proxy]:
    """A proxy in front of the test's database."""
    async with proxied(database_url) as proxy:
        yield proxy


@pytest.fixture
async def remote(proxy: Proxy, steps: list[Step]) -> AsyncIterator[Decider]:
    """A decider that reaches its database through the proxy."""
    url = proxy.url if "sslmode" in proxy.url else f"{proxy.url}?sslmode=disable"
    async with deciding_pool(url, 2, 5) as pool:
        yield decider_on(pool, timeout_s=5, failpoint=steps.append)


@pytest.mark.parametrize("after", [False, True], ids=["before the server got it", "after the server did it"])
async def test_a_commit_whose_answer_is_lost_is_found_out_and_applied_once(
    proxy: Proxy, remote: Decider, second: Connection, *, after: bool
) -> None:
    document = new_id()
    await remote.decide([put(document, None)])
    command = merge(document, {"x": 1})
    proxy.next_cut = Cut(COMMIT, after=after)
    answers = await remote.decide([command])
    assert proxy.next_cut is None
    # A committed command is only answered.
    assert bool(answers.batch_ids) != after
    assert answers.retried
    assert isinstance(outcomes(answers)[0], Succeeded)
    assert await second.fetchval("SELECT event FROM ledger WHERE id = $1", command.id) == answers.events[0].body
    assert await second.fetchval("SELECT generation FROM documents") == 1
    assert await second.fetchval("SELECT count(*) FROM ledger") == 2


async def test_a_connection_whose_end_is_announced_and_not_made_yet_is_no_fault_of_the_command(
    proxy: Proxy, remote: Decider, second: Connection
) -> None:
    """As in an immediate shutdown of the server: asyncpg refuses the connection with an error of its own."""
    document = new_id()
    await remote.decide([put(document, None)])
    # From now on the client gets the server's last words, and does not hear that the connection is closed.
    proxy.half_open({Way.REQUESTS})
    said = proxy.passed[Way.ANSWERS]
    await second.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'genlock'")

    async def heard() -> bool:
        passed = proxy.passed[Way.ANSWERS] > said
        # A round trip: at its end the client has read what had been passed on before it.
        await second.execute("SELECT")
        return passed

    await until(heard)
    [outcome] = outcomes(await remote.decide([merge(document, {"x": 1})]))
    assert isinstance(outcome, Succeeded)


SLOW_COMMIT = """
CREATE FUNCTION wait_for_the_lock() RETURNS trigger LANGUAGE plpgsql SET lock_timeout = 0 AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(42);
    RETURN NULL;
END $$;
CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON ledger DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION wait_for_the_lock();
"""


WORKING = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND query = 'COMMIT' AND wait_event = 'advisory'
"""


async def test_a_commit_past_its_deadline_is_abandoned_and_not_cancelled(
    database_url: str, steps: list[Step], second: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """The COMMIT goes on in its backend; the try after it waits for that, and later finds what it did."""
    await second.execute(SLOW_COMMIT)
    command = put(new_id(), None)
    async with deciding_pool(database_url, 2, 0.5) as pool:
        decider = decider_on(pool, timeout_s=0.5, failpoint=steps.append)
        async with second.transaction():
            await second.execute("SELECT pg_advisory_xact_lock(42)")
            with pytest.raises(DatabaseTroubleError):
                await decider.decide([command])
            assert await second.fetchval(WORKING) == 1
        again = await decider.decide([command])
    assert again.batch_ids == []
    assert isinstance(outcomes(again)[0], Succeeded)
    assert await second.fetchval("SELECT count(*) FROM ledger") == 1
    gc.collect()
    assert not [record for record in caplog.records if record.name == "asyncio"]


async def test_a_commit_outlives_the_task_that_asked_for_it(decider: Decider, second: Connection) -> None:
    await second.execute(SLOW_COMMIT)
    command = put(new_id(), None)
    async with second.transaction():
        await second.execute("SELECT pg_advisory_xact_lock(42)")
        deciding = asyncio.create_task(decider.decide([command]))
        await until_waiting(second, 1)
        deciding.cancel()
        with pytest.raises(asyncio.CancelledError):
            await deciding
    # Another decider waits for the ledger row, and has the outcome as it was committed.
    again = await decider.decide([command])
    assert again.batch_ids == []
    assert isinstance(outcomes(again)[0], Succeeded)


@pytest.mark.parametrize("state", ["22012", "22P02", "23514", "54000"])
async def test_a_command_that_breaks_the_transaction_takes_no_other_with_it(
    decider: Decider, second: Connection, state: str
) -> None:
    documents = [new_id() for _ in range(9)]
    culprit = documents[5]
    await fail_where(second, "NEW.body ->> 'bad' = 'yes'", state)
    commands = [put(document, None, {"bad": "yes"} if document == culprit else {}) for document in documents]
    answers = await decider.decide(commands)
    verdicts = outcomes(answers)
    for document, command, verdict in zip(documents, commands, verdicts, strict=True):
        assert verdict.command_id == command.id
        if document == culprit:
            assert isinstance(verdict, Rejected)
            assert verdict.code is Code.INTERNAL_ERROR
        else:
            assert isinstance(verdict, Succeeded)
    assert answers.faulty == {commands[5].id}
    written = {row["id"] for row in await second.fetch("SELECT id FROM documents")}
    assert written == set(documents) - {culprit}
    batches = {row["batch_id"] for row in await second.fetch("SELECT batch_id FROM ledger")}
    assert batches == set(answers.batch_ids)
    # The verdict stands: what comes again is answered, not tried again.
    again = await decider.decide(commands)
    assert (again.events, again.batch_ids) == (answers.events, [])


async def test_a_rejection_that_cannot_be_recorded_is_not_told_and_its_command_is_held(
    decider: Decider, second: Connection
) -> None:
    before, culprit, after = (put(new_id(), None) for _ in range(3))
    await fail(second, culprit.id, "22P05", table="ledger")
    answers = await decider.decide([before, culprit, after])
    assert [verdict.command_id for verdict in outcomes(answers)] == [before.id, after.id]
    assert all(isinstance(verdict, Succeeded) for verdict in outcomes(answers))
    assert (set(answers.held), answers.faulty) == ({culprit.id}, frozenset())
    await mend(second, table="ledger")
    [verdict] = outcomes(await decider.decide([culprit]))
    assert isinstance(verdict, Succeeded)


async def test_confirmations_are_noted_though_their_batch_is_halved(decider: Decider, second: Connection) -> None:
    batch_ids = (await decider.decide([put(new_id(), None)])).batch_ids
    await fail_where(second, "NEW.body ->> 'bad' = 'yes'", "22012")
    await decider.decide([put(new_id(), None, {"bad": "yes"}), put(new_id(), None)], batch_ids)
    confirmed = await second.fetchval("SELECT confirmed_at FROM batches WHERE id = $1", batch_ids[0])
    assert confirmed is not None


@pytest.mark.parametrize("state", ["40P01", "40001"])
async def test_a_batch_that_the_database_rolls_back_is_decided_again(
    pool: Pool, steps: list[Step], second: Connection, state: str
) -> None:
    documents = [new_id() for _ in range(3)]
    await fail(second, documents[1], state, times=TRIES_MAX - 1)
    answers = await decider_on(pool, failpoint=steps.append).decide([put(document, None) for document in documents])
    assert all(isinstance(verdict, Succeeded) for verdict in outcomes(answers))
    assert steps.count(Step.BEGUN) == TRIES_MAX
    assert len(answers.batch_ids) == 1


async def test_a_batch_that_is_always_rolled_back_is_halved_so_that_neighbours_go_on(
    decider: Decider, second: Connection
) -> None:
    documents = [new_id() for _ in range(2)]
    await fail(second, documents[1], "40P01")
    commands = [put(document, None) for document in documents]
    answers = await decider.decide(commands)
    assert (len(answers.events), set(answers.held)) == (1, {commands[1].id})
    assert [row["id"] for row in await second.fetch("SELECT id FROM documents")] == [documents[0]]
    assert await second.fetchval("SELECT count(*) FROM ledger") == 1


async def test_a_plan_that_a_migration_outdated_is_made_again(decider: Decider, second: Connection) -> None:
    document = new_id()
    await decider.decide([put(document, None)])
    await second.execute("ALTER TABLE documents ADD COLUMN fresh integer, ALTER COLUMN maker_source TYPE varchar")
    [verdict] = outcomes(await decider.decide([put(document, 0)]))
    assert isinstance(verdict, Succeeded)


@pytest.mark.parametrize("state", ["53100", "53300", "55P03", "57014", "57P01", "58030", "XX000", "25006", "08006"])
async def test_trouble_of_the_database_blames_no_command_and_nothing_is_applied(
    decider: Decider, second: Connection, state: str
) -> None:
    documents = [new_id() for _ in range(3)]
    await fail_where(second, "true", state)
    commands = [*(put(document, None) for document in documents), stack_command("create", new_id())]
    with pytest.raises(DatabaseTroubleError):
        await decider.decide(commands)
    for table in ("documents", "stacks", "names", "changes", "ledger", "batches"):
        assert await second.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608 - no input
    await mend(second)
    answers = await decider.decide(commands)
    assert all(isinstance(verdict, Succeeded) for verdict in outcomes(answers))
    assert answers.faulty == frozenset()


@pytest.mark.parametrize("state", ["53100", "57014", "57P01", "XX000", "22012", "08006"])
async def test_trouble_that_passes_at_once_is_noticed_by_no_command(
    decider: Decider, second: Connection, state: str
) -> None:
    documents = [new_id() for _ in range(3)]
    await fail(second, documents[1], state, times=1)
    answers = await decider.decide([put(document, None) for document in documents])
    assert all(isinstance(verdict, Succeeded) for verdict in outcomes(answers))
    assert (answers.faulty, answers.held, answers.retried) == (frozenset(), {}, True)


KILL_WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock'
"""


async def test_a_backend_killed_while_it_waits_for_a_lock_leaves_its_command_held(
    decider: Decider, second: Connection
) -> None:
    document = new_id()
    command = merge(document, {"x": 1})
    await decider.decide([put(document, None)])
    async with second.transaction():
        await second.execute("SELECT * FROM documents FOR UPDATE")
        deciding = asyncio.create_task(decider.decide([command]))
        await until_waiting(second, 1)
        await second.execute(KILL_WAITING)
        answers = await deciding
    assert (answers.events, list(answers.held)) == ([], [command.id])
    [verdict] = outcomes(await decider.decide([command]))
    assert isinstance(verdict, Succeeded)
    assert await second.fetchval("SELECT generation FROM documents") == 1
