"""Publishing in a session, and going on with another channel while a batch is not confirmed yet."""

import asyncio

from pydantic import SecretStr

from genlock.consumers.amqp.publisher import Outgoing, Publisher
from genlock.consumers.amqp.session import open_session
from genlock.service.settings import Settings
from tests.support.frame_proxy import ACK, frames_proxied
from tests.support.harness import NO_PROPERTIES, Client
from tests.support.proxy import Way

SEVERAL = 3


async def test_another_channel_is_taken_when_all_on_the_one_before_is_confirmed(
    client: Client, settings: Settings
) -> None:
    queue = await client.channel.declare_queue(exclusive=True)
    batch = [Outgoing("", queue.name, b"", NO_PROPERTIES) for _ in range(SEVERAL)]
    async with frames_proxied(settings.amqp_url.get_secret_value()) as broker:
        broker.holds = lambda frame: frame.way is Way.ANSWERS and frame.method == ACK
        reached = settings.model_copy(update={"amqp_url": SecretStr(broker.url)})
        async with open_session(reached) as session:
            publisher = await Publisher.on(session, settings.publish_timeout_s)
            publishing = asyncio.create_task(publisher.publish(batch))
            await client.until_depth(queue.name, SEVERAL)
            renewing = asyncio.create_task(publisher.renew())
            # By the time that another batch has gone the same way, renewing would have been over.
            other = await Publisher.on(session, settings.publish_timeout_s)
            asking = asyncio.create_task(other.publish(batch))
            await client.until_depth(queue.name, 2 * SEVERAL)
            assert not publishing.done()
            assert not renewing.done()
            broker.release()
            await asyncio.gather(publishing, renewing, asking)
            await publisher.publish(batch)
    assert await client.depth(queue.name) == 3 * SEVERAL
