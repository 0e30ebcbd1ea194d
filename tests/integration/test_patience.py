"""How long a batch may take: by what batches took lately, and all the time that there is in a slow database."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from genlock.service.database.transactions import Pool, TooSlowError, transaction
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.patience import Patience
from tests.integration.test_blame import BEFORE, DAWDLES, TRIGGER, among_neighbours, check_only_held
from tests.support.database import Connection
from tests.support.deciders import TIMEOUT_S, decider_on, deciding_pool
from tests.support.factories import new_id, put

SHORTEST_S = 0.2


@pytest.fixture
async def calm(database_url: str) -> AsyncIterator[Decider]:
    """A decider that gives each statement more time than the test has."""
    async with deciding_pool(database_url, 3) as pool:
        yield decider_on(pool)


async def test_neighbours_of_a_command_that_takes_too_long_wait_for_a_fraction_of_that(
    calm: Decider, second: Connection
) -> None:
    await calm.decide([put(new_id(), None), put(new_id(), None)])
    condition = "NEW.body ->> 'bad' = 'yes'"
    await second.execute(TRIGGER.format(body=DAWDLES, kind=BEFORE, table="documents", deferred="", condition=condition))
    suspect = put(new_id(), None, {"bad": "yes"})
    async with asyncio.timeout(TIMEOUT_S / 2):
        check_only_held(await calm.decide(among_neighbours(suspect)), suspect)


async def test_batch_gets_all_of_the_time_after_one_that_took_too_long(pool: Pool) -> None:
    patience = Patience(TIMEOUT_S, SHORTEST_S)
    assert patience.limit_s == TIMEOUT_S
    await sleep(pool, patience, 0)
    assert SHORTEST_S <= patience.limit_s < TIMEOUT_S
    with pytest.raises(TooSlowError):
        await sleep(pool, patience, TIMEOUT_S)
    assert patience.limit_s == TIMEOUT_S
    await sleep(pool, patience, 0)
    assert patience.limit_s < TIMEOUT_S
    # A lone command keeps no other waiting.
    await sleep(pool, patience, patience.limit_s + SHORTEST_S, commands=1)


async def sleep(pool: Pool, patience: Patience, seconds: float, commands: int = 2) -> None:
    async with (
        transaction(pool, TIMEOUT_S) as connection,
        patience.limited(connection, commands, quick=False),
    ):
        await connection.execute("SELECT pg_sleep($1)", seconds)
