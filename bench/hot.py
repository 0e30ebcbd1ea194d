"""Part five: many clients that change one record, each with the retry loop of the Python client.

Every client reads the document once, then raises a counter in it again and again by `Client.change`, which starts over
from the state that a conflict carried, or from a new one if it had to wait. In the end the counter must be the number
of the changes that were accepted, and of at most one more for each client, which was stopped before it heard of it.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial

import asyncpg

import genlock
from bench.contest import prepare, serving, until_consuming
from bench.contestants import GENLOCK
from bench.figures import Figures, Line, Target
from bench.queues import queues
from bench.stage import Stage
from bench.workloads import HOT, Preload
from genlock import servers
from genlock.schemas.documents import DocumentPut, DocumentState

CLIENTS = 64
RUN_S = {1: 3.0, CLIENTS: 10.0}
WARM_UP_S = 1.0
"""The first part of a run besides, whose changes do not count."""


@dataclass(slots=True)
class Tally:
    """What a client came to: changes that were accepted and tries, within the time that counts; and all changes."""

    changes: int = 0
    tries: int = 0
    all_changes: int = 0


@dataclass(frozen=True, slots=True)
class Contention:
    """What a crowd of clients came to."""

    tallies: list[Tally]
    seconds: float

    @property
    def per_second(self) -> float:
        """Accepted changes in a second, of all clients."""
        return sum(tally.changes for tally in self.tallies) / self.seconds

    @property
    def attempts(self) -> float:
        """How many tries a change took."""
        return sum(tally.tries for tally in self.tallies) / max(1, sum(tally.changes for tally in self.tallies))

    @property
    def least_share(self) -> float:
        """The changes of the unluckiest client, as a share of the mean."""
        mean = sum(tally.changes for tally in self.tallies) / len(self.tallies)
        return min(tally.changes for tally in self.tallies) / mean if mean else 0.0

    @property
    def fairness(self) -> float:
        """Jain's index: 1 where all clients got the same, 1/n where one of n got everything."""
        changes = [tally.changes for tally in self.tallies]
        return sum(changes) ** 2 / (len(changes) * sum(own**2 for own in changes) or 1)


async def measure(stage: Stage) -> None:
    """Let one client work alone, then a crowd."""
    found = Contention([], 1.0)
    async with _served(stage.running) as (namespace, connection):
        for clients in (1, CLIENTS):
            before = await _counter(connection)
            found = await _contend(stage.running.amqp_url, namespace, clients)
            counted, accepted = await _counter(connection) - before, sum(one.all_changes for one in found.tallies)
            if not accepted <= counted <= accepted + clients:
                raise RuntimeError(f"{accepted} changes were accepted, but the counter went up by {counted}")
            stage.note(_name(clients), found.per_second, f"{found.per_second:,.0f}/s")
    stage.note("hot, attempts", found.attempts, f"{found.attempts:.1f}")
    stage.note("hot, least share", found.least_share, f"{found.least_share:.2f}")
    stage.note("hot, fairness", found.fairness, f"{found.fairness:.2f}")


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


async def _contend(amqp_url: str, namespace: str, count: int) -> Contention:
    """Let clients work for a while, then stop them wherever they are: the last change of each may still be accepted."""
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
    return Contention(tallies, seconds)


async def _work(client: genlock.Client, tally: Tally, begins: float) -> None:
    """Raise the counter until cancelled."""

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
    """What the table says, by section."""
    one, crowd = _name(1), _name(CLIENTS)
    return {
        f"one record, {CLIENTS} clients with the retry loop: accepted changes/s": [
            Line("one client alone", figures.of(one), ",.0f"),
            Line(f"{CLIENTS} clients", figures.of(crowd), ",.0f"),
            Line(f"{CLIENTS} clients / one alone", figures.ratios(crowd, one), ".2f", Target(0.8)),
            Line("attempts for each accepted change", figures.of("hot, attempts"), ".1f"),
            Line("the unluckiest client's changes, of the mean", figures.of("hot, least share"), ".2f", Target(0.2)),
            Line("fairness (Jain's index)", figures.of("hot, fairness"), ".2f"),
        ]
    }
