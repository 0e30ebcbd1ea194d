"""Any commands on providers, decided in PostgreSQL: the final rows are those of the model in the order of batches.

A batch takes its number while it holds all its locks, so that of two batches which touch the same rows the one with
the lower number came first. Rows that are read without a lock may be older than that, and can only refuse a command.
"""

import asyncio
import json
import secrets

from hypothesis import given
from hypothesis import strategies as st

from genlock.schemas.queries import NoFilters
from genlock.service.reading.reads import QueryError
from tests.property.deciding import Deciding, enough, summary_of
from tests.property.model import Json, Model
from tests.property.strategies import PROVIDERS_ONLY, command_lists, comparable, moved, splits, summaries_of
from tests.support.factories import received
from tests.support.reads import read

READ_UNLOCKED = {"duplicate_name", "provider_has_children", "parent_not_found"}
"""Why a command may be refused for something that another batch is just changing."""


async def decide_all(deciding: Deciding, batches: list[list[Json]], numbers: dict[int, list[Json]]) -> list[Json]:
    """Decide batches one after the other; return the events, and note which batch got which number."""
    events: list[Json] = []
    for batch in batches:
        answers = await deciding.decider.decide([received(members) for members in batch])
        numbers.update(dict.fromkeys(answers.batch_ids, batch))
        events += [json.loads(event.body) for event in answers.events]
    return events


def may_be_older(event: Json) -> bool:
    """Tell whether it was refused for what no lock holds still: a record that is not there cannot be locked."""
    word, why, _, sequence = summary_of(event)
    return word != "succeeded" and (why in READ_UNLOCKED or sequence == 0)


async def ordered(deciding: Deciding, numbers: dict[int, list[Json]]) -> list[tuple[Json, Json]]:
    """Each decided command with its event, in the order of their batches, and in a batch of their arrival."""
    rows = await deciding.pool.fetch(
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


async def check_left(deciding: Deciding, model: Model) -> None:
    """The database holds the same providers as the model, and the names of the live ones."""
    held: dict[str, Json] = {}
    for provider_id in model.providers:
        answer = await read(deciding.pool, "provider.get", provider_id, NoFilters())
        if not isinstance(answer, QueryError):
            held[provider_id] = answer["record"]
    assert held == {provider_id: shown for provider_id in model.providers if (shown := model.show(provider_id))}
    rows = await deciding.pool.fetch(
        "SELECT id::text, generation, sequence, deleted FROM providers WHERE id = ANY ($1::uuid[])",
        list(model.providers),
    )
    assert {row["id"]: tuple(row)[1:] for row in rows} == {
        provider_id: (provider.generation, provider.sequence, provider.deleted)
        for provider_id, provider in model.providers.items()
    }
    names = await deciding.pool.fetch(
        "SELECT record_id, name FROM names WHERE record_id = ANY ($1::text[])", list(model.providers)
    )
    assert {row["record_id"]: row["name"] for row in names} == {held_id: held[held_id]["name"] for held_id in held}


def without_root(shown: Json | None) -> Json | None:
    """The state of a provider without its root, which may change while nothing else does."""
    return None if shown is None else {name: value for name, value in shown.items() if name != "root_id"}


@enough
@given(st.data())
def test_batches_one_after_the_other_come_to_what_the_model_comes_to(deciding: Deciding, data: st.DataObject) -> None:
    # Records of its own for each run: the same example comes again when a failure is made smaller.
    commands = moved(data.draw(command_lists(PROVIDERS_ONLY)), secrets.token_hex(8))
    batches = data.draw(splits(commands))
    model = Model()

    async def decide_and_check() -> None:
        events = await decide_all(deciding, batches, {})
        assert comparable(map(summary_of, events)) == comparable(summaries_of(model, commands))
        shown = {
            event["causationid"]: event["data"].get("record", event["data"].get("current"))
            for event in events
            if not event["type"].endswith(".rejected")
        }
        assert shown == model.shown
        await check_left(deciding, model)

    deciding.runner.run(decide_and_check())


@enough
@given(st.data())
def test_two_deciders_at_once_leave_what_the_model_comes_to_in_the_order_of_batches(
    deciding: Deciding, data: st.DataObject
) -> None:
    commands = moved(data.draw(command_lists(PROVIDERS_ONLY)), secrets.token_hex(8))
    sides = [data.draw(st.sampled_from((0, 1))) for _ in commands]
    halves = [[command for command, side in zip(commands, sides, strict=True) if side == which] for which in (0, 1)]
    batches = [[batch for batch in data.draw(splits(half)) if batch] for half in halves]

    async def decide_and_check() -> None:
        numbers: dict[int, list[Json]] = {}
        await asyncio.gather(*(decide_all(deciding, half, numbers) for half in batches))
        model = Model()
        pairs = await ordered(deciding, numbers)
        assert {command["id"] for command, _ in pairs} == {command["id"] for command in commands}
        for command, event in pairs:
            if may_be_older(event):
                continue
            assert model.apply(command) == summary_of(event)
            if (shown := event["data"].get("record")) is not None:
                assert without_root(model.shown[command["id"]]) == without_root(shown)
        await check_left(deciding, model)

    deciding.runner.run(decide_and_check())
