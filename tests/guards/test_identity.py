"""What keeps one namespace from working with two databases, and what becomes of a command without."""

from collections.abc import AsyncIterator

import pytest
from pydantic import SecretStr

from genlock import servers as servers_module
from genlock.consumers.process.starting import StartError
from genlock.servers import Role, Servers
from genlock.service.database.migrate import migrate
from genlock.service.settings import Settings
from tests.guards.removal import without
from tests.support.documents import creation
from tests.support.factories import Json, envelope
from tests.support.harness import Client, serving


@pytest.fixture
async def restored(servers: Servers, service_role: Role, settings: Settings) -> AsyncIterator[Settings]:
    """The settings of a replica with a database that knows nothing of what was decided."""
    async with servers_module.database(servers.database_url) as url:
        await migrate(url, service_role.name)
        yield settings.model_copy(update={"database_url": SecretStr(service_role.at(url))})


async def verdicts(client: Client, settings: Settings, restored: Settings, command: Json) -> list[str]:
    """What a command is told by a replica with the one database, and then by one with the other."""
    async with serving(settings):
        await client.ask(creation(command["subject"]))
        [first] = await client.ask(command)
    async with serving(restored):
        await client.send(command)
        await client.decided(command, command)
    last = client.bodies[command["id"]][-1].decode()
    return [first["type"], "document.put.conflict" if "document.put.conflict" in last else "the same"]


def replacing() -> Json:
    """A command that succeeds where its document is there."""
    document = creation()
    return envelope("document.put", document["subject"], {"expected_generation": 0, "body": {}})


async def test_replica_with_another_database_decides_nothing(
    client: Client, settings: Settings, restored: Settings
) -> None:
    with pytest.raises(StartError, match="run genlock adopt"):
        await verdicts(client, settings, restored, replacing())


async def test_without_the_databases_identity_a_command_is_told_two_stories(
    client: Client, settings: Settings, restored: Settings
) -> None:
    with without("the database's identity"):
        assert await verdicts(client, settings, restored, replacing()) == [
            "document.put.succeeded",
            "document.put.conflict",
        ]
