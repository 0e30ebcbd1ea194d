"""The system that `docker compose up` gives: every command from outside has its outcome, whatever is killed."""

import asyncio
import json

import pytest

import genlock
from genlock.schemas.documents import DocumentPut
from tests.containers.system import START_TIMEOUT_S, System
from tests.support.factories import Json, envelope, new_id
from tests.support.harness import Client, until

pytestmark = pytest.mark.timeout(600)


async def until_ready(system: System, replica: str) -> None:
    """Return when a replica says that it is ready."""
    await until(lambda: asyncio.to_thread(system.is_ready, replica), START_TIMEOUT_S)


async def until_answered(client: Client, commands: list[Json]) -> None:
    """Return when each command has an outcome."""

    async def all_there() -> bool:
        return all(command["id"] in client.bodies for command in commands)

    await until(all_there, START_TIMEOUT_S)


async def until_confirmed(system: System, replica: str) -> None:
    """Return when the events of all batches are confirmed."""

    async def all_are() -> bool:
        return await asyncio.to_thread(system.metric, replica, "genlock_unconfirmed_batches") == 0

    await until(all_are, START_TIMEOUT_S)


async def until_decided(system: System, replica: str) -> None:
    """Return when a replica has decided commands since its start."""

    async def has_decided() -> bool:
        return await asyncio.to_thread(system.decided_by, replica) > 0

    await until(has_decided, START_TIMEOUT_S)


def assert_one_outcome_each(client: Client, commands: list[Json]) -> None:
    """Each command has exactly one outcome; that may have come twice, and then it was the same."""
    assert len({command["id"] for command in commands}) == len(commands)
    for command in commands:
        assert len(set(client.bodies[command["id"]])) == 1


def succeeded(client: Client, commands: list[Json]) -> set[str]:
    """The ids of the commands that were applied."""
    types = {command["id"]: json.loads(client.bodies[command["id"]][0])["type"] for command in commands}
    return {command_id for command_id, event_type in types.items() if event_type.endswith(".succeeded")}


def documents(count: int) -> list[str]:
    return [new_id() for _ in range(count)]


