"""Any commands on consumers and their providers, decided in PostgreSQL: verdicts, tokens and rows are the model's.

As in test_provider_batches.py, a batch takes its number while it holds all its locks.
"""

import asyncio
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from genlock.service.database.transactions import Pool
from tests.property.deciding import Deciding, enough, summary_of
from tests.property.model import Json, Model
from tests.property.model_consumers import told_by
from tests.property.strategies import comparable, moved, splits, summaries_of
from tests.property.strategies_consumers import allocation_lists
from tests.support.factories import received

Key = tuple[str, str]
"""Kind and id of a record."""


def check_told(model: Model, event: Json) -> None:
    """All that the event says besides its verdict is what the model told the command."""
    command_id, data = event["causationid"], event["data"]
    if data.get("code") in ("id_reused", "invalid_data"):
        return
    if data["kind"] == "consumer" or "failures" in data:
        assert told_by(event) == model.told[command_id]
    elif "code" not in data:
        assert data.get("record", data.get("current")) == model.shown[command_id]


async def check_left(pool: Pool, model: Model) -> None:
    """The database holds the same records as the model."""
    ids = [*model.consumers, *model.providers]
    rows = await pool.fetch("SELECT *, maker_id::text AS maker FROM consumers WHERE id = ANY ($1::uuid[])", ids)
    assert {str(row["id"]): (row["generation"], row["sequence"], row["deleted"], row["maker"]) for row in rows} == {
        consumer_id: (
            consumer.generation,
            consumer.generation,
            not consumer.amounts,
            model.makers["consumer", consumer_id],
        )
        for consumer_id, consumer in model.consumers.items()
    }
    assert {str(row["id"]): (row["project_id"], row["user_id"], row["consumer_type"]) for row in rows} == {
        consumer_id: (consumer.project, consumer.user, consumer.type)
        for consumer_id, consumer in model.consumers.items()
    }
    rows = await pool.fetch("SELECT * FROM allocations WHERE consumer_id = ANY ($1::uuid[])", ids)
    assert {(str(row[0]), str(row[1]), row[2]): row[3] for row in rows} == {
        (consumer_id, provider_id, name): amount
        for consumer_id, consumer in model.consumers.items()
        for provider_id, amounts in consumer.amounts.items()
        for name, amount in amounts.items()
    }
    rows = await pool.fetch("SELECT *, maker_id::text AS maker FROM providers WHERE id = ANY ($1::uuid[])", ids)
    assert {str(row["id"]): (row["generation"], row["deleted"], row["maker"]) for row in rows} == {
        provider_id: (provider.generation, provider.deleted, model.makers["provider", provider_id])
        for provider_id, provider in model.providers.items()
    }
    rows = await pool.fetch("SELECT * FROM inventories WHERE provider_id = ANY ($1::uuid[])", ids)
    amounts = ("total", "reserved", "min_unit", "max_unit", "step_size", "allocation_ratio", "used")
    assert {(str(row[0]), row[1]): {name: row[name] for name in amounts} for row in rows} == {
        (provider_id, name): inventory | {"used": model.used(provider_id, name)}
        for provider_id, provider in model.providers.items()
        for name, inventory in provider.inventories.items()
    }
    await check_history(pool, model)


async def check_history(pool: Pool, model: Model) -> None:
    """Each record has a change for each of its generations."""
    rows = await pool.fetch(
        "SELECT kind, record_id, array_agg(token ORDER BY sequence) AS tokens FROM changes"
        " WHERE record_id = ANY ($1::text[]) GROUP BY kind, record_id",
        [*model.consumers, *model.providers],
    )
    assert {(row["kind"], row["record_id"]): row["tokens"] for row in rows} == {
        (kind, record_id): [str(number) for number in range(first, record.generation + 1)]
        for kind, first, records in (("consumer", 1, model.consumers), ("provider", 0, model.providers))
        for record_id, record in records.items()
    }


async def decide(deciding: Deciding, batch: Iterable[Json]) -> list[Json]:
    answers = await deciding.decider.decide([received(members) for members in batch])
    return [json.loads(event.body) for event in answers.events]


