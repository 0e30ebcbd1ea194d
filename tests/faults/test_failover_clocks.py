"""A standby that takes over under load and whose clock is wrong."""

import asyncio
from contextlib import closing

import pytest

from genlock.servers.programs import Programs
from genlock.service.settings import Settings
from tests.faults.load import SOME
from tests.faults.standby import Member, Pair
from tests.faults.test_failover import at_work
from tests.support.faked_clocks import FakedPostgres
from tests.support.harness import until

MINUTES_10_S = 600

pytestmark = pytest.mark.timeout(120)


class FakedMember(FakedPostgres, Member):
    """One of a pair, with a clock of its own."""


@pytest.mark.parametrize("by_s", [MINUTES_10_S, -MINUTES_10_S])
async def test_standby_whose_clock_is_wrong_takes_over_and_all_commands_are_decided(
    programs: Programs, amqp_url: str, quick: Settings, by_s: int
) -> None:
    with closing(Pair(programs, FakedMember)) as pair:
        await pair.start()
        standby = pair.standby
        assert isinstance(standby, FakedMember)
        standby.clock.set(by_s)
        async with at_work(pair, amqp_url, quick) as (load, service):
            await asyncio.to_thread(pair.primary.kill)
            await pair.promote()
            await load.probe()
            await load.until_seen(SOME)

            async def noticed() -> bool:
                return abs(service.status.clock_step_s - by_s) < 10 and bool(service.status.unready)

            await until(noticed)
            await load.until_seen(SOME)
            standby.clock.set(0)
