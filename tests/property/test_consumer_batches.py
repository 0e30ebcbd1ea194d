"""Any commands on consumers and their providers, decided in PostgreSQL: verdicts, tokens and rows are the model's.

As in test_provider_batches.py, a batch takes its number while it holds all its locks.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genlock import servers as servers_module
from genlock.servers import Role, Servers
from genlock.service.database import verify
from genlock.service.database.transactions import DECIDING_PLANS, Pool, open_pool
from genlock.service.deciding.decide import Decider
from tests.factories import received
from tests.property.model import Answer, Json, Model
from tests.property.model_consumers import told_by
from tests.property.strategies import answers_of, comparable, moved, splits
from tests.property.strategies_consumers import allocation_lists

enough = settings(max_examples=25, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

Key = tuple[str, str]
"""Kind and id of a record."""

UNCONFIRMED = "Every batch older than a minute"
"""What `genlock verify` says where nothing is published."""


@dataclass(frozen=True)
class Stage:
    """A decider for two batches at once, and its pool: one for all examples, as is the event loop."""

    runner: asyncio.Runner
    decider: Decider
    pool: Pool


@asynccontextmanager
async def staged(admin_url: str, template: str, role: Role) -> AsyncIterator[tuple[Decider, Pool]]:
    """In the end `genlock verify` looks at what all examples together have left."""
    async with servers_module.database(admin_url, template=template) as owner_url:
        async with await open_pool(role.at(owner_url), size=2, timeout_s=20, plans=DECIDING_PLANS) as pool:
            yield Decider(pool, source="/tests", retention=timedelta(days=14), timeout_s=20), pool
        offences = {
            checked.claim: checked.offences async for checked in verify.verify(role.at(owner_url)) if checked.offences
        }
        assert [claim for claim in offences if not claim.startswith(UNCONFIRMED)] == []


@pytest.fixture(scope="module")
def stage(servers: Servers, database_template: str, service_role: Role) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        context = staged(servers.database_url, database_template, service_role)
        decider, pool = runner.run(context.__aenter__())
        yield Stage(runner, decider, pool)
        runner.run(context.__aexit__(None, None, None))


def answer_of(event: Json) -> Answer:
    """What the event says, in the model's words."""
    data, word = event["data"], event["type"].rpartition(".")[2]
    why = data.get("reason", data.get("code"))
    return word, why, data["token"] if word == "succeeded" else data.get("actual"), data["sequence"]


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
    """What the database holds of the model's records is what the model holds."""
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


async def decide(stage: Stage, batch: Iterable[Json]) -> list[Json]:
    answers = await stage.decider.decide([received(members) for members in batch])
    return [json.loads(event.body) for event in answers.events]


@enough
@given(st.data())
def test_batches_one_after_the_other_come_to_what_the_model_comes_to(stage: Stage, data: st.DataObject) -> None:
    # Records of its own for each run: the same example comes again when a failure is made smaller.
    commands = moved(data.draw(allocation_lists()), secrets.token_hex(8))
    batches = data.draw(splits(commands))
    again = data.draw(st.lists(st.sampled_from(commands), max_size=4))

    async def decide_and_check() -> None:
        model = Model()
        bodies: dict[str, Json] = {}
        for batch in batches:
            events = await decide(stage, batch)
            assert comparable(map(answer_of, events)) == comparable(answers_of(model, batch))
            for event in events:
                check_told(model, event)
                bodies.setdefault(event["id"], event)
            await check_left(stage.pool, model)
        # Redelivered, whatever has happened since, each has the answer that it had.
        for event in await decide(stage, again):
            assert event["data"].get("code") == "id_reused" or event == bodies[event["id"]]
        await check_left(stage.pool, model)

    stage.runner.run(decide_and_check())


@dataclass(frozen=True)
class Decided:
    """A batch with its number, the side that decided it, and each of its commands with its event."""

    number: int
    side: int
    pairs: list[tuple[Json, Json]]


async def decide_side(stage: Stage, side: int, batches: list[list[Json]]) -> list[Decided]:
    """Decide batches one after the other."""
    decided = []
    for batch in batches:
        answers = await stage.decider.decide([received(members) for members in batch])
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
    """Tell whether it was refused for what no lock holds still.

    A record that is not there cannot be locked, so that one which the other side has created may not have been seen;
    nor is what stands below a provider locked when that is to be deleted.
    """
    if event["type"].endswith(".succeeded"):
        return False
    unseen = {creators.get(key, side) for key in named(command)} != {side}
    return unseen or event["data"].get("code") in ("provider_has_children", "parent_not_found", "parent_loop")


@enough
@given(st.data())
def test_two_deciders_at_once_leave_what_the_model_comes_to_in_the_order_of_batches(
    stage: Stage, data: st.DataObject
) -> None:
    commands = moved(data.draw(allocation_lists()), secrets.token_hex(8))
    stocking = [command for command in commands[:6] if command["type"].startswith("provider.")]
    rest = [command for command in commands if command not in stocking]
    sides = [data.draw(st.sampled_from((0, 1))) for _ in rest]
    halves = [[command for command, side in zip(rest, sides, strict=True) if side == which] for which in (0, 1)]
    batches = [[batch for batch in data.draw(splits(half)) if batch] for half in halves]

    async def decide_and_check() -> None:
        model = Model()
        answers_of(model, stocking)
        await decide(stage, stocking)
        decided = await asyncio.gather(*(decide_side(stage, side, half) for side, half in enumerate(batches)))
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
                assert model.apply(command) == answer_of(event)
                check_told(model, event)
                creators |= dict.fromkeys(keys_of(model) - there, batch.side)
        await check_left(stage.pool, model)

    stage.runner.run(decide_and_check())
