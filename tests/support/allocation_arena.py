"""Providers to race for: a decider with enough connections, and statements whose locks fix the order of the race."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Outcome, Succeeded
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Step
from tests.support.consumer_factories import set_allocations
from tests.support.database import Connection
from tests.support.deciders import racing
from tests.support.factories import new_id
from tests.support.harness import outcomes, until_waiting
from tests.support.provider_factories import create_provider, provider_command

TOTAL = 8
"""How much VCPU each provider has."""

CONCURRENT_BATCHES = 12
"""How many batches can be decided at once."""

LOCK_ONE = "SELECT id FROM providers WHERE id = $1 FOR UPDATE"
LOCK_CONSUMERS = "SELECT id FROM consumers ORDER BY id FOR UPDATE"


@dataclass
class Arena:
    """A decider that tells its steps, and three providers with 8 VCPU each, in the order of their ids."""

    decider: Decider
    steps: list[Step] = field(default_factory=list)
    providers: list[str] = field(default_factory=lambda: sorted(new_id() for _ in range(3)))

    @property
    def tries(self) -> int:
        """How often batches were begun since the consumer was made."""
        return self.steps.count(Step.BEGUN)

    async def decide(self, *commands: Command) -> list[Outcome]:
        return outcomes(await self.decider.decide(commands))

    async def consumer(self, *providers: str, amount: int = 2) -> str:
        """A consumer at generation 1 that has so much of each of the providers."""
        consumer = new_id()
        [made] = await self.decide(set_allocations(consumer, None, {name: {"VCPU": amount} for name in providers}))
        assert isinstance(made, Succeeded)
        self.steps.clear()
        return consumer

    async def while_changed(self, second: Connection, command: Command, *statements: tuple[str, str]) -> Outcome:
        """Decide a command that has read everything and waits to write, while the second connection changes rows.

        Each statement comes with the id of the provider that it is about.
        """
        async with second.transaction():
            for statement, provider in statements:
                assert await second.execute(statement, provider) not in ("UPDATE 0", "DELETE 0")
            deciding = asyncio.create_task(self.decider.decide([command]))
            await until_waiting(second, 1)
        [outcome] = outcomes(await deciding)
        assert self.tries == 2
        return outcome


@asynccontextmanager
async def open_arena(database_url: str, second: Connection) -> AsyncIterator[Arena]:
    """Fill an empty database with the providers; in the end no deadlock may have happened there."""
    async with racing(database_url, second, CONCURRENT_BATCHES) as race:
        made = Arena(race.decider, race.steps)
        for provider in made.providers:
            stock = provider_command("put_inventory", provider, expected_generation=0, inventory={"total": TOTAL})
            await made.decide(create_provider(provider), stock)
        made.steps.clear()
        yield made
