"""Chains of commands on stacks, sent without waiting: each link expects the traversal that the one before it makes."""

import asyncio
from collections.abc import Sequence

from tests.support.factories import Json, envelope, new_id
from tests.support.harness import Client

Chain = list[Json]


def chain(links: int) -> Chain:
    """A stack that is created and then updated."""
    stack = new_id()
    commands = [envelope("stack.create", stack, {"name": stack, "template": {}})]
    for number in range(1, links):
        data = {"expected_traversal": commands[-1]["id"], "template": {"n": number}}
        commands.append(envelope("stack.update", stack, data))
    return commands


def chains(count: int, links: int) -> list[Chain]:
    return [chain(links) for _ in range(count)]


def links_of(some: Sequence[Chain]) -> list[Json]:
    return [link for links in some for link in links]


async def send_chains(client: Client, some: Sequence[Chain]) -> None:
    """Publish the first links of all chains, then the second ones, and so on, waiting for no outcome."""
    for links in zip(*some, strict=True):
        await asyncio.gather(*(client.send_addressed(link) for link in links))


async def broken(client: Client, some: Sequence[Chain]) -> int:
    """Count the chains of which not every link succeeded."""
    events = [await client.decided(*links) for links in some]
    return sum(not all(event["type"].endswith(".succeeded") for event in links) for links in events)
