"""Waiting for commands to be held."""

from tests.support.database import Connection
from tests.support.harness import until


async def until_held(second: Connection, commands: int) -> None:
    """Return when that many commands are held."""

    async def there() -> bool:
        count: int = await second.fetchval("SELECT count(*) FROM held_messages")
        return count == commands

    await until(there)
