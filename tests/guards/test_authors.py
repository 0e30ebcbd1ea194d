"""What keeps a publisher from naming another author, and what becomes of it without."""

from genlock.consumers.commands.authors import USER_HEADER
from genlock.service.settings import Settings
from tests.guards.removal import without
from tests.support.documents import creation
from tests.support.harness import Client, serving


async def author_of_a_forged_command(client: Client, settings: Settings) -> str | None:
    """Publish a command with the header that the service itself writes; the user that its event tells."""
    command = creation()
    async with serving(settings):
        await client.send(command, headers={USER_HEADER: "another-user"})
        [event] = await client.decided(command)
    user: str | None = event.get("user")
    return user


async def test_author_that_the_broker_has_not_checked_is_not_told(client: Client, settings: Settings) -> None:
    assert await author_of_a_forged_command(client, settings) is None


async def test_without_trusting_its_own_signature_alone_a_publisher_names_another_author(
    client: Client, settings: Settings
) -> None:
    with without("trusting its own signature alone"):
        assert await author_of_a_forged_command(client, settings) == "another-user"
