"""Read every event at least once, including events published while this program did not run."""

import asyncio
import os

import genlock

QUEUE = f"audit-{os.environ.get('GENLOCK_NAMESPACE', 'genlock')}"


async def read(client: genlock.Client, last: str) -> None:
    async with client.events("document.#", queue=QUEUE) as events:
        async for event in events:
            # Fetching the next event acknowledges this one: the event at which a reader ends is delivered again.
            print("read", event.type, event.subject)
            if event.subject == last:
                return


async def main() -> None:
    async with genlock.connect(source="/examples/audit") as client:
        # The first use creates the queue, which collects events from then on.
        async with client.events("document.#", queue=QUEUE):
            pass
        create = genlock.DocumentPut(expected_generation=None, body={})
        for subject in ("rack-1", "rack-2", "rack-3"):
            await client.send(genlock.command(create, subject=subject))
        await read(client, last="rack-2")
        print("and after a pause")
        await read(client, last="rack-3")


asyncio.run(main())
