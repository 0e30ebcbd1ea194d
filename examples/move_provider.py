"""Move a resource provider with its subtree from one rack to another. A loop is refused."""

import asyncio
import uuid
from functools import partial

import genlock


async def main() -> None:
    async with genlock.connect(source="/examples/move") as client:
        here, there, host = (str(uuid.uuid4()) for _ in range(3))
        for provider_id, parent_id in ((here, None), (there, None), (host, here)):
            create = genlock.ProviderCreate(name=f"provider-{provider_id}", parent_id=parent_id)
            await client.send(genlock.command(create, subject=provider_id))

        outcome = await client.change("provider", host, lambda _host: partial(genlock.ProviderUpdate, parent_id=there))
        print(outcome.type if outcome else "nothing to do")
        if provider := await client.get("provider", host):
            print("in the tree of the other rack:", provider.root_id == there)

        # The rack cannot go below the host that is below it.
        match await client.change("provider", there, lambda _rack: partial(genlock.ProviderUpdate, parent_id=host)):
            case genlock.Rejected(code=code):
                print(code)
            case other:
                print(other)


asyncio.run(main())
