"""Any commands on providers, decided in PostgreSQL: what is left is what the model comes to in the order of batches.

A batch takes its number while it holds all its locks, so that of two batches which touch the same rows the one with
the lower number came first. What is read without a lock may be older than that, and only ever refuses a command.
"""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from genlock import servers as servers_module
from genlock.schemas.queries import NoFilters
from genlock.servers import Role, Servers
from genlock.service.database.transactions import DECIDING_PLANS, Pool, open_pool
from genlock.service.deciding.decide import Decider
from genlock.service.reading.reads import QueryError, read
from tests.factories import received
from tests.property.model import Answer, Json, Model
from tests.property.strategies import PROVIDERS_ONLY, answers_of, command_lists, comparable, moved, splits

enough = settings(max_examples=25, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])

READ_UNLOCKED = {"duplicate_name", "provider_has_children", "parent_not_found"}
"""Why a command may be refused for something that another batch is just changing."""


@dataclass(frozen=True)
class Stage:
    """A decider for two batches at once, and its pool: one for all examples, as is the event loop."""

    runner: asyncio.Runner
    decider: Decider
    pool: Pool


@asynccontextmanager
async def staged(admin_url: str, template: str, role: Role) -> AsyncIterator[tuple[Decider, Pool]]:
    async with (
        servers_module.database(admin_url, template=template) as owner_url,
        await open_pool(role.at(owner_url), size=2, timeout_s=20, plans=DECIDING_PLANS) as pool,
    ):
        yield Decider(pool, source="/tests", retention=timedelta(days=14), timeout_s=20), pool


@pytest.fixture(scope="module")
def stage(servers: Servers, database_template: str, service_role: Role) -> Iterator[Stage]:
    with asyncio.Runner() as runner:
        context = staged(servers.database_url, database_template, service_role)
        decider, pool = runner.run(context.__aenter__())
        yield Stage(runner, decider, pool)
        runner.run(context.__aexit__(None, None, None))


async def decide_all(stage: Stage, batches: list[list[Json]], numbers: dict[int, list[Json]]) -> list[Json]:
    """Decide batches one after the other; return the events, and note which batch got which number."""
    events: list[Json] = []
    for batch in batches:
        answers = await stage.decider.decide([received(members) for members in batch])
        numbers.update(dict.fromkeys(answers.batch_ids, batch))
        events += [json.loads(event.body) for event in answers.events]
    return events


def answer_of(event: Json) -> Answer:
    """What the event says, in the model's words."""
    data, word = event["data"], event["type"].rpartition(".")[2]
    why = data.get("reason", data.get("code"))
    return word, why, data["token"] if word == "succeeded" else data.get("actual"), data["sequence"]


def may_be_older(event: Json) -> bool:
    """Tell whether it was refused for what no lock holds still: a record that is not there cannot be locked."""
    word, why, _, sequence = answer_of(event)
    return word != "succeeded" and (why in READ_UNLOCKED or sequence == 0)


async def ordered(stage: Stage, numbers: dict[int, list[Json]]) -> list[tuple[Json, Json]]:
    """Each decided command with its event, in the order of their batches, and in a batch of their arrival."""
    rows = await stage.pool.fetch(
        "SELECT id::text, batch_id, event FROM ledger WHERE batch_id = ANY ($1::bigint[])", list(numbers)
    )
    events = {(row["batch_id"], row["id"]): json.loads(row["event"]) for row in rows}
    pairs: list[tuple[Json, Json]] = []
    for number in sorted(numbers):
        for command in numbers[number]:
            # A later command under the same id was answered from the first.
            event = events.pop((number, command["id"]), None)
            if event is not None:
                pairs.append((command, event))
    assert events == {}
    return pairs


async def check_left(stage: Stage, model: Model) -> None:
    """What the database holds of the model's providers is what the model holds, and the names are those of the live."""
    held: dict[str, Json] = {}
    for provider_id in model.providers:
        answer = await read(stage.pool, "provider.get", provider_id, NoFilters())
        if not isinstance(answer, QueryError):
            held[provider_id] = answer["record"]
    assert held == {provider_id: shown for provider_id in model.providers if (shown := model.show(provider_id))}
    rows = await stage.pool.fetch(
        "SELECT id::text, generation, sequence, deleted FROM providers WHERE id = ANY ($1::uuid[])",
        list(model.providers),
    )
    assert {row["id"]: tuple(row)[1:] for row in rows} == {
        provider_id: (provider.generation, provider.sequence, provider.deleted)
        for provider_id, provider in model.providers.items()
    }
    names = await stage.pool.fetch(
        "SELECT record_id, name FROM names WHERE record_id = ANY ($1::text[])", list(model.providers)
    )
    assert {row["record_id"]: row["name"] for row in names} == {held_id: held[held_id]["name"] for held_id in held}


def without_root(shown: Json | None) -> Json | None:
    """What is shown of a provider, less its root: that may change while nothing else does."""
    return None if shown is None else {name: value for name, value in shown.items() if name != "root_id"}


@enough
@given(st.data())
def test_batches_one_after_the_other_come_to_what_the_model_comes_to(stage: Stage, data: st.DataObject) -> None:
    # Records of its own for each run: the same example comes again when a failure is made smaller.
    commands = moved(data.draw(command_lists(PROVIDERS_ONLY)), secrets.token_hex(8))
    batches = data.draw(splits(commands))
    model = Model()

    async def decide_and_check() -> None:
        events = await decide_all(stage, batches, {})
        assert comparable(map(answer_of, events)) == comparable(answers_of(model, commands))
        shown = {
            event["causationid"]: event["data"].get("record", event["data"].get("current"))
            for event in events
            if not event["type"].endswith(".rejected")
        }
        assert shown == model.shown
        await check_left(stage, model)

    stage.runner.run(decide_and_check())


@enough
@given(st.data())
def test_two_deciders_at_once_leave_what_the_model_comes_to_in_the_order_of_batches(
    stage: Stage, data: st.DataObject
) -> None:
    commands = moved(data.draw(command_lists(PROVIDERS_ONLY)), secrets.token_hex(8))
    sides = [data.draw(st.sampled_from((0, 1))) for _ in commands]
    halves = [[command for command, side in zip(commands, sides, strict=True) if side == which] for which in (0, 1)]
    batches = [[batch for batch in data.draw(splits(half)) if batch] for half in halves]

    async def decide_and_check() -> None:
        numbers: dict[int, list[Json]] = {}
        await asyncio.gather(*(decide_all(stage, half, numbers) for half in batches))
        model = Model()
        pairs = await ordered(stage, numbers)
        assert {command["id"] for command, _ in pairs} == {command["id"] for command in commands}
        for command, event in pairs:
            if may_be_older(event):
                continue
            assert model.apply(command) == answer_of(event)
            if (shown := event["data"].get("record")) is not None:
                assert without_root(model.shown[command["id"]]) == without_root(shown)
        await check_left(stage, model)

    stage.runner.run(decide_and_check())
