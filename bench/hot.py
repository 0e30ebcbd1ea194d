"""Section five: many clients change one record, each with the retry loop of the Python client.

Every client increments a counter in the document repeatedly by `Client.change`, which restarts from the state in a
conflict, or from a new read after a long pause. In the end the counter must equal the number of accepted changes, plus
at most one for each client, whose last outcome may be missing when it is stopped.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import asyncpg

import genlock
from bench.drain_run import prepare, serving, until_consuming
from bench.figures import Figures, Line, Target
from bench.queues import queues
from bench.run import Run
from bench.systems import GENLOCK
from bench.workloads import HOT, Preload
from genlock import servers
from genlock.schemas.documents import DocumentPut, DocumentState

CLIENTS = 64
RUN_S = {1: 3.0, CLIENTS: 10.0}
WARM_UP_S = 1.0
"""The time before a run whose changes do not count."""


@dataclass(slots=True)
class Tally:
    """The result of a client: accepted changes and tries within the measured time, and all accepted changes."""

    changes: int = 0
    tries: int = 0
    all_changes: int = 0


@dataclass(frozen=True, slots=True)
class HotRun:
    """The result of concurrent clients."""

    tallies: list[Tally]
    seconds: float

    @property
    def per_second(self) -> float:
        """Accepted changes per second of all clients."""
        return sum(tally.changes for tally in self.tallies) / self.seconds

    @property
    def attempts(self) -> float:
        """The mean number of tries of a change."""
        return sum(tally.tries for tally in self.tallies) / max(1, sum(tally.changes for tally in self.tallies))

    @property
    def least_share(self) -> float:
        """The changes of the client with the fewest, as a share of the mean."""
        mean = sum(tally.changes for tally in self.tallies) / len(self.tallies)
        return min(tally.changes for tally in self.tallies) / mean if mean else 0.0

    @property
    def fairness(self) -> float:
        """Jain's index: 1 if all clients got the same, 1/n if one of n got everything."""
        changes = [tally.changes for tally in self.tallies]
        return sum(changes) ** 2 / (len(changes) * sum(own**2 for own in changes) or 1)


async def measure(run: Run) -> None:
    """Run one client, then many."""
    found = HotRun([], 1.0)
    async with _served(run.running) as (namespace, connection):
        for clients in (1, CLIENTS):
            before = await _counter(connection)
            found = await _contend(run.running.amqp_url, namespace, clients)
            counted, accepted = await _counter(connection) - before, sum(one.all_changes for one in found.tallies)
            if not accepted <= counted <= accepted + clients:
                raise RuntimeError(f"{accepted} changes were accepted, but the counter went up by {counted}")
            run.note(_name(clients), found.per_second, f"{found.per_second:,.0f}/s")
    run.note("hot, attempts", found.attempts, f"{found.attempts:.1f}")
    run.note("hot, least share", found.least_share, f"{found.least_share:.2f}")
    run.note("hot, fairness", found.fairness, f"{found.fairness:.2f}")


def _name(clients: int) -> str:
    return f"hot, {clients} clients"


@asynccontextmanager
async def _served(running: servers.Servers) -> AsyncIterator[tuple[str, "asyncpg.Connection[asyncpg.Record]"]]:
    async with servers.database(running.database_url) as database_url, queues(running.amqp_url) as waiting:
        await prepare(GENLOCK, database_url, Preload([], "document", [HOT], 0, 0))
        async with serving(running, GENLOCK, database_url, waiting.namespace) as started:
            await until_consuming(started, waiting, GENLOCK.consumers)
            connection = await asyncpg.connect(database_url)
            try:
                yield waiting.namespace, connection
            finally:
                await connection.close()


async def _counter(connection: "asyncpg.Connection[asyncpg.Record]") -> int:
    counter: int = await connection.fetchval("SELECT coalesce((body ->> 'counter')::int, 0) FROM documents")
    return counter


async def _contend(amqp_url: str, namespace: str, count: int) -> HotRun:
    """Run clients for a while, then cancel them. The last change of each may still be accepted."""
    tallies = [Tally() for _ in range(count)]
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(genlock.connect(amqp_url, namespace=namespace)) for _ in tallies]
        begins = time.perf_counter() + WARM_UP_S
        working = [asyncio.create_task(_work(*pair, begins)) for pair in zip(clients, tallies, strict=True)]
        done, _ = await asyncio.wait(working, timeout=WARM_UP_S + RUN_S[count], return_when=asyncio.FIRST_EXCEPTION)
        seconds = time.perf_counter() - begins
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
        for task in done:
            task.result()
    return HotRun(tallies, seconds)


async def _work(client: genlock.Client, tally: Tally, begins: float) -> None:
    """Increment the counter until cancelled."""

    def raised(document: DocumentState | None) -> partial[DocumentPut]:
        tally.tries += time.perf_counter() >= begins
        counter = document.body.get("counter", 0) if document else 0
        return partial(DocumentPut, body={"counter": counter + 1})

    while True:
        outcome = await client.change("document", HOT, raised)
        if not isinstance(outcome, genlock.Succeeded):
            raise RuntimeError(f"a change was not accepted: {outcome}")  # noqa: TRY004 - it is no fault in the types
        tally.all_changes += 1
        tally.changes += time.perf_counter() >= begins


def lines(figures: Figures) -> dict[str, list[Line]]:
    """The lines of the table, by title."""
    one, many = _name(1), _name(CLIENTS)
    return {
        f"one record, {CLIENTS} clients with the retry loop: accepted changes/s": [
            Line("one client alone", figures.of(one), ",.0f"),
            Line(f"{CLIENTS} clients", figures.of(many), ",.0f"),
            Line(f"{CLIENTS} clients / one alone", figures.ratios(many, one), ".2f", Target(0.8)),
            Line("attempts for each accepted change", figures.of("hot, attempts"), ".1f"),
            Line("the unluckiest client's changes, of the mean", figures.of("hot, least share"), ".2f", Target(0.2)),
            Line("fairness (Jain's index)", figures.of("hot, fairness"), ".2f"),
        ]
    }
