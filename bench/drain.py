"""One drain: preload a queue, let a contestant consume it, and count the events that are confirmed in what time."""

import asyncio
import time
from dataclasses import dataclass

import asyncpg

from bench.contestants import Contestant
from bench.processes import Program, program
from bench.queues import Queues, queues
from bench.workloads import Preload, Workload, document_body
from genlock import servers

START_POLL_S = 0.005
EVENTS_POLL_S = 0.02
"""How often the broker is asked for the number of events: by so much a time may be too long."""

DRAIN_MAX_S = 5.0
"""Then a drain is stopped, so that the whole takes a bearable time on a slow machine."""

OVERALL_TIMEOUT_S = 90.0
"""A process that takes this long to start, work and settle is broken."""


@dataclass(frozen=True, slots=True)
class Drained:
    """What a drain came to. `event_bytes` is the mean size of an event's body."""

    contestant: Contestant
    workload: Workload
    events: int
    seconds: float
    event_bytes: int

    @property
    def per_second(self) -> float:
        """Events in a second."""
        return self.events / self.seconds


async def drain(running: servers.Servers, contestant: Contestant, workload: Workload, preload: Preload) -> Drained:
    """Drain once, on a database and in a namespace of its own, and check that no update was lost or applied twice.

    Raises RuntimeError where one was, or where the contestant's program failed.
    """
    async with (
        servers.database(running.database_url) as database_url,
        queues(running.amqp_url) as waiting,
        asyncio.timeout(OVERALL_TIMEOUT_S),
    ):
        await contestant.make_schema(database_url)
        connection = await asyncpg.connect(database_url)
        try:
            await connection.execute(contestant.seed, preload.documents, document_body())
            await waiting.preload(preload.commands)
            environment = {
                "GENLOCK_DATABASE_URL": database_url,
                "GENLOCK_AMQP_URL": running.amqp_url,
                "GENLOCK_NAMESPACE": waiting.namespace,
            }
            async with program(*contestant.program, environment) as started:
                events, seconds = await _time(started, waiting, len(preload.commands))
            await _check(connection, waiting, len(preload.commands))
            event_bytes = await connection.fetchval("SELECT avg(octet_length(event))::int FROM ledger")
        finally:
            await connection.close()
    return Drained(contestant, workload, events, seconds, event_bytes)


async def _time(started: Program, waiting: Queues, count: int) -> tuple[int, float]:
    """Count the events from the moment when the inbox has a consumer, up to the last one or to DRAIN_MAX_S."""
    while not await waiting.consumers():
        started.must_run()
        await asyncio.sleep(START_POLL_S)
    began = time.perf_counter()
    while True:
        events = await waiting.events()
        seconds = time.perf_counter() - began
        if events >= count or seconds >= DRAIN_MAX_S:
            return events, seconds
        started.must_run()
        await asyncio.sleep(EVENTS_POLL_S)


async def _check(connection: "asyncpg.Connection[asyncpg.Record]", waiting: Queues, count: int) -> None:
    """Compare what is left after a process has settled what it held: each command waits or has taken effect, once.

    Documents begin at generation 0 and every command is accepted, so the generations add up to the commands.
    """
    decided = count - await waiting.waiting()
    found = {
        "events": await waiting.events(),
        "ledger rows": await connection.fetchval("SELECT count(*) FROM ledger"),
        "generations": await connection.fetchval("SELECT sum(generation)::bigint FROM documents"),
    }
    if any(number != decided for number in found.values()):
        raise RuntimeError(f"{decided} commands were taken from the inbox, but there are {found}")
