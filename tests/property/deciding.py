"""A decider on a database that all examples of a module share, and the proof of what they leave there."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import asyncpg
from hypothesis import HealthCheck, settings

from genlock import servers as servers_module
from genlock.servers import Role
from genlock.service.database.transactions import Pool
from genlock.service.database.verify import verify
from genlock.service.deciding.decide import Decider
from genlock.service.kinds.registry import KINDS
from tests.property.model import Json, VerdictSummary
from tests.support.database import Connection
from tests.support.deciders import decider_on, deciding_pool
from tests.support.factories import received

BATCHES_AT_ONCE = 6

enough = settings(max_examples=25, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
"""How many examples a test on a real database tries."""

UNCONFIRMED = "Every batch older than a minute"
"""The claim of `genlock verify` that fails because the property tests publish nothing."""


@dataclass(frozen=True)
class Deciding:
    """A decider for a few batches at once, its pool, and the owner's connection; `runner` has their event loop."""

    runner: asyncio.Runner
    decider: Decider
    pool: Pool
    connection: Connection


@asynccontextmanager
async def deciding_database(
    runner: asyncio.Runner, admin_url: str, template: str, role: Role
) -> AsyncIterator[Deciding]:
    """Open a copy of the template; in the end `genlock verify` checks what all examples together have left."""
    async with servers_module.database(admin_url, template=template) as owner_url:
        async with deciding_pool(role.at(owner_url), BATCHES_AT_ONCE) as pool:
            connection = await asyncpg.connect(owner_url)
            yield Deciding(runner, decider_on(pool), pool, connection)
            await connection.close()
        failed = [checked.claim async for checked in verify(role.at(owner_url), KINDS) if checked.violations]
        assert [claim for claim in failed if not claim.startswith(UNCONFIRMED)] == []


async def decide_all(decider: Decider, batches: list[list[Json]]) -> list[tuple[str, bytes]]:
    """Decide batches one after the other; return each command's id and answer."""
    answered = []
    for batch in batches:
        answers = await decider.decide([received(members) for members in batch])
        answered += [(members["id"], event.body.encode()) for members, event in zip(batch, answers.events, strict=True)]
    return answered


def summary_of(event: Json) -> VerdictSummary:
    """Return what the event says, in the model's words."""
    data, word = event["data"], event["type"].rpartition(".")[2]
    why = data.get("reason", data.get("code"))
    return word, why, data["token"] if word == "succeeded" else data.get("actual"), data["sequence"]
