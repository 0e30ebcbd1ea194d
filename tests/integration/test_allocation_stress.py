"""Four deciders with mixed commands on few providers and consumers: no deadlock, no lost command, nothing oversold."""

import asyncio
import json
import random
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Conflict, GenerationToken, Outcome, Rejected, Succeeded, Token
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Step
from tests.support.allocation_rows import check_sums
from tests.support.consumer_factories import reshape, set_allocations, set_many, wanted
from tests.support.database import Connection
from tests.support.deciders import Race, decider_on, deciding_pool, racing
from tests.support.factories import Json, new_id
from tests.support.harness import outcomes
from tests.support.provider_factories import create_provider, delete_provider, provider_command
from tests.support.races import check_no_deadlock

Key = tuple[str, str]
"""Kind and id of a record."""

DECIDERS = 4
PROVIDERS = 4
CONSUMERS = 6
BATCHES = 150
CLASSES = ("VCPU", "DISK_GB")

SEQUENCES = """
SELECT 'provider' AS kind, id::text, sequence FROM providers
UNION ALL SELECT 'consumer', id::text, sequence FROM consumers
"""


@dataclass
class Seen:
    """The generations that any author saw last (None: no record), and the sent commands, to send them again."""

    generations: dict[Key, int | None] = field(default_factory=dict)
    sent: list[Command] = field(default_factory=list)

    def learn(self, outcome: Outcome) -> None:
        """Expect next time what the outcome tells."""
        if isinstance(outcome, Succeeded):
            if outcome.data.id is not None:
                self._note((outcome.data.kind, outcome.data.id), outcome.token if outcome.record else None)
            for kind, tokens in (outcome.data.tokens or {}).items():
                for record_id, token in tokens.items():
                    self._note((kind, record_id), token)
        elif isinstance(outcome, Conflict):
            for failed in outcome.data.failures or []:
                self._note((failed.kind, failed.id), failed.actual)
            if outcome.data.failures is None and outcome.data.id is not None:
                self._note((outcome.data.kind, outcome.data.id), outcome.actual)

    def _note(self, key: Key, token: Token | None) -> None:
        self.generations[key] = token.generation if isinstance(token, GenerationToken) else None


class Author:
    """Sends changes of records that others change too."""

    def __init__(self, seed: int, seen: Seen, providers: list[str], consumers: list[str]) -> None:
        self.random = random.Random(seed)
        self.seen, self.providers, self.consumers = seen, providers, consumers

    def command(self) -> Command:
        match self.random.choices(("one", "many", "reshape", "provider", "again"), (8, 3, 3, 3, 1))[0]:
            case "one":
                consumer = self.random.choice(self.consumers)
                new = self.wanted(consumer)
                return set_allocations(consumer, new["expected_generation"], {}, allocations=new["allocations"])
            case "many":
                return set_many(self.some_consumers(1))
            case "reshape":
                return reshape(
                    {name: self.inventories(name) for name in self.some(self.providers)}, self.some_consumers(0)
                )
            case "again" if self.seen.sent:
                return self.random.choice(self.seen.sent)
            case _:
                return self.provider_command()

    def some(self, ids: list[str], least: int = 1) -> list[str]:
        return self.random.sample(ids, self.random.randint(least, 3))

    def some_consumers(self, least: int) -> dict[str, Json]:
        return {consumer: self.wanted(consumer) for consumer in self.some(self.consumers, least)}

    def wanted(self, consumer: str) -> Json:
        amounts: dict[str, dict[str, int]] = {}
        if self.random.random() < 0.8:
            for provider in self.some(self.providers):
                classes = self.random.choices(CLASSES, (3, 1), k=2)
                amounts[provider] = {name: self.random.randint(1, 4) for name in classes}
        seen = {name: self.seen.generations.get(("provider", name)) for name in amounts}
        checked = {
            name: generation
            for name, generation in seen.items()
            if generation is not None and self.random.random() < 0.2
        }
        return wanted(self.seen.generations.get(("consumer", consumer)), amounts, checked)

    def inventories(self, provider: str) -> Json:
        return {"expected_generation": self.generation(provider), "inventories": self.stock()}

    def stock(self) -> Json:
        classes = CLASSES if self.random.random() < 0.7 else CLASSES[:1]
        return {name: {"total": self.random.randint(6, 12)} for name in classes}

    def generation(self, provider: str) -> int:
        return self.seen.generations.get(("provider", provider)) or 0

    def provider_command(self) -> Command:
        provider = self.random.choice(self.providers)
        if self.seen.generations.get(("provider", provider)) is None:
            return create_provider(provider)
        expected: dict[str, Any] = {"expected_generation": self.generation(provider)}
        verb = self.random.choice(("set_inventories", "set_inventories", "put_inventory", "delete_inventory", "delete"))
        match verb:
            case "set_inventories":
                return provider_command(verb, provider, inventories=self.stock(), **expected)
            case "delete":
                return delete_provider(provider, expected["expected_generation"])
            case _:
                return provider_command(verb, provider, resource_class=self.random.choice(CLASSES), **expected)


