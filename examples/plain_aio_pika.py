"""Use Genlock from any AMQP library: a command is a JSON object, and its outcome arrives at the queue in reply_to."""

import asyncio
import json
import os
import sys
import uuid

import aio_pika


async def main() -> None:
    url = os.environ.get("GENLOCK_AMQP_URL") or sys.exit("Set GENLOCK_AMQP_URL; make run prints how.")
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel(on_return_raises=True)
        commands = await channel.get_exchange(f"{os.environ.get('GENLOCK_NAMESPACE', 'genlock')}.commands")
        answers = await channel.declare_queue(exclusive=True)
        command = {
            "specversion": "1.0",
            "id": str(uuid.uuid4()),
            "source": "/examples/plain",
            "type": "document.put",
            "subject": f"server-{uuid.uuid4()}",
            "data": {"expected_generation": None, "body": {"owner": "team-a"}},
        }
        message = aio_pika.Message(
            json.dumps(command).encode(),
            content_type="application/cloudevents+json",
            delivery_mode=aio_pika.DeliveryMode.PERSISTENT,
            reply_to=answers.name,
            # It may be left out where the service has one inbox.
            headers={"subject": str(command["subject"])},
        )
        await commands.publish(message, routing_key="document.put", mandatory=True)
        async with answers.iterator(no_ack=True) as replies:
            outcome = json.loads((await anext(replies)).body)
        print(outcome["type"], outcome["data"]["token"])


asyncio.run(main())
