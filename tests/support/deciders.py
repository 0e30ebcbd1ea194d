"""Deciders as the tests use them: with a timeout that only a hanging test reaches."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from genlock.service.database import clocks
from genlock.service.database.clocks import Clock
from genlock.service.database.steady import SteadyClock
from genlock.service.database.transactions import DECIDING_PLANS, Pool, open_pool
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Failpoint, Step, ignore
from genlock.service.kinds.registry import KINDS
from tests.support.database import Connection
from tests.support.factories import PUBLISHER, RETENTION
from tests.support.races import check_no_deadlock

TIMEOUT_S = 20.0


def decider_on(
    pool: Pool,
    *,
    timeout_s: float = TIMEOUT_S,
    clock: Clock = clocks.now,
    steady: SteadyClock | None = None,
    failpoint: Failpoint = ignore,
    heed_held: bool = True,
) -> Decider:
    """Return a decider that remembers commands for 14 days."""
    return Decider(
        pool,
        KINDS,
        source=PUBLISHER,
        retention=RETENTION,
        timeout_s=timeout_s,
        clock=clock,
        steady=steady,
        failpoint=failpoint,
        heed_held=heed_held,
    )


@asynccontextmanager
async def deciding_pool(
    url: str, size: int, timeout_s: float = TIMEOUT_S, *, lock_patience_s: float = TIMEOUT_S
) -> AsyncIterator[Pool]:
    """Connections with the settings that deciding needs. They wait for locks as long as a busy machine may take."""
    async with await open_pool(
        url, size=size, timeout_s=timeout_s, plans=DECIDING_PLANS, lock_patience_s=lock_patience_s
    ) as pool:
        yield pool


@dataclass(frozen=True)
class Race:
    """A decider, its pool and the steps that its batches have reached."""

    decider: Decider
    pool: Pool
    steps: list[Step]


@asynccontextmanager
async def racing(url: str, second: Connection, batches: int) -> AsyncIterator[Race]:
    """Decide so many batches at once; in the end no deadlock may have happened in the database."""
    steps: list[Step] = []
    async with deciding_pool(url, batches) as pool:
        yield Race(decider_on(pool, failpoint=steps.append), pool, steps)
    await check_no_deadlock(second)
