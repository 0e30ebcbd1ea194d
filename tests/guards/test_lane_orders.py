"""What keeps the order of a lane and of a replica, and what becomes of it without."""

import pytest
from pydantic import SecretStr

from genlock.service.settings import Settings
from tests.guards.removal import without
from tests.support.chains import Chain, chain
from tests.support.database import Connection
from tests.support.factories import Json, envelope, new_id
from tests.support.harness import Client, connected, serving, until, until_waiting
from tests.support.proxy import Cut, proxied

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


def _put(document: str, expected: int | None) -> Json:
    return envelope("document.put", document, {"expected_generation": expected, "body": {}})


async def update_behind_a_held_batch(
    settings: Settings, client: Client, second: Connection, *, decided_first: bool
) -> list[Json]:
    """Two updates of a document, the first in a batch that waits for another document; return their outcomes."""
    held, document = sorted(new_id() for _ in range(2))
    first, then = _put(document, 0), _put(document, 1)
    # With such a small batch limit, a single command may be decided beside another batch.
    async with serving(settings, lanes=1, batch_size_max=4) as service:
        made = [_put(held, None), _put(document, None)]
        await client.send(*made)
        await client.decided(*made)
        async with second.transaction():
            # Rows are locked in the order of their ids.
            await second.execute("SELECT id FROM documents WHERE id = $1 FOR UPDATE", held)
            await client.send_bulk([_put(held, 0), first])
            await until_waiting(second, 1)
            await client.send(then)

            async def decided_or_held() -> bool:
                decided: int = await second.fetchval("SELECT count(*) FROM ledger WHERE id = $1", then["id"])
                return decided == 1 if decided_first else service._activity.held == len([first, then])

            await until(decided_or_held)
        return await client.decided(first, then)


async def test_batch_that_touches_what_another_one_does_waits_for_it(
    settings: Settings, client: Client, second: Connection
) -> None:
    events = await update_behind_a_held_batch(settings, client, second, decided_first=False)
    assert [event["type"] for event in events] == ["document.put.succeeded"] * 2


async def test_without_keeping_records_apart_a_later_command_is_decided_first(
    settings: Settings, client: Client, second: Connection
) -> None:
    with without("keeping records apart"):
        events = await update_behind_a_held_batch(settings, client, second, decided_first=True)
    assert [event["data"].get("reason") for event in events] == [None, "ahead"]
