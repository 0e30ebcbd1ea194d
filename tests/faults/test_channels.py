"""A channel that the broker closes alone, under load: the session ends with it, and the next one goes on."""

from dataclasses import replace

import pytest
from pydantic import SecretStr

from genlock.service.settings import Settings
from tests.faults.load import SOME, Load
from tests.support.frame_proxy import ACK, Frame, frames_proxied
from tests.support.harness import serving, until_ready
from tests.support.proxy import Way

NO_SUCH_TAG = 10**9


def acknowledging_another(frame: Frame) -> Frame:
    """The acknowledgement of a delivery that there is none of."""
    return replace(frame, payload=frame.payload[:4] + NO_SUCH_TAG.to_bytes(8, "big") + frame.payload[12:])


@pytest.mark.parametrize("lanes", [1, 3])
async def test_a_channel_that_is_closed_for_a_bad_acknowledgement_is_replaced(load: Load, quick: Settings) -> None:
    """The broker answers with 406 and closes the inbox's channel alone; the connection stays open."""
    bad = [True]

    def badly(frame: Frame) -> Frame:
        if bad and frame.way is Way.REQUESTS and frame.method == ACK and len(load.journal.events) >= SOME:
            bad.clear()
            return acknowledging_another(frame)
        return frame

    async with (
        frames_proxied(quick.amqp_url.get_secret_value(), badly) as broker,
        serving(quick, amqp_url=SecretStr(broker.url)) as service,
    ):
        load.begin()
        await load.until_seen(SOME)
        await load.probe()
        await load.until_seen(SOME)
        await load.proved()
        await until_ready(service)
    assert not bad
    await load.nothing_left()
