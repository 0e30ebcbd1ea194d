"""The rights of service, publishers and subscribers on RabbitMQ, given by the commands of docs/roles.md."""

import asyncio
import json
import re
import shlex
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aio_pika
import aiormq
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from pydantic import SecretStr

import genlock
from genlock.consumers.amqp.topology import Topology
from genlock.schemas.documents import DocumentPut
from genlock.schemas.stacks import StackCreate
from genlock.servers.local import LocalRabbit
from genlock.servers.programs import Programs
from genlock.service.settings import Settings
from tests.support import command_line
from tests.support.factories import envelope, json_bytes, new_id
from tests.support.harness import CONTENT_TYPE, DEADLINE_S, Client, connected, serving

PAGE = (Path(__file__).parents[2] / "docs" / "roles.md").read_text()

OTHERS = """
rabbitmqctl add_user shipping change-me
rabbitmqctl set_permissions -p genlock shipping '^(amq\\.gen-|shipping\\.)' '^(amq\\.gen-|shipping\\.)' '^(genlock\\.events$|amq\\.gen-|shipping\\.)'
rabbitmqctl add_user sensor change-me
rabbitmqctl set_permissions -p genlock sensor '^$' '^genlock\\.(commands|reads)$' '^$'
rabbitmqctl set_permissions -p genlock guest '.*' '.*' '.*'
"""  # noqa: E501 - one command a line
"""One more subscriber, a publisher that declares nothing, and an administrator that inspects both."""

Attempt = Callable[[AbstractChannel], Awaitable[object]]

THEIRS = "shipping.events"
"""A durable queue of the other subscriber's."""


@pytest.fixture(scope="module")
def rabbit(programs: Programs) -> Iterator[LocalRabbit]:
    """A broker on which all commands of the page were run."""
    with LocalRabbit(programs) as rabbit:
        blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
        for line in "".join([*blocks, OTHERS]).splitlines():
            if line:
                program, *words = shlex.split(line)
                assert program == "rabbitmqctl"
                rabbit.control(*words)
        yield rabbit


def at(rabbit: LocalRabbit, user: str, password: str = "change-me") -> str:  # noqa: S107 - the page's
    return f"amqp://{user}:{password}@127.0.0.1:{rabbit.port}/genlock"


@pytest.fixture
async def administrator(rabbit: LocalRabbit) -> AsyncIterator[Client]:
    """A subscriber to all events. The namespace is deleted in the end."""
    async with connected(at(rabbit, "guest", "guest"), "genlock") as client:
        yield client


@pytest.fixture
def allowed(rabbit: LocalRabbit, settings: Settings, administrator: Client) -> Settings:
    """Return the settings of a service with the service's rights."""
    urls = {"amqp_url": SecretStr(at(rabbit, "genlock")), "namespace": administrator.topology.namespace}
    return settings.model_copy(update=urls)


async def test_a_publisher_sends_and_reads_what_it_may_and_nothing_else(rabbit: LocalRabbit, allowed: Settings) -> None:
    subject = new_id()
    put = genlock.command(DocumentPut(expected_generation=None, body={}), subject=subject)
    create = genlock.command(StackCreate(name=subject, template={}), subject=subject)
    async with serving(allowed), genlock.connect(at(rabbit, "inventory"), source="/inventory") as client:
        assert isinstance(await client.send(put), genlock.Succeeded)
        again = genlock.command(DocumentPut(expected_generation=0, body={}), subject=subject)
        assert [type(outcome) for outcome in await client.send_bulk([again])] == [genlock.Succeeded]
        assert await client.get("document", subject) is not None
        assert (await client.query("document.outcome", put.id))["record"]["causationid"] == put.id
        outcomes = [client.query(query, put.id) for query in ("stack.outcome", "command.get")]
        for forbidden in (
            client.send(create),
            client.query("stack.get", subject),
            client.send_bulk([create]),
            *outcomes,
        ):
            with pytest.raises(genlock.Refused, match="ACCESS_REFUSED"):
                await forbidden
        with pytest.raises(genlock.Refused, match="ACCESS_REFUSED"):
            async with client.events():
                pass


