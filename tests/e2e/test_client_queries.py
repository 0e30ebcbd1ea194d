"""The client and the command line ask what there is to ask, of a service on real servers."""

import asyncio
import json
import os

import pytest

import genlock
from genlock.service.settings import Settings
from tests.support.factories import new_id
from tests.support.forked import start_module
from tests.support.harness import DEADLINE_S, serving


async def printed(settings: Settings, *arguments: str) -> str:
    """What `genlock` prints; it must succeed."""
    environment = os.environ | {
        "GENLOCK_AMQP_URL": settings.amqp_url.get_secret_value(),
        "GENLOCK_NAMESPACE": settings.namespace,
    }
    process = await start_module("genlock.cli", *arguments, env=environment, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(DEADLINE_S):
        output, _ = await process.communicate()
    assert process.returncode == 0
    return output.decode()


@pytest.mark.usefixtures("client")
async def test_allocations_are_read_by_the_client_and_from_a_shell(settings: Settings) -> None:
    provider, consumers = new_id(), sorted(new_id() for _ in range(5))
    url = settings.amqp_url.get_secret_value()
    async with serving(settings), genlock.connect(url, namespace=settings.namespace) as asking:
        inventory = genlock.ProviderPutInventory(
            expected_generation=0, resource_class="VCPU", inventory=genlock.Inventory(total=9)
        )
        await asking.send(genlock.command(genlock.ProviderCreate(name=provider), subject=provider))
        await asking.send(genlock.command(inventory, subject=provider))
        for consumer in consumers:
            allocate = genlock.ConsumerSetAllocations(
                expected_generation=None,
                project_id="p",
                user_id="u",
                allocations={provider: genlock.Allocation(resources={"VCPU": 1})},
            )
            outcome = await asking.send(genlock.command(allocate, subject=consumer))
            assert isinstance(outcome, genlock.Succeeded)
        found = await asking.get("consumer", consumers[0])
        assert found is not None
        assert found.allocations == {provider: {"VCPU": 1}}
        assert await asking.get("consumer", new_id()) is None
        records = asking.records("provider.allocations", provider, limit=2)
        assert [record["consumer_id"] async for record in records] == consumers
        assert json.loads(await printed(settings, "get", "consumer", consumers[0])) == found.model_dump()
        page = json.loads(await printed(settings, "query", "provider.allocations", provider, "--data", '{"limit": 2}'))
        assert ([record["consumer_id"] for record in page["records"]], page["next"]) == (consumers[:2], consumers[1])
        lines = await printed(settings, "query", "provider.allocations", provider, "--data", '{"limit": 2}', "--all")
        assert [json.loads(line)["consumer_id"] for line in lines.splitlines()] == consumers
