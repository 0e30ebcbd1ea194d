"""Change a record under contention: read, decide, and start again from the state in a conflict."""

import asyncio
from functools import partial

import genlock


def count(doc: genlock.DocumentState | None) -> partial[genlock.DocumentPut]:
    """Return a command without its token. The client fills in the token of `doc`."""
    visits = doc.body["visits"] if doc else 0
    return partial(genlock.DocumentPut, body={"visits": visits + 1})


async def visit(client: genlock.Client) -> int:
    match await client.change("document", "counter", count):
        case genlock.Succeeded(attempt=attempt):
            return attempt
        case other:
            raise RuntimeError(f"unexpected outcome: {other}")


async def main() -> None:
    async with genlock.connect(source="/examples/retry") as client:
        attempts = await asyncio.gather(*(visit(client) for _ in range(5)))
        counter = await client.get("document", "counter")
        print(len(attempts), "visitors took", sum(attempts), "attempts; visits:", counter and counter.body["visits"])


asyncio.run(main())
