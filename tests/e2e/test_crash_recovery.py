"""A replica killed between any two steps, then another one: the same rows as if nothing had happened, no event lost."""

import json
from collections.abc import Iterator
from itertools import groupby
from operator import itemgetter
from typing import Any

import pytest

from genlock.service.deciding.failpoints import TRIP, Step
from genlock.service.settings import Settings
from tests.property.model import Model
from tests.support.crashes import BATCH_SIZE, killed_at
from tests.support.database import Connection
from tests.support.factories import Json, envelope, new_id
from tests.support.harness import Client, serving
from tests.support.tables import until_confirmed


def workload() -> list[Json]:
    """Commands of all verdicts on a few records, with copies and an id that is used again."""
    documents, (stack, other) = [new_id() for _ in range(3)], (new_id(), new_id())
    commands = [envelope("document.put", name, {"expected_generation": None, "body": {}}) for name in documents]
    create = envelope("stack.create", stack, {"name": stack, "template": {}})
    commands += [create, envelope("stack.create", other, {"name": stack, "template": {}})]
    owner = create["id"]
    for number in range(6):
        commands += [
            envelope("document.merge", name, {"patch": {f"n{number}": number}}, correlationid="merge")
            for name in documents
        ]
        commands.append(envelope("document.put", documents[0], {"expected_generation": 2 * number, "body": {"p": 1}}))
        commands.append(envelope("document.put", documents[0], {"expected_generation": 0, "body": {"late": 1}}))
        update = envelope("stack.update", stack, {"expected_traversal": owner, "template": {"n": number}})
        commands += [update, {**update, "id": new_id()}, commands[-3]]
        owner = update["id"]
    commands.append({**commands[7], "data": {"patch": {"other": True}}})
    return commands


def in_bulk(commands: list[Json]) -> Iterator[list[Json]]:
    """The commands in their order, those of one type that follow one another as one message."""
    for _, group in groupby(commands, key=itemgetter("type")):
        yield list(group)


@pytest.mark.parametrize(
    ("step", "bulk"), [*((step, False) for step in TRIP), (Step.COMMITTED, True), (Step.PUBLISHED, True)]
)
async def test_a_kill_at_any_step_and_a_restart_come_to_what_one_quiet_run_comes_to(
    step: Step, client: Client, second: Connection, settings: Settings, bulk: bool
) -> None:
    commands, model = workload(), Model()
    answers = [(command["id"], model.apply(command)) for command in commands]
    if bulk:
        for group in in_bulk(commands):
            await client.send_bulk(group)
    else:
        await client.send(*commands)
    await killed_at(step, 2, settings)
    async with serving(settings, batch_size_max=BATCH_SIZE, sweep_after_s=0.4):
        await client.decided(*commands)
        await until_confirmed(second)
    await client.until_empty(client.topology.inbox)
    assert await client.depth(client.topology.dead_letters) == 0
    ledger = await second.fetch("SELECT id, verdict, event FROM ledger")
    decided = {command_id: answer[0] for command_id, answer in answers if answer[1] != "id_reused"}
    assert {str(row["id"]): row["verdict"] for row in ledger} == decided
    assert await second.fetchval("SELECT count(*) FROM changes") == list(decided.values()).count("succeeded")
    await same_rows(second, model)
    same_events(client, {str(row["id"]): row["event"].encode() for row in ledger})


async def same_rows(second: Connection, model: Model) -> None:
    documents = await second.fetch("SELECT id, generation, sequence, body FROM documents")
    assert {row["id"]: (row["generation"], row["sequence"], json.loads(row["body"])) for row in documents} == {
        name: (document.generation, document.sequence, document.body) for name, document in model.documents.items()
    }
    stacks: list[Any] = await second.fetch("SELECT * FROM stacks")
    assert {
        str(row["id"]): (str(row["traversal"]), row["sequence"], json.loads(row["template"])) for row in stacks
    } == {name: (stack.traversals[-1], stack.sequence, stack.template) for name, stack in model.stacks.items()}


def same_events(client: Client, ledger: dict[str, bytes]) -> None:
    """The same event id always has the same bytes, and these are the ledger's."""
    bodies: dict[str, set[bytes]] = {}
    for message in client.events:
        bodies.setdefault(json.loads(message.body)["id"], set()).add(message.body)
    assert {json.loads(event)["id"]: {event} for event in ledger.values()}.items() <= bodies.items()
    # The ledger has no answer to an id that was used again: that one is built anew each time.
    others = [event_id for event_id, versions in bodies.items() if not versions & set(ledger.values())]
    assert len(others) == 1


async def test_events_of_commands_that_the_broker_lost_are_published_by_the_sweep(
    client: Client, second: Connection, settings: Settings
) -> None:
    commands = [envelope("document.put", new_id(), {"expected_generation": None, "body": {}}) for _ in range(10)]
    await client.send(*commands)
    await killed_at(Step.COMMITTED, 1, settings)
    lost = [row["event"].encode() for row in await second.fetch("SELECT event FROM ledger")]
    assert lost
    inbox = await client.channel.get_queue(client.topology.inbox)
    # The broker has noticed that the consumer is gone, and has taken back what it held.
    await client.until_depth(client.topology.inbox, len(commands))
    await inbox.purge()
    async with serving(settings, sweep_after_s=0.1):
        await until_confirmed(second)
    assert sorted(message.body for message in client.events) == sorted(lost)


async def test_copy_of_a_poisonous_command_is_in_the_dead_letters_though_its_decider_died_before(
    client: Client, second: Connection, settings: Settings
) -> None:
    await second.execute("ALTER TABLE documents ADD CHECK (body ->> 'poison' IS NULL)")
    command = envelope("document.put", new_id(), {"expected_generation": None, "body": {"poison": "yes"}})
    await client.send(command)
    await killed_at(Step.COMMITTED, 1, settings)
    async with serving(settings):
        [event] = await client.decided(command)
        # What its publisher repeats is answered, and is no other dead letter.
        await client.ask(command, command)
    assert event["data"]["code"] == "internal_error"
    [dead_letter] = await client.drain(client.topology.dead_letters)
    assert json.loads(dead_letter.body)["id"] == command["id"]
