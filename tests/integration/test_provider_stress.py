"""Four deciders that move a dozen providers about as fast as they can: no loop, no deadlock, one verdict for each."""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, GenerationToken, Outcome, Succeeded
from genlock.service.database.transactions import Pool
from genlock.service.deciding.decide import Decider
from tests.support.database import Connection
from tests.support.deciders import Race, racing
from tests.support.factories import new_id
from tests.support.harness import outcomes
from tests.support.provider_factories import create_provider, delete_provider, move_provider, rename_provider

DECIDERS = 4
PROVIDERS = 12
BATCHES = 200

# In one snapshot: live providers that no way leads to from a root, or whose parent is not alive.
ASTRAY = """
WITH RECURSIVE standing AS (
    SELECT id FROM providers WHERE parent_id IS NULL AND NOT deleted
    UNION
    SELECT child.id FROM standing JOIN providers AS child ON child.parent_id = standing.id AND NOT child.deleted
)
SELECT count(*) FROM providers WHERE NOT deleted AND id NOT IN (SELECT id FROM standing)
"""


@pytest.fixture
async def race(database_url: str, second: Connection) -> AsyncIterator[Race]:
    async with racing(database_url, second, batches=DECIDERS) as race:
        yield race


class Author:
    """Sends changes of providers that others change too, with the generations that any of them saw last."""

    def __init__(self, seed: int, generations: dict[str, int | None]) -> None:
        self.random = random.Random(seed)
        self.providers = sorted(generations)
        self.generations = generations

    def command(self) -> Command:
        provider, other = self.random.choices(self.providers, k=2)
        generation = self.generations[provider]
        if generation is None:
            return create_provider(provider, self.name(), parent_id=other if self.random.random() < 0.5 else None)
        match self.random.choices(("move", "free", "rename", "delete"), (16, 4, 1, 1))[0]:
            case "move":
                return move_provider(provider, generation, other)
            case "free":
                return move_provider(provider, generation, None)
            case "rename":
                return rename_provider(provider, generation, self.name())
            case _:
                return delete_provider(provider, generation)

    def name(self) -> str:
        return f"name {self.random.randrange(PROVIDERS)}"

    def learn(self, provider: str, outcome: Outcome) -> None:
        """Expect next time what the outcome tells."""
        token = None
        if isinstance(outcome, Succeeded) and outcome.record is not None:
            token = outcome.token
        elif isinstance(outcome, Conflict):
            token = outcome.actual
        elif not isinstance(outcome, Succeeded):
            return
        self.generations[provider] = token.generation if isinstance(token, GenerationToken) else None


async def act(author: Author, decider: Decider, pool: Pool) -> list[tuple[Command, Outcome]]:
    """Decide batches of a few commands, one after the other, and look for loops after each."""
    answered: list[tuple[Command, Outcome]] = []
    for _ in range(BATCHES):
        batch = [author.command() for _ in range(author.random.choice((1, 1, 2)))]
        for command, outcome in zip(batch, outcomes(await decider.decide(batch)), strict=True):
            author.learn(command.subject, outcome)
            answered.append((command, outcome))
        assert await pool.fetchval(ASTRAY) == 0
    return answered


async def test_random_moves_at_once_make_no_loop_and_no_deadlock(race: Race, second: Connection) -> None:
    decider, pool = race.decider, race.pool
    providers = [new_id() for _ in range(PROVIDERS)]
    await decider.decide([create_provider(provider) for provider in providers])
    generations: dict[str, int | None] = dict.fromkeys(providers, 0)
    authors = [Author(number, generations) for number in range(DECIDERS)]
    answered = await asyncio.gather(*(act(author, decider, pool) for author in authors))
    everything = [pair for pairs in answered for pair in pairs]

    # Each command has one verdict, and the ledger has it.
    ledger = {row["id"]: row["event"] for row in await second.fetch("SELECT id::text, event FROM ledger")}
    assert len(ledger) == len(everything) + PROVIDERS
    for command, outcome in everything:
        assert json.loads(ledger[command.id])["id"] == outcome.id
    # Each accepted one has one change, and each generation one maker.
    rows = await second.fetch("SELECT record_id, sequence, token, command_id::text FROM changes ORDER BY 1, 2")
    accepted = {command.id for command, outcome in everything if isinstance(outcome, Succeeded)}
    assert {row["command_id"] for row in rows if row["sequence"] > 1} == accepted
    assert all(int(row["token"]) == row["sequence"] - 1 for row in rows)
    assert Counter(row["record_id"] for row in rows) == {
        str(row["id"]): row["generation"] + 1 for row in await second.fetch("SELECT id, generation FROM providers")
    }
    # A name is held by the one live provider that has it.
    live = await second.fetch("SELECT name, id::text FROM providers WHERE NOT deleted ORDER BY 1")
    assert live == await second.fetch("SELECT name, record_id FROM names ORDER BY 1")