@pytest.fixture
async def race(database_url: str, second: Connection) -> AsyncIterator[Race]:
    async with racing(database_url, second, batches=DECIDERS) as race:
        yield race


async def act(author: Author, decider: Decider) -> list[tuple[Command, Outcome]]:
    answered: list[tuple[Command, Outcome]] = []
    for _ in range(BATCHES):
        batch = [author.command() for _ in range(author.random.choice((1, 1, 2, 4)))]
        author.seen.sent += batch
        for command, outcome in zip(batch, outcomes(await decider.decide(batch)), strict=True):
            author.seen.learn(outcome)
            answered.append((command, outcome))
    return answered


def changed_by(command: Command, outcome: Outcome) -> Iterator[tuple[str, str, str]]:
    """The records that a success tells to have changed, with their new generations."""
    if not isinstance(outcome, Succeeded):
        return
    own = {outcome.data.kind: {command.subject: outcome.token}} if command.subject else {}
    for tokens in (own, outcome.data.tokens or {}):
        for kind, by_id in tokens.items():
            for record_id, token in by_id.items():
                assert isinstance(token, GenerationToken)
                yield kind, record_id, str(token.generation)


@pytest.mark.parametrize("seed", range(2))
async def test_mixed_commands_at_once_lose_nothing_and_never_deadlock(
    race: Race, second: Connection, seed: int
) -> None:
    decider, steps = race.decider, race.steps
    providers, consumers = [new_id() for _ in range(PROVIDERS)], [new_id() for _ in range(CONSUMERS)]
    seen = Seen()
    authors = [Author(10 * seed + number, seen, providers, consumers) for number in range(DECIDERS)]
    answered = await asyncio.gather(*(act(author, decider) for author in authors))
    everything = [pair for pairs in answered for pair in pairs]

    # Each command has one verdict, which all its copies got, and the ledger has it.
    ledger = {row["id"]: row["event"] for row in await second.fetch("SELECT id::text, event FROM ledger")}
    assert ledger.keys() == {command.id for command, _ in everything}
    for command, outcome in everything:
        assert json.loads(ledger[command.id])["data"] == json.loads(outcome.model_dump_json(exclude_unset=True))["data"]
    # What a success tells to have changed is what history has, record by record and without a gap.
    rows = await second.fetch("SELECT kind, record_id, token, command_id::text FROM changes ORDER BY 1, 2, sequence")
    history: dict[str, set[tuple[str, str, str]]] = defaultdict(set)
    for row in rows:
        history[row["command_id"]].add((row["kind"], row["record_id"], row["token"]))
    told = {command.id: set(changed_by(command, outcome)) for command, outcome in everything}
    assert history == {command_id: changes for command_id, changes in told.items() if changes}
    counts = Counter((row["kind"], row["record_id"]) for row in rows)
    assert counts == {(row["kind"], row["id"]): row["sequence"] for row in await second.fetch(SEQUENCES)}
    await check_sums(second)
    # It was no walk-over: there were winners, losers and refusals of many kinds.
    words = Counter(
        outcome.reason if isinstance(outcome, Conflict) else outcome.code if isinstance(outcome, Rejected) else "ok"
        for _, outcome in everything
    )
    assert words["ok"] > 100
    assert {"stale", "missing", "exists", "not_found", "capacity_exceeded", "no_inventory"} <= words.keys()
    # And few of the batches had to be decided again.
    assert steps.count(Step.COMMITTED) == DECIDERS * BATCHES
    assert steps.count(Step.BEGUN) < 2 * DECIDERS * BATCHES


async def test_consumer_that_moves_all_the_time_keeps_no_batch_waiting_for_ever(
    database_url: str, second: Connection
) -> None:
    """Each of its moves may make the others decide again, once: from then on they have the moving alone."""
    providers, consumer, latest = [new_id() for _ in range(8)], new_id(), [1]
    async with deciding_pool(database_url, 8) as pool:

        def decider_with(steps: list[Step]) -> Decider:
            return decider_on(pool, failpoint=steps.append)

        async def move_about(seed: int) -> None:
            chance, steps = random.Random(seed), list[Step]()
            decider = decider_with(steps)
            for _ in range(40):
                target = {chance.choice(providers): {"VCPU": 1}}
                steps.clear()
                [outcome] = outcomes(await decider.decide([set_allocations(consumer, latest[0], target)]))
                assert steps.count(Step.BEGUN) <= 2
                token = outcome.token if isinstance(outcome, Succeeded) else getattr(outcome, "actual", None)
                assert isinstance(token, GenerationToken)
                latest[0] = max(latest[0], token.generation)

        for provider in providers:
            stock = provider_command("put_inventory", provider, expected_generation=0)
            await decider_with([]).decide([create_provider(provider), stock])
        await decider_with([]).decide([set_allocations(consumer, None, {providers[0]: {"VCPU": 1}})])
        await asyncio.gather(*(move_about(seed) for seed in range(8)))
    await check_no_deadlock(second)
    await check_sums(second)
    assert await second.fetchval("SELECT generation FROM consumers") == latest[0] > 40
