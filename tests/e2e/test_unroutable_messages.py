"""A mandatory message that reaches no queue is kept and published again, and is never acknowledged meanwhile."""

import aio_pika
import aiormq
import pytest
from structlog.testing import capture_logs

from genlock.consumers.amqp.publisher import Publisher, RefusedError
from genlock.consumers.amqp.session import open_session
from genlock.consumers.commands.authors import Reader
from genlock.consumers.commands.registration import FIRST_MESSAGES
from genlock.consumers.operations.lanes import _unchanged_copy
from genlock.schemas.outcomes import BULK_CONTENT_TYPE
from genlock.service.settings import Settings
from tests.support.dead_letters import publish_dead_letter, retrying
from tests.support.documents import creation
from tests.support.factories import json_bytes
from tests.support.harness import Client, serving, until

UNREADABLE = b"{not json"
PART = b'{"id": "none"}'


async def delete_queue(client: Client) -> None:
    await client.channel.queue_delete(client.topology.dead_letters)


async def unbind_queue(client: Client) -> None:
    queue = await client.channel.get_queue(client.topology.dead_letters)
    await queue.unbind(client.topology.dead)


async def delete_exchange(client: Client) -> None:
    await client.channel.exchange_delete(client.topology.dead)


SEVERAL = 2 * FIRST_MESSAGES

LOSSES = {"queue deleted": delete_queue, "queue unbound": unbind_queue, "exchange deleted": delete_exchange}


async def take_dead_letters(settings: Settings, client: Client, count: int) -> set[bytes]:
    """Take dead letters out of their queue, which may not be there yet, until there were so many different ones."""
    bodies: set[bytes] = set()

    async def all_there() -> bool:
        try:
            bodies.update(dead_letter.body for dead_letter in await drained(settings, client.topology.dead_letters))
        except (aiormq.exceptions.ChannelNotFoundEntity, aiormq.exceptions.ConnectionInternalError):
            # The second one from a quorum queue that is just being declared.
            return False
        return len(bodies) >= count

    await until(all_there)
    return bodies


async def drained(settings: Settings, queue: str) -> list[aio_pika.abc.AbstractIncomingMessage]:
    """Take all messages out of a queue. Raises ChannelNotFoundEntity where there is no such queue."""
    async with await aio_pika.connect(settings.amqp_url.get_secret_value()) as connection:
        declared = await (await connection.channel()).declare_queue(queue, passive=True)
        taken = []
        while message := await declared.get(no_ack=True, fail=False):
            taken.append(message)
        return taken


@pytest.mark.parametrize("loss", LOSSES)
async def test_dead_letter_that_no_queue_takes_is_not_lost(client: Client, settings: Settings, loss: str) -> None:
    before, after = creation(), creation()
    bulk = b"[" + PART + b"," + json_bytes(creation()) + b"]"
    async with serving(settings, retry_delay_max_s=0.2):
        await client.ask(before)
        await LOSSES[loss](client)
        await client.publish(UNREADABLE, "document.put")
        await client.publish(bulk, "document.put", content_type=BULK_CONTENT_TYPE)
        await client.ask(after)
        assert await take_dead_letters(settings, client, 2) == {UNREADABLE, PART}
    assert await client.depth(client.topology.inbox) == 0


async def test_dead_letter_is_held_while_its_queue_cannot_be_declared(client: Client, settings: Settings) -> None:
    """A queue of another kind stands in its place, as an operator may have made by hand."""
    command = creation()
    with capture_logs() as logs:
        async with serving(settings, retry_delay_max_s=0.1) as service:
            await delete_queue(client)
            await client.channel.declare_queue(client.topology.dead_letters, durable=True)
            await client.publish(UNREADABLE, "document.put")

            async def complained() -> bool:
                return [line["event"] for line in logs].count("no queue for dead letters") > 1

            await until(complained)
            await client.ask(*(creation() for _ in range(SEVERAL)))
            assert service.status.dead == []
            assert await client.depth(client.topology.dead_letters) == 0
            await delete_queue(client)
            assert await take_dead_letters(settings, client, 1) == {UNREADABLE}
            await client.ask(command)
    assert await client.depth(client.topology.inbox) == 0


async def test_full_queue_for_dead_letters_holds_them_and_nothing_else(client: Client, settings: Settings) -> None:
    dead_letters = {b"{not json %d" % number for number in range(3)}
    parts = [b'{"id": "%d"}' % number for number in range(3)]
    bulk = [creation() for _ in range(3)]
    mixed = b"[%s]" % b",".join(part for pair in zip(parts, map(json_bytes, bulk), strict=True) for part in pair)
    async with serving(settings, retry_delay_max_s=0.1):
        await delete_queue(client)
        full = await client.channel.declare_queue(
            client.topology.dead_letters, durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        await full.bind(client.topology.dead)
        for dead_letter in dead_letters:
            await client.publish(dead_letter, "document.put")
        await client.publish(mixed, "document.put", content_type=BULK_CONTENT_TYPE)
        await client.decided(*bulk)
        await client.ask(*(creation() for _ in range(SEVERAL)))
        assert await take_dead_letters(settings, client, len(dead_letters) + len(parts)) == dead_letters | set(parts)
        await client.ask(creation())
    assert await client.depth(client.topology.inbox) == 0


async def test_rest_of_a_bulk_dead_letter_is_not_lost_when_some_of_it_is_retried(
    client: Client, settings: Settings
) -> None:
    bulk = b"[" + PART + b"," + json_bytes(creation()) + b"]"
    await publish_dead_letter(client, bulk, content_type=BULK_CONTENT_TYPE)
    async with retrying(settings) as (dead_letters, retrier):
        async for dead_letter in dead_letters.read():
            await unbind_queue(client)
            with pytest.raises(RefusedError, match="no queue takes"):
                await retrier.retry(dead_letters, dead_letter)
    (kept,) = await client.drain(client.topology.dead_letters)
    assert kept.body == bulk


async def test_command_that_is_moved_between_lanes_is_not_lost_where_no_queue_takes_it(
    client: Client, settings: Settings
) -> None:
    command = creation()
    await client.send(command)
    inbox = await client.channel.get_queue(client.topology.inbox)
    await inbox.unbind(client.topology.commands, "#")
    async with open_session(settings, declare=False) as session:
        publisher = await Publisher.on(session, settings.publish_timeout_s)
        channel = await (await session.channel()).get_underlay_channel()
        message = await channel.basic_get(client.topology.inbox)
        with pytest.raises(RefusedError, match="no queue takes"):
            await publisher.publish([_unchanged_copy(message, client.topology.commands, Reader(settings.source))])
