"""Read records, lists, a record's history, and the outcome of a command."""

import asyncio
import uuid

import genlock


async def main() -> None:
    async with genlock.connect(source="/examples/queries") as client:
        stack_id = str(uuid.uuid4())
        create = genlock.StackCreate(name=f"web-{stack_id}", template={"servers": 2})
        command = genlock.command(create, subject=stack_id)
        await client.publish(command)
        await client.send(genlock.command(genlock.StackCancel(expected_traversal=command.id), subject=stack_id))

        if stack := await client.get("stack", stack_id):
            print(stack.action, stack.status, "under", stack.traversal)
        page = await client.query("stack.list", status="FAILED", limit=10)
        print(len(page["records"]), "failed; next page after", page["next"])
        history = client.records("record.history", stack_id, kind="stack")
        print([change["type"] async for change in history])
        outcome = await client.query("stack.outcome", command.id)
        print(outcome["record"]["type"])
        try:
            await client.query("record.history", "no such id", kind="stack")
        except genlock.QueryFailed as error:
            print(error.code)


asyncio.run(main())
