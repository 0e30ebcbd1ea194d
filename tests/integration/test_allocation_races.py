"""Consumers that race for the last units of a few providers: exactly what fits is granted, and nothing is lost."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from genlock.schemas.consumers import ConsumerSetAllocations
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Outcome, Rejected, Succeeded
from genlock.service.deciding.decide import Decider
from tests.support.consumer_factories import set_allocations
from tests.support.database import Connection
from tests.support.deciders import Race, racing
from tests.support.factories import new_id
from tests.support.harness import outcomes
from tests.support.provider_factories import create_provider, provider_command

CONSUMERS = 200
UNITS = 50
DECIDERS = 4
ROUNDS = 12

USED = """
SELECT provider_id::text, used, coalesce((
    SELECT sum(amount) FROM allocations WHERE allocations.provider_id = inventories.provider_id
), 0) AS allocated
FROM inventories
"""


@pytest.fixture
async def race(database_url: str, second: Connection) -> AsyncIterator[Race]:
    async with racing(database_url, second, batches=DECIDERS) as race:
        yield race


async def decide_all(decider: Decider, commands: list[Command]) -> dict[str, Outcome]:
    """Decide the commands in batches of a few, by several deciders at once; the outcome of each command id."""
    batches = [commands[start : start + 10] for start in range(0, len(commands), 10)]
    found: dict[str, Outcome] = {}

    async def work() -> None:
        while batches:
            for outcome in outcomes(await decider.decide(batches.pop())):
                found[outcome.causationid] = outcome

    await asyncio.gather(*(work() for _ in range(DECIDERS)))
    return found


@pytest.mark.parametrize("seed", range(ROUNDS))
async def test_consumers_that_race_for_the_last_units_get_exactly_what_fits(
    race: Race, second: Connection, seed: int
) -> None:
    chance = random.Random(seed)
    providers = [new_id() for _ in range(3)]
    for provider in providers:
        inventory = {"resource_class": "VCPU", "inventory": {"total": UNITS}}
        await race.decider.decide(
            [
                create_provider(provider),
                provider_command("put_inventory", provider, expected_generation=0, **inventory),
            ]
        )
    commands = []
    for _ in range(CONSUMERS):
        wanted = chance.sample(providers, chance.randint(1, 3))
        commands.append(set_allocations(new_id(), None, {name: {"VCPU": chance.randint(1, 3)} for name in wanted}))
    answered = await decide_all(race.decider, commands)
    assert answered.keys() == {command.id for command in commands}
    assert {type(outcome) for outcome in answered.values()} == {Succeeded, Rejected}
    rows = {row["provider_id"]: row for row in await second.fetch(USED)}
    granted: Counter[str] = Counter()
    for command in commands:
        if isinstance(answered[command.id], Succeeded):
            assert isinstance(command.data, ConsumerSetAllocations)
            for provider, allocation in command.data.allocations.items():
                granted[provider] += allocation.resources["VCPU"]
    assert {name: row["used"] for name, row in rows.items()} == granted
    assert {name: row["allocated"] for name, row in rows.items()} == granted
    assert max(granted.values()) <= UNITS
    # Every refused request still does not fit: usage only grows here.
    for outcome in answered.values():
        if isinstance(outcome, Rejected):
            assert outcome.code == "capacity_exceeded"
            assert all(short.asked + short.used > UNITS for short in outcome.data.shortages or [])
