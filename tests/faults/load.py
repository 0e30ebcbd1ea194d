"""Load: publishers and a subscriber at work on a namespace, and the oracle that knows what they know."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from genlock.consumers.session import BROKER_ERRORS
from genlock.consumers.topology import Topology
from tests.faults.clients import Post, Publisher, Subscriber, connect, declare, remove
from tests.faults.journal import Journal
from tests.faults.letters import probe
from tests.faults.oracle import QUIET_TIMEOUT_S, Oracle, Verdicts, count_waiting
from tests.faults.workload import World
from tests.harness import DEADLINE_S, until

PUBLISHERS = 3
PAUSE_S = 0.15
"""How long a publisher waits between two rounds: that makes some 100 messages a second of all of them."""


@dataclass(frozen=True)
class Load:
    """Publishers at work on a namespace, and all that is known of what they sent."""

    topology: Topology
    post: Post
    publishers: list[Publisher]
    oracle: Oracle

    @property
    def journal(self) -> Journal:
        return self.post.journal

    def begin(self) -> None:
        """Publish from now on."""
        for publisher in self.publishers:
            publisher.draw()

    async def end(self) -> None:
        """Publish nothing new, and return when all that was sent is confirmed or given up."""
        for publisher in self.publishers:
            publisher.pause()
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
        letter = probe()
        self.post.urgent.append(letter)

        async def answered() -> bool:
            return self.journal.has_outcome(letter)

        await until(answered, timeout_s)

    async def proved(self, timeout_s: float = QUIET_TIMEOUT_S) -> Verdicts:
        """End, and let the oracle check what was left; return how many verdicts there were."""
        await self.end()
        verdicts = await self.oracle.check(timeout_s)
        self.post.turn_page()
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
) -> AsyncIterator[Load]:
    """Declare a namespace with publishers and a subscriber; in the end they leave and it is removed.

    Subscriber and oracle connect to `amqp_url` and `database_url`, publishers to `publisher_url`.
    """
    chance, topology, journal = random.Random(seed), Topology(namespace, lanes), Journal()
    world = World(chance)
    post = Post(world, chance, journal)
    publishers = [Publisher(publisher_url, topology, post, pause_s) for _ in range(PUBLISHERS)]
    subscriber = Subscriber(amqp_url, topology, journal, world.learn)
    async with await connect(amqp_url) as connection:
        await declare(await connection.channel(), topology)
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(publisher.run()) for publisher in publishers]
            tasks.append(group.create_task(subscriber.run()))
            yield Load(topology, post, publishers, Oracle(database_url, amqp_url, topology, journal, sure_replies))
            for task in tasks:
                task.cancel()
    finally:
        with suppress(*BROKER_ERRORS):
            async with await connect(amqp_url) as connection:
                await remove(await connection.channel(), topology)
