"""docs/production.md and docs/roles.md: what an operator types works as they say, with the rights that it gives."""

import asyncio
import json
import re
import shlex

import aio_pika
import pytest

import genlock
from genlock.consumers.topology import Topology
from genlock.schemas.documents import DocumentPut
from genlock.schemas.stacks import StackCreate
from tests.containers.system import ROOT, START_TIMEOUT_S, System
from tests.factories import Json, envelope, json_bytes, new_id
from tests.harness import until

pytestmark = pytest.mark.timeout(600)

GUIDE, ROLES = ((ROOT / "docs" / name).read_text() for name in ("production.md", "roles.md"))

OWNER_URL = "postgresql://genlock_app_owner:change-me@postgres/genlock_app"
DATABASE_URL = "postgresql://genlock_app_service:change-me@postgres/genlock_app"
"""The system has a database genlock already, so what the page makes has other names here."""


def blocks(language: str, page: str = GUIDE) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def block(language: str, start: str) -> str:
    """The block of the page that starts so."""
    (found,) = [text for text in blocks(language) if text.startswith(start)]
    return found


def broker(system: System, commands: str) -> None:
    """Run lines of the page on the broker."""
    for line in commands.splitlines():
        system.compose("exec", "-T", "rabbitmq", *shlex.split(line))


def sql(system: System, text: str, url: str) -> str:
    return system.compose("exec", "-T", "postgres", "psql", url, "-v", "ON_ERROR_STOP=1", "-c", text)


def remembered(system: System) -> int:
    """How many commands the ledger of the page's database has."""
    counted = system.compose(
        *("exec", "-T", "postgres", "psql", DATABASE_URL, "-At", "-c", "SELECT count(*) FROM ledger")
    )
    return int(counted)


def amqp_url(system: System, user: str, password: str) -> str:
    return f"amqp://{user}:{password}@{system.amqp_url.rpartition('@')[2]}genlock"


async def test_what_the_page_sets_up_serves_and_gives_no_more_rights_than_it_says(system: System) -> None:
    administrator = "postgresql:///genlock?user=genlock"
    for statement in block("sql", "CREATE ROLE").replace("genlock", "genlock_app").splitlines():
        sql(system, statement, administrator)
    for commands in blocks("sh", ROLES):
        broker(system, commands)
    environment = (
        f"--env=GENLOCK_DATABASE_URL={DATABASE_URL}",
        "--env=GENLOCK_AMQP_URL=amqp://genlock:change-me@rabbitmq/genlock",
    )
    owner = (f"--env=GENLOCK_DATABASE_URL={OWNER_URL}", "--env=GENLOCK_SERVICE_ROLE=genlock_app_service")
    system.compose("run", "--rm", "--no-deps", *owner, "genlock", "migrate")
    replica = system.compose(
        "run", "--detach", "--no-deps", "--service-ports", *environment, "genlock", "serve"
    ).strip()
    try:
        await until(lambda: asyncio.to_thread(system.is_ready, replica), START_TIMEOUT_S)
        publisher = amqp_url(system, "inventory", "change-me")
        await check_rights(publisher, amqp_url(system, "billing", "change-me"))
        await check_dead_letters(system, publisher, amqp_url(system, "genlock", "change-me"), replica)
        assert "genlock_app" not in system.run_in(replica, "genlock", "verify")

        async def all_are_confirmed() -> bool:
            return await asyncio.to_thread(system.metric, replica, "genlock_unconfirmed_batches") == 0

        await until(all_are_confirmed, START_TIMEOUT_S)
        # As if all of it had been decided long ago.
        sql(system, "UPDATE batches SET decided_at = decided_at - interval '15 days'", OWNER_URL)
        assert remembered(system) > 0
        system.docker("restart", replica)

        async def all_is_forgotten() -> bool:
            return await asyncio.to_thread(remembered, system) == 0

        await until(all_is_forgotten, START_TIMEOUT_S)
        system.run_in(replica, "genlock", "verify")
    finally:
        system.docker("rm", "--force", replica)


async def check_rights(publisher: str, subscriber: str) -> None:
    """The publisher sends commands on documents, reads them, and sends no others; the subscriber hears of them."""
    subject = new_id()
    put = genlock.command(DocumentPut(expected_generation=None, body={}), subject=subject)
    create = genlock.command(StackCreate(name=subject, template={}), subject=subject)
    async with genlock.connect(publisher, source="/inventory") as client, genlock.connect(subscriber) as listener:
        async with listener.events("document.#") as events:
            assert isinstance(await client.send(put), genlock.Succeeded)
            assert (await anext(events)).command_id == put.id
        assert await client.get("document", subject) is not None
        with pytest.raises(genlock.GenlockError):
            await client.send(create)


async def check_dead_letters(system: System, publisher: str, service: str, replica: str) -> None:
    """A command among the dead letters is decided when it is retried; what cannot be decoded stays until dropped."""
    topology = Topology("genlock")
    command = envelope("document.put", new_id(), {"expected_generation": None, "body": {}})
    async with await aio_pika.connect(service) as connection:
        channel = await connection.channel()
        dead = await channel.get_exchange(topology.dead)
        for body in (json_bytes(command), b"not JSON"):
            await dead.publish(aio_pika.Message(body), routing_key="document.put")
    look, rehearse = block("sh", "genlock dead list").splitlines()
    retry, drop = block("sh", "genlock dead retry").splitlines()
    listed, rehearsed = in_replica(system, replica, look), in_replica(system, replica, rehearse)
    assert [row["id"] for row in listed] == [command["id"], None]
    assert [row["result"] for row in rehearsed] == ["would apply", "cannot be decoded"]
    assert [row["result"] for row in in_replica(system, replica, retry)] == ["retried", "cannot be decoded"]
    async with genlock.connect(publisher) as client:

        async def is_decided() -> bool:
            return await client.get("document", command["subject"]) is not None

        await until(is_decided, START_TIMEOUT_S)
    assert [row["handle"] for row in in_replica(system, replica, drop)] == [listed[1]["handle"]]
    assert in_replica(system, replica, look) == []


def in_replica(system: System, replica: str, line: str) -> list[Json]:
    """What a line of the page prints where the service runs; what cannot be decoded makes it exit with 1."""
    printed = system.run_in(replica, "sh", "-c", f"{line} || test $? = 1")
    return [json.loads(row) for row in printed.splitlines()]
