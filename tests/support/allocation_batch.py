"""Batches about two providers with an inventory each, and the verdict of every command as one word."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, Outcome, Rejected, Succeeded
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Step
from tests.support.allocation_rows import check_sums
from tests.support.database import Connection
from tests.support.deciders import decider_on
from tests.support.factories import Json, new_id
from tests.support.harness import outcomes
from tests.support.provider_factories import create_provider, provider_command


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
class Arena:
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
async def open_arena(pool: Pool, second: Connection) -> AsyncIterator[Arena]:
    """Fill an empty database with the providers; in the end `used` must equal the allocations there."""
    steps: list[Step] = []
    decider = decider_on(pool, failpoint=steps.append)
    made = Arena(decider, steps)
    for provider in (made.one, made.other):
        stock = provider_command("put_inventory", provider, expected_generation=0)
        assert await made.decide(create_provider(provider), stock) == ["succeeded"] * 2
    yield made
    await check_sums(second)


def inventories(provider: str, expected: int, **totals: int) -> dict[str, Json]:
    """A provider as a reshape shall make it: with so much of each class, and nothing else."""
    plain = {name: {"total": total} for name, total in totals.items()}
    return {provider: {"expected_generation": expected, "inventories": plain}}
