"""Deciders at once, in an order that a lock held from a second connection fixes."""

import asyncio
from collections.abc import Sequence
from typing import Any

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Outcome
from genlock.service.deciding.batch_outcomes import BatchOutcomes
from genlock.service.deciding.decide import Decider
from tests.support.database import Connection
from tests.support.harness import outcomes, until, until_waiting

LOCK_NAMES = "LOCK TABLE names IN SHARE MODE"
"""Lets transactions read names, and makes them wait before they take one."""

NEW_VERDICT = "INSERT INTO ledger VALUES ('{}', '', 'rejected', '', 0)"
"""Makes a decider of the command with this id wait for the verdict of another transaction."""


async def at_once(
    decider: Decider, batches: Sequence[Sequence[Command]], second: Connection, *locks: str
) -> list[BatchOutcomes]:
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
    """Decide the batches at once; they wait one behind the other for the rows that are locked here first.

    Two of them go on in their order. PostgreSQL promises no order for more.
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
