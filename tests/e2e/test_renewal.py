"""A session is settled and begun anew from time to time, for the broker may have delivered what nobody has got."""

import pytest
from aiormq.abc import DeliveredMessage

from genlock.consumers.commands import CommandConsumer
from genlock.service.settings import Settings
from tests.factories import envelope, new_id
from tests.harness import Client, serving

SESSION_S = 0.5


async def test_what_the_broker_delivered_and_nobody_got_comes_back(
    client: Client, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    take = CommandConsumer._on_message
    lost: list[DeliveredMessage] = []

    def lose_first(consumer: CommandConsumer, message: DeliveredMessage) -> None:
        if lost:
            take(consumer, message)
        else:
            lost.append(message)

    monkeypatch.setattr(CommandConsumer, "_on_message", lose_first)
    command = envelope("document.put", new_id(), {"expected_generation": None, "body": {}})
    async with serving(settings, session_s=SESSION_S):
        await client.send(command)
        [event] = await client.decided(command)
    assert event["type"] == "document.put.succeeded"
    assert len(lost) == 1


async def test_commands_go_on_through_renewals_and_are_decided_once(client: Client, settings: Settings) -> None:
    sessions = 0
    commands = []
    async with serving(settings, session_s=SESSION_S) as service:
        while sessions < 3:
            commands.append(envelope("document.put", new_id(), {"expected_generation": None, "body": {}}))
            await client.send(commands[-1])
            sessions += not service.ready.is_set()
            await service.ready.wait()
        await client.decided(*commands)
    assert len(client.events) == len(commands)
