"""What keeps a verdict from being told before the synchronous standby has it, and what becomes of it without."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing

import asyncpg
import pytest

from genlock.schemas.decode import Command
from genlock.servers.programs import Programs, ServersUnavailable
from genlock.service.database.transactions import DatabaseTroubleError
from genlock.service.deciding.batch_outcomes import BatchOutcomes
from genlock.service.deciding.decide import Decider
from tests.faults.standby import Pair
from tests.guards.removal import without
from tests.support.deciders import decider_on, deciding_pool
from tests.support.factories import merge, new_id, put
from tests.support.harness import until

TIMEOUT_S = 0.5


@pytest.fixture(scope="module")
def the_pair() -> Iterator[Pair]:
    """A primary with a synchronous standby. These tests are skipped where there is only Docker."""
    try:
        programs = Programs.have()
    except ServersUnavailable as error:
        pytest.skip(str(error))
    with closing(Pair(programs)) as pair:
        asyncio.run(pair.start())
        yield pair


@pytest.fixture
async def pair(the_pair: Pair) -> Pair:
    """Return them in sync, whatever the test before has left."""
    await asyncio.to_thread(the_pair.standby.kill)
    await the_pair.follow()
    return the_pair


@asynccontextmanager
async def deciding(pair: Pair) -> AsyncIterator[Decider]:
    """A decider with connections of its own, to whichever is the primary."""
    async with deciding_pool(pair.service_url, 1, TIMEOUT_S) as pool:
        yield decider_on(pool, timeout_s=TIMEOUT_S)


async def decide(pair: Pair, *commands: Command) -> BatchOutcomes:
    async with deciding(pair) as decider:
        return await decider.decide(commands)


async def generation(pair: Pair, document: str) -> int:
    """The generation that any client reads on the primary."""
    connection = await asyncpg.connect(pair.primary.url)
    try:
        seen: int = await connection.fetchval("SELECT generation FROM documents WHERE id = $1", document)
        return seen
    finally:
        await connection.close()


async def cut_short_by_a_restart(pair: Pair) -> Command:
    """A command whose COMMIT waited for a standby that was lost, until the primary was started again."""
    document = new_id()
    await decide(pair, put(document, None))
    command = merge(document, {"x": 1})
    await asyncio.to_thread(pair.standby.kill)
    with pytest.raises(DatabaseTroubleError):
        await decide(pair, command)
    assert await generation(pair, document) == 0
    await asyncio.to_thread(pair.primary.stop)
    pair.primary.launch()
    await asyncio.to_thread(pair.primary.wait_ready)
    assert await generation(pair, document) == 1
    return command


async def fail_over(pair: Pair) -> None:
    """Lose the primary, and let the standby take over as it was."""
    await asyncio.to_thread(pair.primary.kill)
    if not pair.standby.runs:
        await pair.start_standby()
    await pair.promote()


async def test_verdict_that_no_standby_has_is_not_told_and_decided_again_after_a_failover(pair: Pair) -> None:
    command = await cut_short_by_a_restart(pair)
    with pytest.raises(DatabaseTroubleError, match="standby is away"):
        await decide(pair, command)
    await fail_over(pair)
    assert await generation(pair, command.subject) == 0
    answers = await decide(pair, command)
    assert await generation(pair, command.subject) == 1
    assert (await decide(pair, command)).events == answers.events


async def test_verdict_is_told_as_soon_as_the_standby_has_it(pair: Pair) -> None:
    command = await cut_short_by_a_restart(pair)
    await pair.start_standby()
    answers = await _patiently(pair, command)
    await fail_over(pair)
    assert await generation(pair, command.subject) == 1
    assert (await decide(pair, command)).events == answers.events


async def _patiently(pair: Pair, command: Command) -> BatchOutcomes:
    """Decide it as often as it takes, as a consumer does."""
    while True:
        try:
            return await decide(pair, command)
        except DatabaseTroubleError:
            continue


async def test_without_waiting_for_the_standby_a_verdict_is_told_that_is_lost(pair: Pair) -> None:
    command = await cut_short_by_a_restart(pair)
    with without("waiting for the standby"):
        told = (await decide(pair, command)).events
    await fail_over(pair)
    assert await generation(pair, command.subject) == 0
    assert (await decide(pair, command)).events != told


async def cut_short_by_an_administrator(pair: Pair, decider: Decider) -> tuple[Command, "asyncio.Task[BatchOutcomes]"]:
    """A command being decided whose COMMIT waited for a standby that was lost, until an operator cancelled it."""
    document = new_id()
    await decider.decide([put(document, None)])
    await asyncio.to_thread(pair.standby.kill)
    command = merge(document, {"x": 1})
    decided = asyncio.create_task(decider.decide([command]))
    connection = await asyncpg.connect(pair.primary.url)

    async def cancelled() -> bool:
        return bool(
            await connection.fetchval(
                "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep' LIMIT 1"
            )
        )

    await until(cancelled)
    await connection.close()
    return command, decided


async def test_commit_that_an_administrator_has_cut_short_is_not_told(pair: Pair) -> None:
    async with deciding(pair) as decider:
        command, decided = await cut_short_by_an_administrator(pair, decider)
        with pytest.raises(DatabaseTroubleError):
            await decided
    assert await generation(pair, command.subject) == 1
    await pair.start_standby()
    assert len((await _patiently(pair, command)).events) == 1


async def test_without_heeding_warnings_a_verdict_is_told_that_is_lost(pair: Pair) -> None:
    with without("heeding warnings"):
        async with deciding(pair) as decider:
            command, decided = await cut_short_by_an_administrator(pair, decider)
            told = (await decided).events
    await fail_over(pair)
    assert await generation(pair, command.subject) == 0
    assert (await decide(pair, command)).events != told
