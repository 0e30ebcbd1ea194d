"""Publishing in a session, and going on with another channel while a batch is not confirmed yet."""

import asyncio

import pytest

from genlock.consumers import wire
from genlock.consumers.publisher import Outgoing, Publisher
from genlock.consumers.session import open_session
from genlock.service.settings import Settings
from tests.harness import Client

SEVERAL = 3

NO_PROPERTIES = bytes(2)
"""As they travel: no flag is set."""


class Late:
    """Keeps the confirms of every publisher back until `release`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._take = Publisher._confirm
        self._kept: list[tuple[Publisher, wire.Confirm]] | None = []

        def keep(publisher: Publisher, confirm: wire.Confirm) -> None:
            if self._kept is None:
                self._take(publisher, confirm)
            else:
                self._kept.append((publisher, confirm))

        monkeypatch.setattr(Publisher, "_confirm", keep)

    def release(self) -> None:
        """Let pass what was kept, and whatever comes."""
        kept, self._kept = self._kept or [], None
        for confirm in kept:
            self._take(*confirm)


async def test_another_channel_is_taken_when_all_on_the_one_before_is_confirmed(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = await client.channel.declare_queue(exclusive=True)
    batch = [Outgoing("", queue.name, b"", NO_PROPERTIES) for _ in range(SEVERAL)]
    late = Late(monkeypatch)
    async with open_session(settings) as session:
        publisher = await Publisher.on(session, settings.publish_timeout_s)
        publishing = asyncio.create_task(publisher.publish(batch))
        await client.until_depth(queue.name, SEVERAL)
        renewing = asyncio.create_task(publisher.renew())
        # By the time that another batch has gone the same way, renewing would have been over.
        other = await Publisher.on(session, settings.publish_timeout_s)
        asking = asyncio.create_task(other.publish(batch))
        await client.until_depth(queue.name, 2 * SEVERAL)
        assert not publishing.done()
        late.release()
        await asyncio.gather(publishing, renewing, asking)
        await publisher.publish(batch)
    assert await client.depth(queue.name) == 3 * SEVERAL
