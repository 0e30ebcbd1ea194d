"""The sweep: batches that nobody has confirmed are published again, once each, however slow the broker is."""

from datetime import timedelta
from typing import TypeAlias

import asyncpg

from genlock.schemas.decode import Command
from genlock.service.deciding.decide import Decider
from genlock.service.settings import Settings
from tests.factories import new_id, put
from tests.harness import Client, serving, until
from tests.proxy import Proxy, Way

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"

SWEEPING = """
SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND datname = current_database() AND clock_timestamp() - state_change > $1::interval
"""
"""Whether somebody sweeps, and has asked nothing of the server for so long."""


IDLE_IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()
"""


async def left(decider: Decider, batches: int, commands: int = 3) -> list[list[Command]]:
    """Batches that were committed by somebody who has died since."""
    some = [[put(new_id(), None) for _ in range(commands)] for _ in range(batches)]
    for batch in some:
        await decider.decide(batch)
    return some


async def until_confirmed(second: Connection) -> None:
    """Return when the database knows that the broker has confirmed all batches."""

    async def confirmed() -> bool:
        none: bool = await second.fetchval("SELECT count(*) = 0 FROM batches WHERE confirmed_at IS NULL")
        return none

    await until(confirmed)


def copies(client: Client, batches: list[list[Command]]) -> list[int]:
    """How many events each command has got."""
    return [len(client.bodies.get(command.id, [])) for batch in batches for command in batch]


async def test_batches_of_the_dead_are_swept_by_one_replica_of_two(
    client: Client, second: Connection, settings: Settings, decider: Decider
) -> None:
    batches = await left(decider, 12)
    async with serving(settings, sweep_after_s=0.05), serving(settings, sweep_after_s=0.05):
        await until_confirmed(second)
    assert copies(client, batches) == [1] * 36


async def test_a_sweep_waits_for_a_slow_broker_and_holds_no_transaction_meanwhile(
    client: Client, second: Connection, remote: Settings, broker: Proxy, decider: Decider
) -> None:
    """A transaction that is idle for twice the deadline of a statement is ended by the server."""
    decide_timeout_s = 0.2
    async with serving(remote, sweep_after_s=0.1, publish_timeout_s=0.2, decide_timeout_s=decide_timeout_s) as service:
        broker.stall({Way.REQUESTS})
        batches = await left(decider, 2)

        async def sweeping() -> bool:
            swept: bool = await second.fetchval(SWEEPING, timedelta(seconds=4 * decide_timeout_s))
            return swept

        await until(sweeping)
        assert await second.fetchval(IDLE_IN_TRANSACTION) == 0
        broker.resume()
        await until_confirmed(second)
        assert service.ready.is_set()
    assert copies(client, batches) == [1] * 6
