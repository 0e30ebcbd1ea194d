"""One drain: preload a queue, let a contestant consume it, and count the events that are confirmed in what time."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import asyncpg

from bench import processor
from bench.contestants import Contestant
from bench.processes import Program, program
from bench.queues import Queues, queues
from bench.workloads import FIRST, Preload
from genlock import servers
from genlock.schemas.base import Kind

START_POLL_S = 0.005
EVENTS_POLL_S = 0.02
"""How often the broker is asked for the number of events: by so much a time may be too long."""

DRAIN_MAX_S = 3.0
"""Then a drain is stopped, so that the whole takes a bearable time with slow contestants and on a slow machine."""

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
    """What a drain came to. The bytes are means of the JSON; those of an event are 0 where none is kept.

    `processor_s` is the processor time of the contestant and of each server that is a child of ours.
    """

    events: int
    seconds: float
    command_bytes: int
    event_bytes: int
    processor_s: dict[str, float]

    @property
    def per_second(self) -> float:
        """Events in a second."""
        return self.events / self.seconds


async def drain(
    running: servers.Servers, contestant: Contestant, preload: Preload, max_s: float = DRAIN_MAX_S
) -> Drained:
    """Drain once, on a database and in a namespace of its own, and check that no update was lost or applied twice.

    Raises RuntimeError where one was, or where the contestant's program failed.
    """
    async with asyncio.timeout(OVERALL_TIMEOUT_S), servers.database(running.database_url) as database_url:
        await prepare(contestant, database_url, preload)
        async with queues(running.amqp_url, contestant.lanes) as waiting:
            await waiting.preload(preload.messages)
            async with serving(running, contestant, database_url, waiting.namespace) as started:
                await until_consuming(started, waiting, contestant.consumers)
                groups = {contestant.name: [one.process.pid for one in started], **processor.server_groups(running)}
                used = processor.seconds(groups)
                events, seconds = await count_events(started, waiting, preload.commands, max_s)
                now = processor.seconds(groups)
            event_bytes = await check(database_url, contestant, waiting, preload)
    processor_s = {name: now[name] - used[name] for name in groups}
    return Drained(events, seconds, preload.command_bytes, event_bytes, processor_s)


async def prepare(contestant: Contestant, database_url: str, preload: Preload) -> None:
    """Make the contestant's tables and the records that the commands meet."""
    await contestant.make_schema(database_url)
    if not contestant.keeps_records:
        return
    connection = await asyncpg.connect(database_url)
    try:
        seed = contestant.seeds[preload.kind]
        await connection.execute(seed.statement, preload.records, *seed.arguments)
        # As autovacuum would do it some time later, in the midst of a measurement.
        await connection.execute("VACUUM ANALYZE")
    finally:
        await connection.close()


@asynccontextmanager
async def serving(
    running: servers.Servers, contestant: Contestant, database_url: str, namespace: str
) -> AsyncIterator[Sequence[Program]]:
    """Run a contestant's processes beside the body. Raises RuntimeError unless all exit with 0."""
    environment = {
        "GENLOCK_DATABASE_URL": database_url,
        "GENLOCK_AMQP_URL": running.amqp_url,
        "GENLOCK_NAMESPACE": namespace,
        **contestant.settings,
    }
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(program(*contestant.program, environment)) for _ in range(contestant.copies)
        ]


async def until_consuming(started: Sequence[Program], waiting: Queues, consumers: int) -> None:
    """Return when the inbox has that many consumers."""
    while await waiting.consumers() < consumers:
        for one in started:
            one.must_run()
        await asyncio.sleep(START_POLL_S)


async def count_events(started: Sequence[Program], waiting: Queues, count: int, max_s: float) -> tuple[int, float]:
    """Count the events from now on, when all consumers are there, up to the last one or for `max_s`."""
    began, already = time.perf_counter(), await waiting.events()
    while True:
        events = await waiting.events()
        seconds = time.perf_counter() - began
        if events >= count or seconds >= max_s:
            return events - already, seconds
        for one in started:
            one.must_run()
        await asyncio.sleep(EVENTS_POLL_S)


async def check(database_url: str, contestant: Contestant, waiting: Queues, preload: Preload) -> int:
    """Compare what is left after a process has settled what it held: each command waits or has taken effect, once.

    Returns the mean size of an event. The records begin at the generation FIRST, so what they have more adds up to
    the commands that were accepted.
    """
    waits = await waiting.waiting()
    taken = preload.commands - (waits and waits * preload.commands_per_message)
    found = {"events": await waiting.events()}
    # What it has decided and given back would be answered from the ledger.
    decided = found["events"] if 0 <= found["events"] - taken <= contestant.gives_back else taken
    wanted = {"events": decided}
    event_bytes = 0
    if contestant.keeps_records:
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
        raise RuntimeError(f"{contestant.name} left {found}, where {wanted} is right")
    return event_bytes