async def test_a_command_under_another_type_than_it_told_the_broker_is_refused(
    rabbit: LocalRabbit, allowed: Settings, administrator: Client
) -> None:
    alone, one, two = (envelope("stack.create", new_id(), {"name": new_id(), "template": {}}) for _ in range(3))
    query = envelope("stack.get", alone["subject"], {})
    async with serving(allowed), await aio_pika.connect(at(rabbit, "inventory")) as connection:
        channel = await connection.channel(on_return_raises=True)
        commands = await channel.get_exchange("genlock.commands", ensure=False)
        reads = await channel.get_exchange("genlock.reads", ensure=False)
        # It goes to where the other type would go, too: the broker asks no permission for such headers.
        routed: dict[str, Any] = {"CC": ["stack.create"]}
        await commands.publish(
            aio_pika.Message(json_bytes(alone), content_type=CONTENT_TYPE, headers=routed), "document.put"
        )
        bulk = aio_pika.Message(json_bytes([one, two]), content_type="application/cloudevents-batch+json")
        await commands.publish(bulk, "document.put")
        for event in await administrator.decided(alone, one, two):
            assert (event["type"], event["data"]["code"]) == ("stack.create.rejected", "routing_key_mismatch")
        answers = await channel.declare_queue(exclusive=True)
        await reads.publish(aio_pika.Message(json_bytes(query), reply_to=answers.name), "document.get")
        async with answers.iterator(timeout=10) as replies:
            told = await anext(replies)
            await told.ack()
        assert b'"routing_key_mismatch"' in told.body


async def test_with_direct_replies_a_publisher_needs_to_declare_and_read_nothing(
    rabbit: LocalRabbit, allowed: Settings
) -> None:
    put = envelope("document.put", new_id(), {"expected_generation": None, "body": {}})
    get = envelope("document.get", put["subject"], {})
    async with serving(allowed), await aio_pika.connect(at(rabbit, "sensor")) as connection:
        channel = await connection.channel()
        answers: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
        replies = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
        await replies.consume(answers.put, no_ack=True)
        told = []
        for exchange, message in (("genlock.commands", put), ("genlock.reads", get)):
            found = await channel.get_exchange(exchange, ensure=False)
            body = aio_pika.Message(json_bytes(message), content_type=CONTENT_TYPE, reply_to=replies.name)
            await found.publish(body, message["type"])
            async with asyncio.timeout(DEADLINE_S):
                told.append(json.loads((await answers.get()).body)["type"])
        assert told == ["document.put.succeeded", "document.get.result"]
        with pytest.raises(aiormq.exceptions.ChannelAccessRefused):
            await channel.declare_queue(exclusive=True)


async def test_a_monitor_may_ask_how_long_a_queue_is_and_nothing_else(
    rabbit: LocalRabbit, administrator: Client
) -> None:
    await administrator.publish(b"not JSON", "document.put")
    await administrator.until_depth("genlock.inbox", 1)
    async with await aio_pika.connect(at(rabbit, "keda")) as connection:
        channel = await connection.channel()
        inbox = await channel.declare_queue("genlock.inbox", passive=True)
        assert inbox.declaration_result.message_count == 1
    attempts = FORBIDDEN_TO_BOTH | FORBIDDEN_TO_PUBLISHERS | FORBIDDEN_TO_SUBSCRIBERS
    assert await refusals(at(rabbit, "keda"), attempts) == dict.fromkeys(attempts, True)


async def _publish(channel: AbstractChannel, exchange: str, key: str) -> None:
    found = channel.default_exchange if not exchange else await channel.get_exchange(exchange, ensure=False)
    await found.publish(aio_pika.Message(b"{}"), key)


async def _bind(channel: AbstractChannel, exchange: str, queue: str) -> None:
    found = await channel.get_queue(queue, ensure=False)
    await found.bind(exchange, "document.#")


async def _bind_exchange(channel: AbstractChannel, source: str, destination: str) -> None:
    found = await channel.get_exchange(destination, ensure=False)
    await found.bind(source, "document.#")


async def _consume(channel: AbstractChannel, queue: str) -> None:
    found = await channel.get_queue(queue, ensure=False)

    async def ignore(_message: AbstractIncomingMessage) -> None: ...

    await found.consume(ignore)


async def _take(channel: AbstractChannel, queue: str) -> None:
    found = await channel.get_queue(queue, ensure=False)
    await found.get(fail=False)