@enough
@given(st.data())
def test_batches_one_after_the_other_come_to_what_the_model_comes_to(deciding: Deciding, data: st.DataObject) -> None:
    # Records of its own for each run: the same example comes again when a failure is made smaller.
    commands = moved(data.draw(allocation_lists()), secrets.token_hex(8))
    batches = data.draw(splits(commands))
    again = data.draw(st.lists(st.sampled_from(commands), max_size=4))

    async def decide_and_check() -> None:
        model = Model()
        bodies: dict[str, Json] = {}
        for batch in batches:
            events = await decide(deciding, batch)
            assert comparable(map(summary_of, events)) == comparable(summaries_of(model, batch))
            for event in events:
                check_told(model, event)
                bodies.setdefault(event["id"], event)
            await check_left(deciding.pool, model)
        # Redelivered, whatever has happened since, each has the answer that it had.
        for event in await decide(deciding, again):
            assert event["data"].get("code") == "id_reused" or event == bodies[event["id"]]
        await check_left(deciding.pool, model)

    deciding.runner.run(decide_and_check())


@dataclass(frozen=True)
class Decided:
    """A batch with its number, the side that decided it, and each of its commands with its event."""

    number: int
    side: int
    pairs: list[tuple[Json, Json]]


async def decide_side(deciding: Deciding, side: int, batches: list[list[Json]]) -> list[Decided]:
    """Decide batches one after the other."""
    decided = []
    for batch in batches:
        answers = await deciding.decider.decide([received(members) for members in batch])
        pairs = list(zip(batch, (json.loads(event.body) for event in answers.events), strict=True))
        # A batch of known ids alone has no number, and changes nothing.
        if answers.batch_ids:
            [number] = answers.batch_ids
            decided.append(Decided(number, side, pairs))
    return decided


def named(command: Json) -> set[Key]:
    """The records that a command names."""
    data, kind = command["data"], command["type"].partition(".")[0]
    consumers = data.get("consumers", {command["subject"]: data} if kind == "consumer" else {})
    providers = {name for new in consumers.values() for name in new.get("allocations", ())} | {
        *data.get("inventories", ())
    }
    if kind == "provider":
        providers = {command["subject"], data.get("parent_id") or command["subject"]}
    return {("consumer", name) for name in consumers} | {("provider", name) for name in providers}


def keys_of(model: Model) -> set[Key]:
    return {("consumer", name) for name in model.consumers} | {("provider", name) for name in model.providers}


def may_be_older(event: Json, command: Json, creators: dict[Key, int], side: int) -> bool:
    """Tell whether it was refused because of a state that no lock protects.

    A record that does not exist cannot be locked, so the command may have missed one that the other side created.
    A provider's children are not locked either when it is to be deleted.
    """
    if event["type"].endswith(".succeeded"):
        return False
    unseen = {creators.get(key, side) for key in named(command)} != {side}
    return unseen or event["data"].get("code") in ("provider_has_children", "parent_not_found", "parent_loop")


@enough
@given(st.data())
def test_two_deciders_at_once_leave_what_the_model_comes_to_in_the_order_of_batches(
    deciding: Deciding, data: st.DataObject
) -> None:
    commands = moved(data.draw(allocation_lists()), secrets.token_hex(8))
    stocking = [command for command in commands[:6] if command["type"].startswith("provider.")]
    rest = [command for command in commands if command not in stocking]
    sides = [data.draw(st.sampled_from((0, 1))) for _ in rest]
    halves = [[command for command, side in zip(rest, sides, strict=True) if side == which] for which in (0, 1)]
    batches = [[batch for batch in data.draw(splits(half)) if batch] for half in halves]

    async def decide_and_check() -> None:
        model = Model()
        summaries_of(model, stocking)
        await decide(deciding, stocking)
        decided = await asyncio.gather(*(decide_side(deciding, side, half) for side, half in enumerate(batches)))
        creators: dict[Key, int] = {}
        answered: set[str] = set()
        for batch in sorted((batch for half in decided for batch in half), key=lambda batch: batch.number):
            for command, event in batch.pairs:
                if command["id"] in answered or event["data"].get("code") == "id_reused":
                    continue
                answered.add(command["id"])
                if may_be_older(event, command, creators, batch.side):
                    continue
                there = keys_of(model)
                assert model.apply(command) == summary_of(event)
                check_told(model, event)
                creators |= dict.fromkeys(keys_of(model) - there, batch.side)
        await check_left(deciding.pool, model)

    deciding.runner.run(decide_and_check())
