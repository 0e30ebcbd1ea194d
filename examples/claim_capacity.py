"""Claim capacity of a provider for a consumer, handle a shortage, and release the capacity."""

import asyncio
import uuid

import genlock


def claim(provider: str, vcpus: int) -> genlock.Command:
    """Create a consumer with an allocation of VCPUs."""
    wanted = genlock.ConsumerSetAllocations(
        expected_generation=None,
        project_id="project-1",
        user_id="user-1",
        allocations={provider: genlock.Allocation(resources={"VCPU": vcpus})},
    )
    return genlock.command(wanted, subject=uuid.uuid4())


async def main() -> None:
    async with genlock.connect(source="/examples/claim") as client:
        host = str(uuid.uuid4())
        await client.send(genlock.command(genlock.ProviderCreate(name=f"host {host}"), subject=host))
        inventories = {"VCPU": genlock.Inventory(total=8, allocation_ratio=2.0)}
        offer = genlock.ProviderSetInventories(expected_generation=0, inventories=inventories)
        await client.send(genlock.command(offer, subject=host))
        for vcpus in (12, 6):
            match await client.send(claim(host, vcpus)):
                case genlock.Succeeded(subject=consumer):
                    print(vcpus, "VCPUs for", consumer)
                case genlock.Rejected(code=code, message=message):
                    print(f"{code}: {message}")
                case genlock.Conflict(winner=winner):
                    print("another command was faster:", winner)


asyncio.run(main())
