"""What keeps a retried dead letter from being lost or applied twice, and what becomes of it without."""

import pytest

from genlock.consumers.operations.dead_letter_retry import UnroutableError
from genlock.service.settings import Settings
from tests.guards.removal import without
from tests.support.database import Connection
from tests.support.dead_letters import die_of_a_fault, publish_dead_letter_of, retrying
from tests.support.documents import creation, merge
from tests.support.factories import Json
from tests.support.harness import Client, serving

# A retry that is interrupted before the broker has the command.


async def interrupted(client: Client, settings: Settings) -> int:
    """Retry a dead letter where nothing takes its command; how many dead letters there are after it."""
    await publish_dead_letter_of(client, creation(), "delivery_limit")
    async with retrying(settings) as (dead_letters, retrier):
        await client.channel.queue_delete(client.topology.inbox)
        async for dead_letter in dead_letters.read():
            with pytest.raises(UnroutableError):
                await retrier.retry(dead_letters, dead_letter)
        await dead_letters.settle()
    queue = await client.channel.get_queue(client.topology.dead_letters)
    # A purge comes after what the reader gave back, and tells how much that was.
    return (await queue.purge()).message_count or 0


async def test_dead_letter_whose_retry_is_interrupted_is_still_there(client: Client, settings: Settings) -> None:
    assert await interrupted(client, settings) == 1


async def test_removing_before_publishing_loses_the_command(client: Client, settings: Settings) -> None:
    with without("removing after publishing"):
        assert await interrupted(client, settings) == 0


# A dead letter that is retried twice.


async def retried_twice(client: Client, second: Connection, settings: Settings) -> int:
    """Let a command fail that changes whatever is there; retry its dead letter and a copy of that; count changes."""
    create: Json = creation()
    async with serving(settings):
        await client.ask(create)
    poison = merge(create["subject"])
    await die_of_a_fault(client, settings, poison)
    await publish_dead_letter_of(client, poison)
    async with retrying(settings) as (dead_letters, retrier):
        ids = [
            retried.command_id
            async for dead_letter in dead_letters.read()
            for retried in await retrier.retry(dead_letters, dead_letter)
        ]
        await dead_letters.settle()
    async with serving(settings):
        await client.decided(*({"id": command_id} for command_id in ids))
    changes: int = await second.fetchval("SELECT count(*) FROM changes WHERE command_type = 'document.merge'")
    return changes


async def test_dead_letter_that_is_retried_twice_is_applied_once(
    client: Client, second: Connection, settings: Settings
) -> None:
    assert await retried_twice(client, second, settings) == 1


async def test_new_ids_for_each_retry_apply_the_command_twice(
    client: Client, second: Connection, settings: Settings
) -> None:
    with without("one id for each retry"):
        assert await retried_twice(client, second, settings) == 2
