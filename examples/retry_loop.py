"""Change a record that others change too: read, decide, and start again from what the conflict says."""

import asyncio
from functools import partial

import genlock


def count(doc: genlock.DocumentState | None) -> partial[genlock.DocumentPut]:
    """A command without its token: the client fills in the one of the state that this has seen."""
    visits = doc.body["visits"] if doc else 0
    return partial(genlock.DocumentPut, body={"visits": visits + 1})


async def visit(client: genlock.Client) -> int:
    match await client.change("document", "counter", count):
        case genlock.Succeeded(attempt=attempt):
            return attempt
        case other:
            raise RuntimeError(f"nobody else makes this one go wrong: {other}")


async def main() -> None:
    async with genlock.connect(source="/examples/retry") as client:
        attempts = await asyncio.gather(*(visit(client) for _ in range(5)))
        counter = await client.get("document", "counter")
        print(len(attempts), "visitors took", sum(attempts), "attempts; visits:", counter and counter.body["visits"])


asyncio.run(main())
