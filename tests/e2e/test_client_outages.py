"""The client through restarts of a broker of its own: nothing is lost, nothing doubled, every call answered."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

import genlock
from genlock.client import Client
from genlock.servers import LocalRabbit, ServersUnavailable
from genlock.servers.programs import Programs
from genlock.service.settings import Settings
from tests.support.database import Connection
from tests.support.documents import creating
from tests.support.factories import new_id
from tests.support.harness import DEADLINE_S, serving, until_waiting

COMMANDS = 200
DOCUMENTS = 20

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def broker() -> Iterator[LocalRabbit]:
    """A broker that only these tests use, and may end."""
    try:
        programs = Programs.have()
    except ServersUnavailable as error:
        pytest.skip(str(error))
    with LocalRabbit(programs) as rabbit:
        yield rabbit


async def restart(broker: LocalRabbit, end: Callable[[], None]) -> None:
    """End the broker and start it again. Launched here, because that has to be done in the main thread."""
    await asyncio.to_thread(end)
    broker.launch()
    await asyncio.to_thread(broker.wait_ready)


@asynccontextmanager
async def settled(settings: Settings, broker: LocalRabbit) -> AsyncIterator[Client]:
    """A replica and a client, on a broker that has written down what it has declared."""
    settings = settings.model_copy(update={"amqp_url": SecretStr(broker.url)})
    async with serving(settings, batch_size_max=10, retry_delay_max_s=0.5):
        # Stopped in good order once: RabbitMQ 3.10 writes its register of quorum queues every three seconds only.
        await restart(broker, broker.stop)
        async with genlock.connect(
            broker.url, namespace=settings.namespace, source="/tests", timeout_s=2 * DEADLINE_S
        ) as client:
            # Answered as soon as the service is back.
            assert await client.get("document", "x") is None
            yield client


def merge(subject: str, key: str) -> genlock.Command:
    return genlock.command(genlock.DocumentMerge(patch={key: True}), subject=subject)


async def test_commands_in_flight_outlive_a_broker_that_is_killed(
    broker: LocalRabbit, settings: Settings, second: Connection
) -> None:
    documents = [new_id() for _ in range(DOCUMENTS)]
    commands = [merge(documents[number % DOCUMENTS], f"n{number}") for number in range(COMMANDS)]
    async with settled(settings, broker) as client:
        for document in documents:
            await client.send(genlock.command(genlock.DocumentPut(expected_generation=None, body={}), subject=document))
        async with second.transaction():
            # What comes before this document is decided, this batch is under way, the rest waits in the inbox.
            await second.execute("SELECT FROM documents WHERE id = $1 FOR UPDATE", documents[-1])
            sending = [asyncio.create_task(client.send(command)) for command in commands[: COMMANDS // 2]]
            publishing = [
                asyncio.create_task(client.publish(command)) for command in commands[COMMANDS // 2 : COMMANDS * 3 // 4]
            ]
            await until_waiting(second, 1)
            await asyncio.to_thread(broker.kill)
        # And these start while there is no broker.
        sending += [asyncio.create_task(client.send(command)) for command in commands[COMMANDS * 3 // 4 :]]
        assert not any(task.done() for task in sending[-10:])
        broker.launch()
        await asyncio.to_thread(broker.wait_ready)
        outcomes = await asyncio.gather(*sending)
        await asyncio.gather(*publishing)
        published = await asyncio.gather(
            *(client.send(command) for command in commands[COMMANDS // 2 : COMMANDS * 3 // 4])
        )
    assert all(isinstance(outcome, genlock.Succeeded) for outcome in [*outcomes, *published])
    assert {outcome.command_id for outcome in [*outcomes, *published]} == {command.id for command in commands}
    changes = await second.fetch("SELECT command_id FROM changes WHERE record_id = ANY ($1)", documents)
    assert len(changes) == COMMANDS + DOCUMENTS
    assert {command.id for command in commands} <= {str(change["command_id"]) for change in changes}
    keys = await second.fetchval(
        "SELECT sum((SELECT count(*) FROM json_object_keys(body::json))) FROM documents WHERE id = ANY ($1)", documents
    )
    assert keys == COMMANDS


async def test_a_durable_subscription_sees_every_event_through_a_restart(
    broker: LocalRabbit, settings: Settings
) -> None:
    commands = [creating() for _ in range(60)]
    unseen = {command.id for command in commands}
    name = f"reader-{settings.namespace}"

    async def read(client: Client) -> None:
        async with client.events("document.#", queue=name) as events:
            async for event in events:
                unseen.discard(event.command_id)
                if not unseen:
                    return

    async with settled(settings, broker) as client:
        # Bound before the first event, and in the broker's register before it is killed.
        async with client.events("document.#", queue=name):
            await restart(broker, broker.stop)
        reading = asyncio.create_task(read(client))
        await asyncio.gather(*map(client.send, commands[:30]))
        await asyncio.to_thread(broker.kill)
        sending = asyncio.gather(*map(client.send, commands[30:]))
        broker.launch()
        await asyncio.to_thread(broker.wait_ready)
        await sending
        async with asyncio.timeout(DEADLINE_S):
            await reading
