"""Batches about two providers with an inventory each: what was said of every command, in a word."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeAlias

import asyncpg

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, Outcome, Rejected, Succeeded
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Step
from tests.allocation_rows import check_sums
from tests.factories import Json, new_id
from tests.harness import outcomes
from tests.provider_factories import create_provider, provider_command

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


def word(outcome: Outcome) -> str:
    """The verdict's reason, code or word."""
    match outcome:
        case Conflict():
            return outcome.reason
        case Rejected():
            return outcome.code
        case Succeeded():
            return "succeeded"


@dataclass
class Yard:
    """A decider, the steps that it reached, and providers with an inventory of 8 VCPU each, at generation 1."""

    decider: Decider
    steps: list[Step]
    one: str = field(default_factory=new_id)
    other: str = field(default_factory=new_id)

    async def decide(self, *commands: Command) -> list[str]:
        """Decide a batch, at the first try, and say of each command its verdict's reason, code or word."""
        return [word(outcome) for outcome in await self.outcomes(*commands)]

    async def outcomes(self, *commands: Command) -> list[Outcome]:
        self.steps.clear()
        found = outcomes(await self.decider.decide(commands))
        assert self.steps.count(Step.BEGUN) == 1
        return found


@asynccontextmanager
async def open_yard(pool: Pool, second: Connection) -> AsyncIterator[Yard]:
    """Fill an empty database with the providers; in the end `used` must be what is allocated there."""
    steps: list[Step] = []
    decider = Decider(pool, source="/tests", retention=timedelta(days=14), timeout_s=20, reached=steps.append)
    made = Yard(decider, steps)
    for provider in (made.one, made.other):
        stock = provider_command("put_inventory", provider, expected_generation=0)
        assert await made.decide(create_provider(provider), stock) == ["succeeded"] * 2
    yield made
    await check_sums(second)


def inventories(provider: str, expected: int, **totals: int) -> dict[str, Json]:
    """A provider as a reshape shall make it: with so much of each class, and nothing else."""
    plain = {name: {"total": total} for name, total in totals.items()}
    return {provider: {"expected_generation": expected, "inventories": plain}}
