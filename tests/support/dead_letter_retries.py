"""`genlock dead retry` as tests call it, and what is there before and after it."""

from genlock.service.settings import Settings
from tests.support.command_line import genlock
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.factories import Json
from tests.support.harness import Client, serving

DEADLY = "document.merge"


async def retried(settings: Settings, *arguments: str, code: int = 0) -> list[tuple[str, str, str | None]]:
    """The result, the detail and the id of each dead letter."""
    ran = await genlock(settings, "dead", "retry", *arguments)
    assert ran.code == code, ran
    return [(row["result"], row["detail"], row["as"]) for row in ran.rows]


async def generation(second: Connection, subject: str) -> int | None:
    found: int | None = await second.fetchval("SELECT generation FROM documents WHERE id = $1", subject)
    return found


async def created(client: Client, settings: Settings) -> str:
    """A document of generation 0."""
    command = creation()
    async with serving(settings):
        await client.ask(command)
    subject: str = command["subject"]
    return subject


async def outcomes_of(client: Client, settings: Settings, *command_ids: str) -> list[Json]:
    async with serving(settings):
        return await client.decided(*({"id": command_id} for command_id in command_ids))
