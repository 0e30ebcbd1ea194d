"""The sweep: unconfirmed batches are published again, once each, however slow the broker is."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from genlock.consumers.amqp.publisher import Publisher
from genlock.consumers.amqp.session import open_session
from genlock.consumers.commands.refusals import Refusals
from genlock.consumers.commands.sweep import Sweep
from genlock.schemas.decode import Command
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.ledger.ages import Ages
from genlock.service.ledger.ledger import RENEWALS, sweeping
from genlock.service.ledger.outbox import Outbox
from genlock.service.ledger.waiting import WaitingTable
from genlock.service.settings import Settings
from tests.support.database import END_SESSIONS, Connection
from tests.support.deciders import deciding_pool
from tests.support.factories import new_id, put
from tests.support.harness import Client, serving, until
from tests.support.proxy import Proxy, Way
from tests.support.tables import until_confirmed

SWEEP_AFTER_S = 0.05

SWEEPING = """
SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND datname = current_database() AND clock_timestamp() - state_change > $1::interval
"""
"""Whether a sweep is under way that has sent no statement for so long."""


HEARD_AT = """
SELECT query_start FROM pg_locks JOIN pg_stat_activity USING (pid)
WHERE locktype = 'advisory' AND datname = current_database()
"""
"""When the server last got a statement of the replica that sweeps."""

IDLE_IN_TRANSACTION = """
SELECT count(*) FROM pg_stat_activity WHERE state = 'idle in transaction' AND datname = current_database()
"""


async def left(decider: Decider, batches: int, commands: int = 3) -> list[list[Command]]:
    """Batches that were committed by a replica that has died since."""
    some = [[put(new_id(), None) for _ in range(commands)] for _ in range(batches)]
    for batch in some:
        await decider.decide(batch)
    return some


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


@dataclass(frozen=True)
class SlowSweep:
    """A sweep over connections of its own, on a broker that gets everything and does not answer."""

    settings: Settings
    broker: Proxy
    database: Proxy

    @asynccontextmanager
    async def running(self, lease_s: float) -> AsyncIterator[None]:
        """Sweep once while the context lasts."""
        settings = self.settings
        async with deciding_pool(self.database.url, 3) as pool, open_session(settings) as session:
            outbox = Outbox(pool, settings.decide_timeout_s, {})
            refusals = Refusals(WaitingTable(pool, settings.decide_timeout_s), outbox, settings)
            sweep = Sweep(session, pool, settings, outbox, refusals, ages=Ages(SWEEP_AFTER_S), lease_s=lease_s)
            publisher = await Publisher.on(session, settings.publish_timeout_s)
            self.broker.stall({Way.ANSWERS})
            sweeping = asyncio.create_task(until(lambda: sweep.sweep(publisher)))
            try:
                yield
            finally:
                self.broker.resume()
                sweeping.cancel()
                await asyncio.wait({sweeping})


@pytest.fixture
def slow(remote: Settings, broker: Proxy, database: Proxy) -> SlowSweep:
    return SlowSweep(remote.model_copy(update={"sweep_after_s": SWEEP_AFTER_S}), broker, database)


async def until_told(client: Client, batch: list[Command]) -> None:
    """Return when each command of a batch has an event."""

    async def told() -> bool:
        return 0 not in copies(client, [batch])

    await until(told)


async def test_another_replica_sweeps_when_nothing_is_heard_any_more_of_the_one_that_did(
    client: Client, second: Connection, settings: Settings, decider: Decider, slow: SlowSweep
) -> None:
    """Its connection is half open: the server hears nothing, not even that it is gone."""
    [batch] = await left(decider, 1)
    async with slow.running(lease_s=0.5):
        await until_told(client, batch)
        slow.database.half_open()
        async with serving(settings, sweep_after_s=SWEEP_AFTER_S):
            await until_confirmed(second)
    assert copies(client, [batch]) == [2] * 3


async def test_replica_that_sweeps_keeps_the_lock_for_as_long_as_the_broker_takes(
    client: Client, second: Connection, settings: Settings, decider: Decider, slow: SlowSweep
) -> None:
    lease_s = 0.5
    [batch] = await left(decider, 1)
    async with slow.running(lease_s):
        await until_told(client, batch)
        async with serving(settings, sweep_after_s=SWEEP_AFTER_S):
            heard_at: set[datetime] = set()

            async def kept() -> bool:
                heard_at.add(await second.fetchval(HEARD_AT))
                return len(heard_at) > 4 * RENEWALS

            await until(kept)
            assert await second.fetchval(SWEEPING, timedelta(0))
            slow.broker.resume()
            await until_confirmed(second)
    assert copies(client, [batch]) == [1] * 3


async def test_connection_may_be_idle_again_after_a_sweep(second: Connection, pool: Pool) -> None:
    async with sweeping(pool, 20, lease_s=60) as lock:
        assert lock
        assert await lock.connection.fetchval("SHOW idle_session_timeout") == "1min"
        async with sweeping(pool, 20, lease_s=60) as other:
            assert other is None
        holder = lock.connection.get_server_pid()
    async with pool.acquire() as connection:
        assert connection.get_server_pid() == holder
        assert await connection.fetchval("SHOW idle_session_timeout") == "0"
    assert not await second.fetchval(SWEEPING, timedelta(0))


async def test_nothing_is_published_again_for_as_long_as_the_database_cannot_note_it(
    client: Client, second: Connection, settings: Settings, decider: Decider
) -> None:
    """A sweep that could not note what it does would repeat the same batch to all subscribers each time."""
    name = await second.fetchval("SELECT quote_ident(current_database())")
    with capture_logs() as logs:
        async with serving(settings, sweep_after_s=0.1):
            await second.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
            batches = await left(decider, 1)
            await second.execute(END_SESSIONS)

            async def put_off() -> bool:
                return len([log for log in logs if log["event"] == "sweep put off" and "read-only" in log["why"]]) >= 3

            await until(put_off)
            assert copies(client, batches) == [0] * 3
            await second.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
            await second.execute(END_SESSIONS)
            await until_confirmed(second)
    assert copies(client, batches) == [1] * 3


@pytest.mark.parametrize("days", [-20, 0, 20])
async def test_batch_is_swept_when_it_was_seen_for_long_enough_whatever_time_it_has(
    client: Client, second: Connection, settings: Settings, decider: Decider, pool: Pool, *, days: int
) -> None:
    """A clock that jumps republishes nothing that is under way, and delays nothing that was decided meanwhile."""
    batches = await left(decider, 2)
    await second.execute("UPDATE batches SET decided_at = decided_at + $1::interval", timedelta(days=days))
    passed_s = [0.0]
    async with open_session(settings) as session:
        outbox = Outbox(pool, settings.decide_timeout_s, {})
        refusals = Refusals(WaitingTable(pool, settings.decide_timeout_s), outbox, settings)
        ages = Ages(settings.sweep_after_s, lambda: passed_s[0])
        sweep = Sweep(session, pool, settings, outbox, refusals, ages=ages)
        publisher = await Publisher.on(session, settings.publish_timeout_s)
        for part in (0.5, 0.49):
            assert not await sweep.sweep(publisher)
            passed_s[0] += part * settings.sweep_after_s
        assert copies(client, batches) == [0] * 6
        [later] = await left(decider, 1)
        passed_s[0] += 0.02 * settings.sweep_after_s
        assert [await sweep.sweep(publisher) for _ in range(3)] == [True, True, False]
        passed_s[0] += 1.01 * settings.sweep_after_s
        assert await sweep.sweep(publisher)
    await until_confirmed(second)
    await until_told(client, later)
    assert copies(client, [*batches, later]) == [1] * 9
