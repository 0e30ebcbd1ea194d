"""Messages for which a consumer has no room: they go back to the broker, which counts that as it counts crashes."""

import pytest

from genlock.consumers.commands.consumer import CommandConsumer
from genlock.service.deciding.suspects import Suspects
from genlock.service.settings import Settings
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.harness import Client, serving

MESSAGE_BYTES = 100_000
HELD_BYTES = 3 * MESSAGE_BYTES


async def test_message_without_room_is_decided_later_and_counts_as_no_crash(
    client: Client, settings: Settings, second: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    crashes: list[int] = []
    record_attempt = Suspects.record_attempt

    async def noting(suspects: Suspects, command_id: str) -> int:
        crashes.append(await record_attempt(suspects, command_id))
        return crashes[-1]

    monkeypatch.setattr(Suspects, "record_attempt", noting)
    defaults = {**(CommandConsumer.__init__.__kwdefaults__ or {}), "held_bytes_max": HELD_BYTES}
    monkeypatch.setattr(CommandConsumer.__init__, "__kwdefaults__", defaults)
    small = [creation() for _ in range(100)]
    large = [creation(body={"x": "y" * MESSAGE_BYTES}) for _ in range(100)]
    mixed = [one for number, large_one in enumerate(large) for one in (large_one, *small[number : number + number % 2])]
    async with serving(settings) as service:
        await client.ask(*(creation() for _ in range(300)))
        await client.send(*mixed)
        await client.decided(*mixed)
        # The broker's count of what went back is in its redeliveries.
        assert service.registry.get_sample_value("genlock_redeliveries_total")
        await client.until_empty(client.topology.inbox)
    # Those that came back twice were decided by themselves.
    assert set(crashes) <= {0}
    assert await second.fetchval("SELECT count(*) FROM suspects") == 0
    assert await client.depth(client.topology.dead_letters) == 0
