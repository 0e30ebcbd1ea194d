"""Publish commands without waiting, and read their outcomes from the stream of events."""

import asyncio

import genlock


async def main() -> None:
    async with (
        genlock.connect(source="/examples/publish") as client,
        # Subscribe first, so that no outcome is missed.
        client.events("document.*.*") as events,
    ):
        waiting = set()
        for number in range(10):
            create = genlock.DocumentPut(expected_generation=None, body={"disks": number})
            waiting.add(await client.publish(genlock.command(create, subject=f"host-{number}")))
        async for event in events:
            print(event.type, event.subject)
            waiting.discard(event.command_id)
            if not waiting:
                break


asyncio.run(main())
