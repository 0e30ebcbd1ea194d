"""What keeps the order of a lane, and what becomes of it without."""

import pytest
from pydantic import SecretStr

from genlock.service.settings import Settings
from tests.chains import Chain, chain
from tests.factories import Json
from tests.guards.removal import without
from tests.harness import Client, connected, serving, until
from tests.proxy import Cut, proxied

HELD = 2


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return the settings of a replica that holds little of each of the four queues that two lanes make."""
    return settings.model_copy(update={"lanes": 2, "prefetch": 4 * HELD, "retry_delay_max_s": 0.1})


async def outage_of_one(settings: Settings, client: Client, links: Chain, *, beside: int) -> list[Json]:
    """The database is away from the process that has the lane, and not from another one; return the outcomes.

    It comes back when the other one has decided so many links.
    """
    async with proxied(settings.database_url.get_secret_value()) as database:
        changes: Json = {"database_url": SecretStr(database.url)}
        async with serving(settings, **changes), serving(settings):
            await client.send_addressed(links[0])
            await client.decided(links[0])
            database.next_cut = Cut(b"BEGIN", always=True)
            await client.send_addressed(*links[1:])

            async def tried() -> bool:
                return database.cuts >= 2 and len(client.bodies) > beside

            await until(tried)
            database.next_cut = None
            return await client.decided(*links)


async def test_lane_that_is_kept_in_an_outage_keeps_its_order(
    settings: Settings, amqp_url: str, namespace: str
) -> None:
    async with connected(amqp_url, namespace, settings.lanes) as client:
        events = await outage_of_one(settings, client, chain(12), beside=0)
    assert {event["type"].rpartition(".")[2] for event in events} == {"succeeded"}


async def test_without_keeping_lanes_what_comes_after_is_decided_first(
    settings: Settings, amqp_url: str, namespace: str
) -> None:
    async with connected(amqp_url, namespace, settings.lanes) as client:
        with without("keeping lanes"):
            events = await outage_of_one(settings, client, chain(12), beside=12 - 1 - HELD)
    assert [event["data"].get("reason") for event in events[1 + HELD :]] == ["ahead"] * (12 - 1 - HELD)
