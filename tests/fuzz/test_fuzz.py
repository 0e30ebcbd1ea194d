"""Thousands of messages of every kind through one service: each ends as one outcome or one dead letter, and it lives.

`FUZZ_EXAMPLES` sends so many, other ones each time; what a run has drawn comes again from the `FUZZ_SEED` that it told.
"""

import asyncio
import os
import random
from collections.abc import Iterator

import pytest
from hypothesis import strategies as st

from genlock.schemas.catalogue import COMMANDS
from genlock.schemas.queries import QUERIES
from genlock.service.database.verify import verify
from genlock.service.kinds.registry import KINDS
from genlock.service.settings import Settings
from tests.fuzz.bodies import DATA, QUERY_DATA
from tests.fuzz.drafts import Draft, commands, drawn, queries
from tests.fuzz.service import watching
from tests.support.database import Connection
from tests.support.harness import serving

EXAMPLES = 3_000
SHARE_OF_QUERIES = 1 / 6
DRAWN_AT_ONCE = 2_500
SENT_AT_ONCE = 200


def batches(strategy: st.SearchStrategy[Draft], share: float) -> Iterator[list[Draft]]:
    """Drafts in batches, a share of all: always the same ones, unless the environment asks for a number of them."""
    asked = os.environ.get("FUZZ_EXAMPLES")
    seed = None
    examples = round(int(asked or EXAMPLES) * share)
    if asked:
        seed = int(os.environ.get("FUZZ_SEED") or random.randrange(10**6))
    while examples > 0:
        if seed is not None:
            print(f"{examples} to go, FUZZ_SEED={seed}", flush=True)  # noqa: T201 - to be seen where the test fails
        drafts = drawn(strategy, min(DRAWN_AT_ONCE, examples), seed)
        examples -= len(drafts)
        seed = None if seed is None else seed + 1
        for start in range(0, len(drafts), SENT_AT_ONCE):
            yield drafts[start : start + SENT_AT_ONCE]


def test_every_command_and_every_query_is_sent() -> None:
    assert DATA.keys() == COMMANDS.keys()
    assert QUERY_DATA.keys() == QUERIES.keys()


@pytest.mark.timeout(0)
async def test_any_messages_end_in_one_outcome_or_dead_letter_each(
    settings: Settings, amqp_url: str, namespace: str, database_url: str, second: Connection
) -> None:
    async with watching(amqp_url, namespace) as watcher:
        async with serving(settings, sweep_after_s=3600.0):
            todo = batches(commands(watcher.replies, namespace), 1 - SHARE_OF_QUERIES)
            while drafts := await asyncio.to_thread(next, todo, None):
                await watcher.send(drafts)
        inbox = await watcher.sending.declare_queue(watcher.topology.inbox, passive=True)
        assert inbox.declaration_result.message_count == 0
        assert watcher.troubles == []
    assert watcher.codes["internal_error"] == 0
    # The ones that are always the same are of every kind.
    if "FUZZ_EXAMPLES" not in os.environ:
        assert set(watcher.codes) >= {"succeeded", "conflict", "invalid_data", "id_reused", "routing_key_mismatch"}
        assert len(watcher.dead_letters) > watcher.sent // 20
    assert await second.fetchval("SELECT count(*) FROM ledger") == len(watcher.events)
    assert [checked.claim async for checked in verify(database_url, KINDS) if checked.violations] == []


@pytest.mark.timeout(0)
async def test_any_queries_are_answered_or_dropped_and_the_service_lives(
    settings: Settings, amqp_url: str, namespace: str
) -> None:
    async with watching(amqp_url, namespace) as watcher:
        async with serving(settings) as service:
            todo = batches(queries(watcher.replies, namespace), SHARE_OF_QUERIES)
            while drafts := await asyncio.to_thread(next, todo, None):
                await watcher.ask(drafts, service.registry)
        queue = await watcher.sending.declare_queue(watcher.topology.queries, durable=True, passive=True)
        assert queue.declaration_result.message_count == 0
        assert watcher.troubles == []
    results = {
        sample.labels["result"]
        for family in service.registry.collect()
        for sample in family.samples
        if sample.name == "genlock_queries_total"
    }
    assert results <= {"answered", "error", "dropped"}
    if "FUZZ_EXAMPLES" not in os.environ:
        assert len(results) == 3
        assert watcher.answered > 0
    assert watcher.ended == 0