def work(subjects: list[str], count: int) -> list[Json]:
    """Commands on a few documents: every second one is always applied, and of the others most come too late."""
    merges = [
        envelope("document.merge", subjects[n % len(subjects)], {"patch": {new_id(): n}}) for n in range(count // 2)
    ]
    puts = [
        envelope("document.put", subjects[n % len(subjects)], {"expected_generation": n % 50, "body": {}})
        for n in range(count - len(merges))
    ]
    return [command for pair in zip(merges, puts, strict=True) for command in pair]


def test_pages_for_probes_and_metrics_are_answered(system: System, replica: str) -> None:
    assert system.get(replica, "/livez") == (200, '{"ok": true, "reasons": []}')
    assert system.get(replica, "/readyz") == (200, '{"ok": true, "reasons": []}')
    status, metrics = system.get(replica, "/metrics")
    assert status == 200
    assert "genlock_ready 1.0" in metrics


@pytest.mark.usefixtures("replica")
async def test_the_python_client_outside_gets_its_outcomes(system: System) -> None:
    subject = new_id()
    create = genlock.command(DocumentPut(expected_generation=None, body={"n": 1}), subject=subject)
    late = genlock.command(DocumentPut(expected_generation=None, body={"n": 2}), subject=subject)
    async with genlock.connect(system.amqp_url, source="/outside") as client:
        assert isinstance(await client.send(create), genlock.Succeeded)
        conflict = await client.send(late)
        assert isinstance(conflict, genlock.Conflict)
        assert conflict.winner is not None
        assert conflict.winner.source == "/outside"
        read = await client.get("document", subject)
        assert read is not None
        assert read.body == {"n": 1}


@pytest.mark.usefixtures("replica")
async def test_a_client_that_knows_nothing_but_amqp_gets_its_outcomes(outside: Client) -> None:
    create = envelope("document.put", new_id(), {"expected_generation": None, "body": {"n": 1}})
    late = envelope("document.put", create["subject"], {"expected_generation": None, "body": {"n": 2}})
    won, lost = await outside.ask(create, late)
    assert won["type"] == "document.put.succeeded"
    assert lost["type"] == "document.put.conflict"
    assert lost["data"]["actual"] == {"generation": 0}


async def test_a_replica_that_is_killed_and_started_again_loses_and_doubles_nothing(
    system: System, replica: str, outside: Client
) -> None:
    subjects = documents(4)
    creations = [envelope("document.put", subject, {"expected_generation": None, "body": {}}) for subject in subjects]
    await outside.ask(*creations)
    decided, changed = system.count("ledger"), system.count("changes")
    commands = work(subjects, 2_000)
    flooding = asyncio.create_task(outside.flood(commands))
    await until_answered(outside, commands[:100])
    await asyncio.to_thread(system.kill, replica)
    await flooding
    answered = sum(command["id"] in outside.bodies for command in commands)
    assert 100 <= answered < len(commands)
    await asyncio.to_thread(system.start, replica)
    await until_answered(outside, commands)
    await outside.until_empty(outside.topology.inbox)
    assert system.count("ledger") - decided == len(commands)
    assert_one_outcome_each(outside, commands)
    assert system.count("changes") - changed == len(succeeded(outside, commands))
    assert await outside.depth(outside.topology.dead_letters) == 0


async def test_rolling_restart_of_three_replicas_under_load_loses_nothing(system: System, outside: Client) -> None:
    await asyncio.to_thread(system.up, 3)
    replicas = system.replicas()
    assert len(replicas) == 3
    subjects = documents(6)
    creations = [envelope("document.put", subject, {"expected_generation": None, "body": {}}) for subject in subjects]
    await outside.ask(*creations)
    decided, changed = system.count("ledger"), system.count("changes")
    published: list[Json] = []
    over = asyncio.Event()

    async def load() -> None:
        """Keep a few hundred commands on their way."""
        while not over.is_set():
            commands = work(subjects, 200)
            published.extend(commands)
            await outside.flood(commands)
            await until_answered(outside, published[:-200])
        await until_answered(outside, published)

    loading = asyncio.create_task(load())
    for replica in replicas:
        # Each takes part, before and after its restart.
        await until_decided(system, replica)
        assert await asyncio.to_thread(system.stop, replica) == 0
        await asyncio.to_thread(system.start, replica)
        await until_ready(system, replica)
        await until_decided(system, replica)
    over.set()
    await loading
    await outside.until_empty(outside.topology.inbox)
    assert system.count("ledger") - decided == len(published)
    assert_one_outcome_each(outside, published)
    assert system.count("changes") - changed == len(succeeded(outside, published))
    assert await outside.depth(outside.topology.dead_letters) == 0
    # The sweep republishes events that the kill in the test before left unconfirmed, after about a minute.
    await until_confirmed(system, replicas[0])
    system.run_in(replicas[0], "genlock", "verify")
    # A merge without a token is always applied, so each must be among those.
    merges = {command["id"] for command in published if command["type"] == "document.merge"}
    assert merges <= succeeded(outside, published)


async def test_several_workers_share_a_read_only_container(system: System, outside: Client) -> None:
    await asyncio.to_thread(system.up)
    parent = system.compose(
        "run", "--detach", "--no-deps", "--service-ports", "genlock", "serve", "--workers=2"
    ).strip()
    try:
        await until_ready(system, parent)
        subjects = documents(2)
        await outside.ask(
            *(envelope("document.put", subject, {"expected_generation": None, "body": {}}) for subject in subjects)
        )
        commands = work(subjects, 1_000)
        await outside.flood(commands)
        await until_answered(outside, commands)
        await until_decided(system, parent)
        assert await asyncio.to_thread(system.stop, parent) == 0
    finally:
        system.docker("rm", "--force", parent)


def test_the_demo_runs_inside(system: System) -> None:
    assert "Everything is as claimed." in system.compose("run", "--rm", "demo")
