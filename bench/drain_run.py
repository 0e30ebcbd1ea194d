"""One drain: preload a queue, let a system consume it, and time the confirmed events."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg

from bench import processor
from bench.processes import Program, program
from bench.queues import Queues, queues
from bench.systems import System
from bench.workloads import FIRST, Preload
from genlock import servers
from genlock.schemas.base import Kind

START_POLL_S = 0.005
EVENTS_POLL_S = 0.02
"""The interval at which events are counted: the error of a measured time."""

DRAIN_MAX_S = 3.0
"""A drain stops after this time, which limits the run with slow systems and on slow machines."""

OVERALL_TIMEOUT_S = 90.0
"""A process that takes this long to start, work and settle is broken."""

_ACCEPTED = """
SELECT (SELECT count(*) FROM ledger),
    (SELECT count(*) FROM ledger WHERE event ~ '"type":"[a-z_.]+[.]succeeded"'),
    (SELECT avg(octet_length(event))::int FROM ledger)
"""

_GENERATIONS: dict[Kind, str] = {
    "document": "SELECT sum(generation - $1)::bigint FROM documents",
    "provider": "SELECT sum(generation - $1)::bigint FROM providers",
}


@dataclass(frozen=True, slots=True)
class Drained:
    """The result of a drain. The byte sizes are means of the JSON; that of an event is 0 if events are not stored.

    `processor_s` is the processor time of the system and of each server that is a child of this process.
    """

    events: int
    seconds: float
    command_bytes: int
    event_bytes: int
    processor_s: dict[str, float]

    @property
    def per_second(self) -> float:
        """Events per second."""
        return self.events / self.seconds


async def drain(running: servers.Servers, system: System, preload: Preload, max_s: float = DRAIN_MAX_S) -> Drained:
    """Drain once, on a database and in a namespace of its own, and check that no update was lost or applied twice.

    Raises RuntimeError if one was, or if the system's program failed.
    """
    async with asyncio.timeout(OVERALL_TIMEOUT_S), servers.database(running.database_url) as database_url:
        await prepare(system, database_url, preload)
        async with queues(running.amqp_url, system.lanes) as waiting:
            await waiting.preload(preload.messages)
            async with serving(running, system, database_url, waiting.namespace) as started:
                await until_consuming(started, waiting, system.consumers)
                groups = {system.name: [one.process.pid for one in started], **processor.server_groups(running)}
                used = processor.seconds(groups)
                events, seconds = await count_events(started, waiting, preload.commands, max_s)
                now = processor.seconds(groups)
            event_bytes = await check(database_url, system, waiting, preload)
    processor_s = {name: now[name] - used[name] for name in groups}
    return Drained(events, seconds, preload.command_bytes, event_bytes, processor_s)


async def prepare(system: System, database_url: str, preload: Preload) -> None:
    """Create the system's tables and the records of the commands."""
    await system.make_schema(database_url)
    if not system.keeps_records:
        return
    connection = await asyncpg.connect(database_url)
    try:
        seed = system.seeds[preload.kind]
        await connection.execute(seed.statement, preload.records, *seed.arguments)
        # Otherwise autovacuum would do it during a measurement.
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


@asynccontextmanager
async def serving(
    running: servers.Servers, system: System, database_url: str, namespace: str
) -> AsyncIterator[Sequence[Program]]:
    """Run a system's processes while the context lasts. Raises RuntimeError unless all exit with 0."""
    environment = {
        "GENLOCK_DATABASE_URL": database_url,
        "GENLOCK_AMQP_URL": running.amqp_url,
        "GENLOCK_NAMESPACE": namespace,
        **system.settings,
    }
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(program(*system.program, environment)) for _ in range(system.copies)]


async def until_consuming(started: Sequence[Program], waiting: Queues, consumers: int) -> None:
    """Wait until the inbox has that many consumers."""
    while await waiting.consumers() < consumers:
        for one in started:
            one.must_run()
        await asyncio.sleep(START_POLL_S)


async def count_events(started: Sequence[Program], waiting: Queues, count: int, max_s: float) -> tuple[int, float]:
    """Count events from now on, when all consumers are registered, until the last one or for `max_s`."""
    began, already = time.perf_counter(), await waiting.events()
    while True:
        events = await waiting.events()
        seconds = time.perf_counter() - began
        if events >= count or seconds >= max_s:
            return events - already, seconds
        for one in started:
            one.must_run()
        await asyncio.sleep(EVENTS_POLL_S)


async def check(database_url: str, system: System, waiting: Queues, preload: Preload) -> int:
    """Check the final state: each command still waits, or has taken effect once.

    Returns the mean size of an event. The records begin at the generation FIRST, so the sum of their further
    generations is the number of accepted commands.
    """
    waits = await waiting.waiting()
    taken = preload.commands - (waits and waits * preload.commands_per_message)
    found = {"events": await waiting.events()}
    # Commands that were decided and given back would be answered from the ledger.
    decided = found["events"] if 0 <= found["events"] - taken <= system.unacknowledged_max else taken
    wanted = {"events": decided}
    event_bytes = 0
    if system.keeps_records:
        connection = await asyncpg.connect(database_url)
        try:
            [(found["ledger rows"], accepted, event_bytes)] = await connection.fetch(_ACCEPTED)
            found["generations"] = await connection.fetchval(_GENERATIONS[preload.kind], FIRST)
        finally:
            await connection.close()
        wanted |= {"ledger rows": decided, "generations": accepted}
        if decided == preload.commands:
            found["accepted"], wanted["accepted"] = accepted, preload.accepted
    if found != wanted:
        raise RuntimeError(f"{system.name} left {found}, where {wanted} is right")
    return event_bytes
