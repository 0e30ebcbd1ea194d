"""The client's bulk: one message for many commands, and an outcome for each."""

import asyncio
import json
from contextlib import AbstractAsyncContextManager

import pytest

import genlock
from genlock.errors import InvalidMessage
from genlock.schemas.decode import BULK_COMMANDS_MAX
from genlock.service.settings import Settings
from tests.support.factories import new_id
from tests.support.forked import start_module
from tests.support.harness import DEADLINE_S, Client, serving
from tests.support.proxy import proxied


def put(document: str, expected: int | None = None, body: str = "") -> genlock.Command:
    return genlock.command(genlock.DocumentPut(expected_generation=expected, body={"a": body}), subject=document)


def connect(settings: Settings, url: str | None = None) -> AbstractAsyncContextManager[genlock.Client]:
    return genlock.connect(url or settings.amqp_url.get_secret_value(), namespace=settings.namespace, source="/bulk")


async def test_each_command_of_a_bulk_has_its_outcome_in_its_place(client: Client, settings: Settings) -> None:
    document = new_id()
    commands = [put(document), put(document, 0), put(document, 0), *(put(new_id()) for _ in range(BULK_COMMANDS_MAX))]
    async with serving(settings), connect(settings) as sender:
        outcomes = await sender.send_bulk(commands)
        await client.decided(*({"id": command.id} for command in commands))
    assert [outcome.command_id for outcome in outcomes] == [command.id for command in commands]
    late = [outcome for outcome in outcomes if isinstance(outcome, genlock.Conflict)]
    assert [outcome.command_id for outcome in late] == [commands[2].id]
    assert len(client.events) == len(commands)


async def test_large_commands_are_spread_over_messages_and_large_outcomes_are_all_told(settings: Settings) -> None:
    """Three hundred conflicts, each with a document of 100 KB, come to more than one answer holds."""
    document = new_id()
    async with serving(settings), connect(settings) as sender:
        first = await sender.send(put(document, None, "x" * 100_000))
        assert isinstance(first, genlock.Succeeded)
        outcomes = await sender.send_bulk([put(document, 5, "y" * 3_000) for _ in range(300)])
    assert {type(outcome) for outcome in outcomes} == {genlock.Conflict}
    assert len({outcome.id for outcome in outcomes}) == 300


async def test_bulk_that_lost_its_answer_is_sent_again_and_applied_once(client: Client, settings: Settings) -> None:
    commands = [put(new_id()) for _ in range(50)]
    async with proxied(settings.amqp_url.get_secret_value()) as proxy, connect(settings, proxy.url) as sender:
        sending = asyncio.create_task(sender.send_bulk(commands))
        await client.until_depth(client.topology.inbox, 1)
        proxy.cut()
        await client.until_depth(client.topology.inbox, 2)
        async with serving(settings):
            outcomes = await sending
    assert {type(outcome) for outcome in outcomes} == {genlock.Succeeded}
    assert {outcome.data.sequence for outcome in outcomes} == {1}


async def test_commands_of_two_types_are_no_bulk(settings: Settings) -> None:
    other = genlock.command(genlock.DocumentDelete(expected_generation=0), subject="a")
    async with serving(settings), connect(settings) as sender:
        with pytest.raises(InvalidMessage, match="one type"):
            await sender.send_bulk([put("a"), other])
        assert await sender.send_bulk([]) == []


async def test_command_line_sends_lines_in_bulk(client: Client, settings: Settings) -> None:
    lines = [
        f'{{"type": "document.put", "subject": "{n}", "data": {{"expected_generation": null, "body": {{}}}}}}'
        for n in range(5)
    ]
    lines.append('{"type": "document.delete", "subject": "0", "data": {"expected_generation": 7}}')
    async with serving(settings):
        process = await start_module(
            *("genlock.cli", "send", "-", "--bulk"),
            *("--amqp-url", settings.amqp_url.get_secret_value(), "--namespace", settings.namespace),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(DEADLINE_S):
            output, _ = await process.communicate("\n".join(lines).encode())
        await client.decided(*({"id": json.loads(line)["causationid"]} for line in output.splitlines()))
    assert process.returncode == 3
    assert len(output.splitlines()) == 6
    assert len(client.events) == 6
