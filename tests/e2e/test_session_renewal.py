"""A session is settled and replaced from time to time, because the broker may believe that a message was delivered."""

from pydantic import SecretStr

from genlock.service.settings import Settings
from tests.support.documents import creation
from tests.support.frame_proxy import LosingDeliveries, frames_proxied
from tests.support.harness import Client, serving

SESSION_S = 0.5


async def test_a_delivery_that_is_lost_on_its_way_comes_back(client: Client, settings: Settings) -> None:
    losing = LosingDeliveries(lambda _frame, lost: not lost)
    async with (
        frames_proxied(settings.amqp_url.get_secret_value(), losing) as broker,
        serving(settings, session_s=SESSION_S, amqp_url=SecretStr(broker.url)),
    ):
        command = creation()
        await client.send(command)
        [event] = await client.decided(command)
    assert event["type"] == "document.put.succeeded"
    assert losing.lost == 1


async def test_commands_go_on_through_renewals_and_are_decided_once(client: Client, settings: Settings) -> None:
    sessions = 0
    commands = []
    async with serving(settings, session_s=SESSION_S) as service:
        while sessions < 3:
            commands.append(creation())
            await client.send(commands[-1])
            sessions += not service.ready.is_set()
            await service.ready.wait()
        await client.decided(*commands)
    assert len(client.events) == len(commands)