async def _purge(channel: AbstractChannel, queue: str) -> None:
    found = await channel.get_queue(queue, ensure=False)
    await found.purge()


async def _write_past_the_topics(channel: AbstractChannel) -> None:
    """Have the broker itself publish to the commands, from a queue of one's own."""
    key = {"x-dead-letter-exchange": "genlock.commands", "x-dead-letter-routing-key": "stack.delete"}
    queue = await channel.declare_queue(exclusive=True, arguments={**key, "x-message-ttl": 0})
    await channel.default_exchange.publish(aio_pika.Message(b"{}"), queue.name)


async def _dead_letter_into(channel: AbstractChannel, exchange: str) -> None:
    await channel.declare_queue(exclusive=True, arguments={"x-dead-letter-exchange": exchange})


FORBIDDEN_TO_BOTH: dict[str, Attempt] = {
    "send a command of another kind": lambda channel: _publish(channel, "genlock.commands", "stack.create"),
    "send a query of another kind": lambda channel: _publish(channel, "genlock.reads", "stack.get"),
    "send an event": lambda channel: _publish(channel, "genlock.events", "document.put.succeeded"),
    "send a dead letter": lambda channel: _publish(channel, "genlock.dead", "document.put"),
    "write to the inbox": lambda channel: _publish(channel, "", "genlock.inbox"),
    "write to the dead letters": lambda channel: _publish(channel, "", "genlock.dead_letters"),
    "write to a queue of another's": lambda channel: _publish(channel, "", THEIRS),
    "bind the events to the inbox": lambda channel: _bind(channel, "genlock.events", "genlock.inbox"),
    "bind the events to the queries": lambda channel: _bind(channel, "genlock.events", "genlock.queries"),
    "bind the events to the commands": lambda channel: _bind_exchange(channel, "genlock.events", "genlock.commands"),
    "bind the commands to the events": lambda channel: _bind_exchange(channel, "genlock.commands", "genlock.events"),
    "bind the events to a queue of another's": lambda channel: _bind(channel, "genlock.events", THEIRS),
    "see the commands": lambda channel: _bind(channel, "genlock.commands", THEIRS),
    "consume the inbox": lambda channel: _consume(channel, "genlock.inbox"),
    "take from the inbox": lambda channel: _take(channel, "genlock.inbox"),
    "empty the inbox": lambda channel: _purge(channel, "genlock.inbox"),
    "delete the inbox": lambda channel: channel.queue_delete("genlock.inbox"),
    "delete the commands": lambda channel: channel.exchange_delete("genlock.commands"),
    "read the queries": lambda channel: _consume(channel, "genlock.queries"),
    "read the dead letters": lambda channel: _consume(channel, "genlock.dead_letters"),
    "consume a queue of another's": lambda channel: _consume(channel, THEIRS),
    "delete a queue of another's": lambda channel: channel.queue_delete(THEIRS),
    "declare a queue in the namespace": lambda channel: channel.declare_queue("genlock.mine"),
    "declare a queue as another's": lambda channel: channel.declare_queue("shipping.more"),
    "dead-letter into the dead letters": lambda channel: _dead_letter_into(channel, "genlock.dead"),
    "write past the topics": _write_past_the_topics,
}

FORBIDDEN_TO_PUBLISHERS: dict[str, Attempt] = {
    "declare a queue by name": lambda channel: channel.declare_queue("inventory.mine"),
    "declare an exchange by name": lambda channel: channel.declare_exchange("inventory.mine"),
    "declare an exchange under a name of the broker's": lambda channel: channel.declare_exchange("amq.gen-mine"),
}

FORBIDDEN_TO_SUBSCRIBERS: dict[str, Attempt] = {
    "send a command": lambda channel: _publish(channel, "genlock.commands", "document.put"),
    "send a query": lambda channel: _publish(channel, "genlock.reads", "document.get"),
    "dead-letter into the commands": lambda channel: _dead_letter_into(channel, "genlock.commands"),
    "dead-letter into any queue": lambda channel: _dead_letter_into(channel, ""),
}


