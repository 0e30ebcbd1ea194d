"""docs/production.md and docs/roles.md: what an operator types works as they say, with the rights that it gives.

Containers get the variables that the manifests for Kubernetes give to pods, and their secrets as files.
"""

import asyncio
import json
import re
import shlex
from pathlib import Path

import aio_pika
import pytest
import yaml

import genlock
from genlock.consumers.amqp.topology import Topology
from genlock.schemas.documents import DocumentPut
from genlock.schemas.stacks import StackCreate
from tests.containers.system import START_TIMEOUT_S, System
from tests.support import ageing, forgetting
from tests.support.factories import Json, envelope, json_bytes, new_id
from tests.support.harness import until
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.timeout(600)

GUIDE, ROLES = ((REPOSITORY / "docs" / name).read_text() for name in ("production.md", "roles.md"))

MANIFESTS = REPOSITORY / "deploy" / "kubernetes"

APP = "@postgres/genlock_app"
"""The system has a database genlock already, so what the page makes has other names here."""

OWNER_URL = f"postgresql://genlock_app_owner:change-me{APP}"
DATABASE_URL = f"postgresql://genlock_app_service:change-me{APP}"

PURGE = (
    Path(forgetting.__file__).read_text()
    + """
import asyncio
import sys

from genlock.service.database.transactions import closing, open_pool
from genlock.service.ledger.retention import Retention

RETENTION = timedelta(days=14)


async def purge(url):
    async with closing(await open_pool(url, size=1, timeout_s=10)) as pool:
        retention = Retention(pool, RETENTION, 10, horizon=at_once(RETENTION))
        while await retention.purge():
            pass


asyncio.run(purge(sys.argv[1]))
"""
)
"""A program that purges with the rights of the service, without the minutes in which it sees ages pass."""


def blocks(language: str, page: str = GUIDE) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def block(language: str, start: str) -> str:
    """The block of the page that starts so."""
    (found,) = [text for text in blocks(language) if text.startswith(start)]
    return found


def as_in(manifest: str, secret: Path) -> list[str]:
    """Options that run a container as in a pod: the variables of a manifest, and a folder for its secret."""
    (container,) = yaml.safe_load((MANIFESTS / manifest).read_text())["spec"]["template"]["spec"]["containers"]
    renamed = {
        variable["name"]: variable["value"].replace("genlock_", "genlock_app_").replace("@postgres/genlock", APP)
        for variable in container["env"]
    }
    (where,) = [mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "passwords"]
    return [*(f"--env={name}={value}" for name, value in renamed.items()), f"--volume={secret}:{where}:ro"]


def amqp_url(system: System, user: str) -> str:
    return system.amqp_at(user, "change-me", "genlock")


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """The files of a Secret, which is the same for all here. Its reader is another user."""
    for name in ("database", "amqp"):
        (tmp_path / name).write_text("change-me\n")
    tmp_path.chmod(0o755)
    return tmp_path


async def test_what_the_page_sets_up_serves_and_gives_no_more_rights_than_it_says(system: System, secret: Path) -> None:
    for statement in block("sql", "CREATE ROLE").replace("genlock", "genlock_app").splitlines():
        system.psql(statement)
    for line in "".join(blocks("sh", ROLES)).splitlines():
        system.broker(*shlex.split(line))
    system.compose("run", "--rm", "--no-deps", *as_in("migrate.yaml", secret), "genlock", "migrate")
    replica = system.compose(
        *("run", "--detach", "--no-deps", "--service-ports"), *as_in("deployment.yaml", secret), "genlock", "serve"
    ).strip()
    try:
        await until(lambda: asyncio.to_thread(system.is_ready, replica), START_TIMEOUT_S)
        publisher = amqp_url(system, "inventory")
        await check_rights(publisher, amqp_url(system, "billing"))
        await check_dead_letters(system, publisher, amqp_url(system, "genlock"), replica)
        assert "genlock_app" not in system.run_in(replica, "genlock", "verify")

        async def all_are_confirmed() -> bool:
            return await asyncio.to_thread(system.metric, replica, "genlock_unconfirmed_batches") == 0

        await until(all_are_confirmed, START_TIMEOUT_S)
        # As if all of it had been decided long ago.
        for statement in ageing.statements("interval '15 days'"):
            system.psql(statement, OWNER_URL)
        assert system.count("ledger", DATABASE_URL) > 0
        system.run_in(replica, "python", "-c", PURGE, DATABASE_URL)
        assert system.count("ledger", DATABASE_URL) == 0
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
    look, dry_run = block("sh", "genlock dead list").splitlines()
    retry, drop = block("sh", "genlock dead retry").splitlines()
    listed, tried = in_replica(system, replica, look), in_replica(system, replica, dry_run)
    assert [row["id"] for row in listed] == [command["id"], None]
    assert [row["result"] for row in tried] == ["would apply", "cannot be decoded"]
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
