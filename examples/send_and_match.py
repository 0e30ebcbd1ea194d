"""Send a command and act on its outcome: it succeeded, another command was faster, or it can never work."""

import asyncio

import genlock


async def main() -> None:
    async with genlock.connect(source="/examples/send") as client:
        server = await client.get("document", "server-7")
        change = genlock.DocumentPut(
            expected_generation=server.generation if server else None,
            body={"owner": "team-a"},
        )
        # The second one expects what the first has replaced.
        for command in (genlock.command(change, subject="server-7"), genlock.command(change, subject="server-7")):
            match await client.send(command):
                case genlock.Succeeded(token=token):
                    print("stored as", token)
                case genlock.Conflict(reason=reason, winner=winner, current=current):
                    print(f"{reason}:", winner.source if winner else "another command", "made it", current)
                case genlock.Rejected(code=code, message=message):
                    print(f"{code}:", message)


asyncio.run(main())
