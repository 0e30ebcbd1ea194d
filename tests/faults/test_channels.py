"""A channel that the broker closes alone, under load: the session ends with it, and the next one goes on."""

from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from genlock.consumers.commands import CommandConsumer
from genlock.service.settings import Settings
from tests.faults.load import Load
from tests.harness import serving, until_ready

SOME = 40
NO_SUCH_TAG = 10**9


@pytest.mark.parametrize("lanes", [1, 3])
async def test_a_channel_that_is_closed_for_a_bad_acknowledgement_is_replaced(
    load: Load, quick: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The broker answers with 406 and closes the inbox's channel alone; the connection stays open."""
    bad = [True]
    settle: Callable[..., Coroutine[Any, Any, None]] = CommandConsumer._settle

    async def badly(consumer: CommandConsumer, *settled: Any) -> None:
        if bad and len(load.journal.events) >= SOME:
            bad.clear()
            underlay = await consumer._inbox.get_underlay_channel()
            await underlay.basic_ack(NO_SUCH_TAG)
        await settle(consumer, *settled)

    monkeypatch.setattr(CommandConsumer, "_settle", badly)
    async with serving(quick) as service:
        load.begin()
        await load.until_seen(SOME)
        await load.probe()
        await load.until_seen(SOME)
        await load.proved()
        await until_ready(service)
    assert not bad
    await load.nothing_left()
