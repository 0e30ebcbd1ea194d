"""Further messages after a crash: redelivery, the sweep and `republish` repeat them with the same bytes while due."""

import asyncio
from datetime import UTC, datetime

import pytest
from aio_pika.abc import AbstractQueue

from genlock.cli.connections import broker, database
from genlock.consumers.operations.republish import Republished, Republisher
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Step
from genlock.service.settings import Settings
from tests.support.crashes import killed_at, killed_before_publishing
from tests.support.database import Connection
from tests.support.factories import Json, envelope, put
from tests.support.harness import Client, serving, until_waiting
from tests.support.notes import (
    EXCHANGE,
    WITH_NOTES,
    by_id,
    left_notes,
    note_id_of,
    noted,
    stored_notes,
    taken_notes,
)
from tests.support.tables import until_confirmed

NEVER_S = 3600.0
BEFORE_ALL_TIMES = datetime(2000, 1, 1, tzinfo=UTC)

pytestmark = pytest.mark.usefixtures("notes_exchange")


@pytest.mark.parametrize("step", [Step.RECORDED, Step.COMMITTED, Step.PUBLISHED])
async def test_after_a_kill_redelivered_commands_bring_their_notes_and_settle_their_batches(
    step: Step, client: Client, second: Connection, settings: Settings, notes: AbstractQueue
) -> None:
    """No sweep takes part."""
    commands = [noted({"to": "a"}, {"to": "b"}) for _ in range(20)]
    await client.send(*commands)
    await killed_at(step, 1, settings, "notes")
    async with serving(settings, kinds=WITH_NOTES, sweep_after_s=NEVER_S):
        await client.decided(*commands)
        await until_confirmed(second)
        messages = by_id(await taken_notes(notes, 2 * len(commands)))
    await all_told(messages, commands, second)
    assert await client.depth(client.topology.inbox) == 0


async def test_after_a_kill_between_acknowledging_and_noting_it_the_sweep_publishes_again(
    client: Client, second: Connection, settings: Settings, notes: AbstractQueue
) -> None:
    commands = [noted({"to": "a"}, {"to": "b"}) for _ in range(20)]
    await client.send(*commands)
    await killed_at(Step.SETTLED, 2, settings, "notes")
    async with serving(settings, kinds=WITH_NOTES, sweep_after_s=0.4):
        await client.decided(*commands)
        await until_confirmed(second)
        messages = by_id(await taken_notes(notes, 2 * len(commands)))
    await all_told(messages, commands, second)


async def all_told(messages: dict[str, list[bytes]], commands: list[Json], second: Connection) -> None:
    """Check that each note of the commands came, with the bytes of the outbox each time."""
    assert messages.keys() == {note_id_of(command["id"], number) for command in commands for number in (0, 1)}
    kept = await stored_notes(second)
    assert {note_id: set(bodies) for note_id, bodies in messages.items()} == {
        note_id: {body} for note_id, body in kept.items()
    }


async def moved_on(decider: Decider, command: Json) -> None:
    """Change a command's document, which makes its notes pointless."""
    outcomes = await decider.decide([put(command["subject"], 0)])
    await decider.confirm(outcomes.batch_ids)


async def test_note_that_is_no_longer_due_does_not_come_with_its_redelivered_command(
    client: Client, second: Connection, settings: Settings, decider: Decider, notes: AbstractQueue
) -> None:
    command = noted()
    await killed_before_publishing(client, settings, [command])
    await moved_on(decider, command)
    async with serving(settings, kinds=WITH_NOTES, sweep_after_s=NEVER_S):
        [event] = await client.decided(command)
        await until_confirmed(second)
    assert event["data"]["token"] == {"generation": 0}
    assert await left_notes(notes) == []


async def test_sweep_publishes_the_notes_that_are_still_due(
    client: Client, second: Connection, settings: Settings, decider: Decider, notes: AbstractQueue
) -> None:
    current, outdated = noted(), noted()
    await killed_before_publishing(client, settings, [current, outdated])
    await (await client.channel.get_queue(client.topology.inbox)).purge()
    await moved_on(decider, outdated)
    async with serving(settings, kinds=WITH_NOTES, sweep_after_s=0.1):
        await client.decided(current)
        await until_confirmed(second)
    [message] = await left_notes(notes)
    assert message.message_id == note_id_of(current["id"])
    assert message.body == (await stored_notes(second))[note_id_of(current["id"])]


async def test_due_note_is_asked_for_under_the_lock_of_its_record(
    client: Client, second: Connection, settings: Settings, notes: AbstractQueue
) -> None:
    """A decision that is under way is waited for, and counts."""
    command = noted()
    await killed_before_publishing(client, settings, [command])
    await (await client.channel.get_queue(client.topology.inbox)).purge()
    async with second.transaction():
        await second.execute("UPDATE documents SET generation = 7")
        async with asyncio.TaskGroup() as group:
            stopped = asyncio.Event()
            group.create_task(_swept(settings, stopped))
            await until_waiting(second, 1)
            await second.execute("COMMIT; BEGIN")
            stopped.set()
    assert await left_notes(notes) == []


async def _swept(settings: Settings, stopped: asyncio.Event) -> None:
    async with serving(settings, kinds=WITH_NOTES, sweep_after_s=0.1):
        await stopped.wait()


async def republished(settings: Settings) -> Republished:
    async with database(settings, 20) as pool, broker(settings, kinds=WITH_NOTES) as session:
        return await Republisher(session, pool, settings, kinds=WITH_NOTES).run(BEFORE_ALL_TIMES)


async def test_republish_publishes_the_notes_that_are_still_due_again(
    client: Client, second: Connection, settings: Settings, notes: AbstractQueue
) -> None:
    commands = [noted({"to": "a"}, {"to": "b"}) for _ in range(60)]
    outdated = commands[0]
    async with serving(settings, kinds=WITH_NOTES):
        await client.ask(*commands)
        await client.ask(envelope("document.merge", outdated["subject"], {"patch": {}}))
        first = by_id(await taken_notes(notes, 2 * len(commands)))
        await until_confirmed(second)
    await second.execute("UPDATE batches SET confirmed_at = NULL")
    done = await republished(settings)
    again = by_id(await taken_notes(notes, 2 * len(commands) - 2))
    assert again == {note_id: bodies for note_id, bodies in first.items() if note_id not in of(outdated)}
    assert done.newly_confirmed == done.batches
    await until_confirmed(second)


def of(command: Json) -> set[str]:
    return {note_id_of(command["id"], number) for number in (0, 1)}


async def test_republish_declares_the_exchange_of_notes_on_an_empty_broker(
    client: Client, settings: Settings, second: Connection
) -> None:
    async with serving(settings, kinds=WITH_NOTES):
        await client.ask(noted())
        await until_confirmed(second)
    await client.channel.exchange_delete(client.topology.exchange(EXCHANGE))
    assert (await republished(settings)).batches == 1
