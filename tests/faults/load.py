"""Load: publishers and a subscriber at work on a namespace, and the oracle that knows what they know."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from genlock.consumers.amqp.session import BROKER_ERRORS
from genlock.consumers.amqp.topology import Topology
from tests.faults.clients import Post, Publisher, Subscriber, connect, declare, remove
from tests.faults.histories.checker import Report
from tests.faults.histories.sessions import Sessions
from tests.faults.journal import Journal
from tests.faults.messages import probe
from tests.faults.oracle import QUIET_TIMEOUT_S, NotProvedError, Oracle, Verdicts, count_waiting
from tests.faults.workload import World
from tests.support.harness import DEADLINE_S, until

PUBLISHERS = 3
PAUSE_S = 0.15
"""How long a publisher waits between two rounds: that makes some 100 messages a second of all of them."""

SESSIONS = 12
CALL_PAUSE_S = 0.03
"""How long a session waits between two calls."""

SOME = 60
"""How many events show that a load is at work."""

MANY = 250
"""How many events show each sort of message and answer."""


@dataclass(frozen=True)
class Load:
    """Publishers at work on a namespace, and all that is known of what they sent."""

    topology: Topology
    post: Post
    publishers: list[Publisher]
    oracle: Oracle
    sessions: Sessions
    """They call the service, and know what they were answered when."""
    reports: list[Report] = field(default_factory=list)
    """What the checker has found in what they saw, check by check."""

    @property
    def journal(self) -> Journal:
        return self.post.journal

    def begin(self) -> None:
        """Publish from now on."""
        for publisher in self.publishers:
            publisher.draw()
        self.sessions.begin()

    async def end(self) -> None:
        """Publish nothing new, and return when all that was sent is confirmed or given up."""
        for publisher in self.publishers:
            publisher.pause()
        await self.sessions.end()
        for publisher in self.publishers:
            await publisher.idle.wait()

    async def until_seen(self, more: int) -> None:
        """Return when so many more events were seen."""
        enough = len(self.journal.events) + more

        async def seen() -> bool:
            return len(self.journal.events) >= enough

        await until(seen)

    async def probe(self, timeout_s: float = DEADLINE_S) -> None:
        """Send one more command while publishers are at work, and return when its outcome was seen."""
        outgoing = probe()
        self.post.urgent.append(outgoing)

        async def answered() -> bool:
            return self.journal.has_outcome(outgoing)

        await until(answered, timeout_s)

    async def proved(self, timeout_s: float = QUIET_TIMEOUT_S) -> Verdicts:
        """End, let the oracle check the final state and the checker the observations; return the number of verdicts.

        A replica must be there. Raises NotProvedError.
        """
        await self.end()
        verdicts = await self.oracle.check(timeout_s)
        self.post.turn_page()
        self.reports.append(await self.sessions.proved(self.oracle.amqp_url))
        if violations := self.reports[-1].violations:
            raise NotProvedError("\n".join(["the history is not linearizable:", *violations]))
        return verdicts

    async def nothing_left(self) -> None:
        """Return when no command waits. With no replica left, that means that none has kept anything."""
        async with await connect(self.oracle.amqp_url) as connection:
            channel = await connection.channel()

            async def empty() -> bool:
                return await count_waiting(channel, self.topology) == 0

            await until(empty)


@asynccontextmanager
async def loaded(
    *,
    seed: str,
    database_url: str,
    amqp_url: str,
    publisher_url: str,
    namespace: str,
    lanes: int = 1,
    pause_s: float = PAUSE_S,
    sure_replies: bool = True,
    sessions: int = SESSIONS,
    call_pause_s: float = CALL_PAUSE_S,
) -> AsyncIterator[Load]:
    """Declare a namespace with publishers, a subscriber and sessions; in the end they leave and it is removed.

    Subscriber and oracle connect to `amqp_url` and `database_url`, publishers and sessions to `publisher_url`.
    """
    chance, topology, journal = random.Random(seed), Topology(namespace, lanes), Journal()
    world = World(chance)
    post = Post(world, chance, journal)
    publishers = [Publisher(publisher_url, topology, post, pause_s) for _ in range(PUBLISHERS)]
    calling = Sessions(
        seed=seed, url=publisher_url, namespace=namespace, journal=journal, count=sessions, pause_s=call_pause_s
    )
    subscriber = Subscriber(amqp_url, topology, journal, world.learn)
    async with await connect(amqp_url) as connection:
        await declare(await connection.channel(), topology)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(publisher.run()) for publisher in publishers]
            tasks += [group.create_task(subscriber.run()), group.create_task(calling.run())]
            oracle = Oracle(database_url, amqp_url, topology, journal, sure_replies)
            yield Load(topology, post, publishers, oracle, calling)
            for task in tasks:
                task.cancel()
    finally:
        with suppress(*BROKER_ERRORS):
            async with await connect(amqp_url) as connection:
                await remove(await connection.channel(), topology)
