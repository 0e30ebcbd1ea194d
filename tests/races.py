"""Deciders at once, in an order that a lock held from a second connection fixes."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

import asyncpg

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Outcome
from genlock.service.deciding.decide import Answers, Decider
from tests.harness import outcomes, until, until_waiting

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


async def at_once(
    decider: Decider, batches: Sequence[Sequence[Command]], second: Connection, *locks: str
) -> list[Answers]:
    """Decide the batches at once: none goes on before each of them waits for what the second connection holds.

    What it holds it gives back without a trace, rows that it wrote for that included.
    """
    held = second.transaction()
    await held.start()
    for lock in locks:
        await second.execute(lock)
    deciding = [asyncio.create_task(decider.decide(batch)) for batch in batches]
    await until_waiting(second, len(batches))
    await held.rollback()
    return await asyncio.gather(*deciding)


async def in_turn(
    decider: Decider, batches: Sequence[Sequence[Command]], second: Connection, lock: str, *arguments: Any
) -> list[list[Outcome]]:
    """Decide the batches at once; they wait one behind the other for what is locked here first.

    Two of them go on in their order. Of more, PostgreSQL promises none.
    """
    deciding = []
    async with second.transaction():
        await second.execute(lock, *arguments)
        for batch in batches:
            deciding.append(asyncio.create_task(decider.decide(batch)))
            await until_waiting(second, len(deciding))
    return [outcomes(answers) for answers in await asyncio.gather(*deciding)]


ALONE = """
SELECT count(*) = 0 FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


async def check_no_deadlock(connection: Connection) -> None:
    """Wait until all others have left the database, which is when they report, and see that none met a deadlock."""

    async def alone() -> bool:
        gone: bool = await connection.fetchval(ALONE)
        return gone

    await until(alone)
    assert await connection.fetchval("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()") == 0