async def refusals(url: str, attempts: dict[str, Attempt]) -> dict[str, bool]:
    """Of each attempt whether the broker refuses it for want of a right."""
    refused = {}
    async with await aio_pika.connect(url) as connection:
        for name, attempt in attempts.items():
            channel = await connection.channel()
            try:
                await attempt(channel)
                refused[name] = False
            except aiormq.exceptions.ChannelAccessRefused:
                refused[name] = True
            await channel.close()
    return refused


@pytest.mark.usefixtures("administrator")
@pytest.mark.parametrize(
    ("user", "attempts"), [("inventory", FORBIDDEN_TO_PUBLISHERS), ("billing", FORBIDDEN_TO_SUBSCRIBERS)]
)
async def test_call_without_a_right_is_refused_by_the_broker(
    rabbit: LocalRabbit, user: str, attempts: dict[str, Attempt]
) -> None:
    attempts = FORBIDDEN_TO_BOTH | attempts
    async with await aio_pika.connect(at(rabbit, "shipping")) as connection:
        theirs = await (await connection.channel()).declare_queue(THEIRS, durable=True)
        assert await refusals(at(rabbit, user), attempts) == dict.fromkeys(attempts, True)
        await theirs.delete()


@pytest.mark.usefixtures("administrator")
async def test_the_administrator_can_do_all_of_it(rabbit: LocalRabbit) -> None:
    """Calls that fail only for want of a right; without endless loops and calls that would break later ones."""
    harmless = {name: attempt for name, attempt in FORBIDDEN_TO_BOTH.items() if "delete" not in name}
    reserved = "declare an exchange under a name of the broker's"
    owned = {name: attempt for name, attempt in FORBIDDEN_TO_PUBLISHERS.items() if name != reserved}
    attempts = harmless | owned | FORBIDDEN_TO_SUBSCRIBERS
    url = at(rabbit, "guest", "guest")
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await channel.declare_queue(THEIRS, durable=True)
        assert await refusals(url, attempts) == dict.fromkeys(attempts, False)
        for queue in (THEIRS, "genlock.mine", "shipping.more", "inventory.mine"):
            await channel.queue_delete(queue)
        await channel.exchange_delete("inventory.mine")


async def test_a_subscriber_sees_what_it_may_with_queues_under_its_own_name(
    rabbit: LocalRabbit, allowed: Settings, administrator: Client
) -> None:
    put = envelope("document.put", new_id(), {"expected_generation": None, "body": {}})
    async with serving(allowed), genlock.connect(at(rabbit, "billing")) as client:
        async with (
            client.events("document.#") as passing,
            client.events("document.put.*", queue="billing.events") as durable,
        ):
            await administrator.ask(put)
            for events in (passing, durable):
                assert (await anext(events)).command_id == put["id"]
        for pattern, queue in (("#", None), ("stack.#", None), ("#", "billing.all"), ("document.#", "shipping.events")):
            with pytest.raises(genlock.Refused, match="ACCESS_REFUSED"):
                async with client.events(pattern, queue=queue):
                    pass
    for queue in ("billing.events", "billing.all"):
        await administrator.channel.queue_delete(queue)


async def test_the_services_user_is_enough_for_every_command_line_of_an_operator(
    allowed: Settings, administrator: Client
) -> None:
    await administrator.publish(b"not JSON", "document.put")
    async with serving(allowed):
        await administrator.until_depth(administrator.topology.dead_letters, 1)
        listed = await command_line.genlock(allowed, "dead", "list")
        assert (listed.code, len(listed.rows)) == (0, 1)
        assert (await command_line.genlock(allowed, "republish", "--since", "1h")).code == 0
    for lanes in ("2", "1"):
        changed = await command_line.genlock(allowed, "lanes", lanes)
        assert changed.code == 0, changed.err
    assert (await command_line.genlock(allowed, "dead", "drop", "--all", "--yes")).code == 0
    outside: dict[str, Attempt] = {
        "declare a queue elsewhere": lambda channel: channel.declare_queue("billing.events"),
        "read elsewhere": lambda channel: _consume(channel, "billing.events"),
    }
    url = allowed.amqp_url.get_secret_value()
    await administrator.channel.declare_queue("billing.events")
    assert await refusals(url, outside) == dict.fromkeys(outside, True)
    await administrator.channel.queue_delete("billing.events")
    assert Topology.of(allowed).lanes == 1
