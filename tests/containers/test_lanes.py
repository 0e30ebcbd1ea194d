"""docs/lanes.md: what it has an operator type, on the system that compose.yaml gives."""

import asyncio
import re
from functools import partial

import pytest

from tests.containers.system import START_TIMEOUT_S, System
from tests.support.chains import broken, chains, send_chains
from tests.support.harness import Client, until
from tests.support.paths import REPOSITORY

pytestmark = pytest.mark.timeout(600)

GUIDE = (REPOSITORY / "docs" / "lanes.md").read_text()


def typed() -> tuple[str, str]:
    """The two lines that the page has an operator type: for the broker, and for the lanes."""
    plugin, change = re.findall(r"```sh\n\s*(.*?)\n\s*```", GUIDE, re.DOTALL)
    return plugin, change


async def test_the_number_of_lanes_is_changed_as_the_page_says_and_chains_keep_their_order(
    system: System, replica: str, outside: Client
) -> None:
    plugin, change = typed()
    # compose.yaml has it already.
    assert "rabbitmq_consistent_hash_exchange" in system.broker(*plugin.split())
    sent = chains(10, links=20)
    early = [links[:10] for links in sent]
    await asyncio.to_thread(system.stop, replica)
    await send_chains(outside, early)
    told = system.compose("run", "--rm", "--no-deps", *change.split())
    assert told.splitlines() == ["Moved out of genlock.inbox: 100.", "The namespace genlock has 4 lanes now."]
    with pytest.raises(AssertionError, match="GENLOCK_LANES is 1, but the broker has lanes"):
        system.compose("run", "--rm", "--no-deps", "genlock", "serve")
    replicas = [
        system.compose("run", "--detach", "--no-deps", "--env=GENLOCK_LANES=4", "genlock", "serve").strip()
        for _ in range(2)
    ]
    try:
        await send_chains(outside, [links[10:] for links in sent])
        assert await broken(outside, sent) == 0
        for one in replicas:
            # The other may have done it all before this one was up.
            await until(partial(asyncio.to_thread, system.is_healthy, one), START_TIMEOUT_S)
            assert await asyncio.to_thread(system.stop, one) == 0
    finally:
        system.docker("rm", "--force", *replicas)
        changed_back = system.compose("run", "--rm", "--no-deps", "genlock", "lanes", "1")
        await asyncio.to_thread(system.start, replica)
        await until(lambda: asyncio.to_thread(system.is_ready, replica), START_TIMEOUT_S)
    assert changed_back == "The namespace genlock has one inbox now.\n"
