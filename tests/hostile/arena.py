"""A replica and its clients: how long innocents wait for their outcomes, in calm and while one user does his worst."""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import monotonic

from pydantic import SecretStr

from genlock.servers.local import LocalRabbit
from genlock.service.settings import Settings
from tests.hostile.ground import Ground, prepare
from tests.hostile.innocents import Innocents, innocents
from tests.hostile.resident import replica
from tests.hostile.roles import INNOCENT, url_of
from tests.support.database import Connection
from tests.support.factories import envelope
from tests.support.harness import connected

TIMES_MAX = 5.0
"""How much longer innocents may wait at the 99th percentile than in calm."""

FLOOR_S = 0.02
"""A calm p99 below this counts as this: on a machine with two cores one flush of a log takes as long."""

COMMANDS = 500
"""How many commands of innocents are in each figure."""

RATE_MIN, RATE_MAX = 200.0, 500.0
"""Within these their rate is a tenth of the drain rate, in commands a second."""

DRAINED = 1_000

ATTEMPTS = 4
"""How often what is above the bound is measured again."""

log = logging.getLogger(__name__)

Hostility = Callable[[], AbstractAsyncContextManager[object]]
"""Enters with an attack under way, and leaves once nothing of it is left with the service."""


@dataclass
class Arena:
    """All that a hostile run needs."""

    rabbit: LocalRabbit
    ground: Ground
    others: Innocents
    rate: float
    calm_s: float
    """The p99 in calm that was measured last."""

    async def calm(self) -> float:
        """Measure the p99 in calm, as the median of three."""
        self.calm_s = median([await self.others.p99_s(COMMANDS, self.rate) for _ in range(3)])
        return self.calm_s

    async def times(self, hostility: Hostility) -> float:
        """How many times as long as in calm others wait.

        What is above the bound is measured again, beside calm before and after it: a machine that is slow for a while
        is so in both, and whoever keeps others waiting does so each time.
        """
        found = await self._hostile_s(hostility) / self._yardstick_s
        for _ in range(ATTEMPTS):
            if found <= TIMES_MAX:
                break
            before = await self.others.p99_s(COMMANDS, self.rate)
            hostile_s = await self._hostile_s(hostility)
            self.calm_s = max(before, await self.others.p99_s(COMMANDS, self.rate))
            found = min(found, hostile_s / self._yardstick_s)
        return found

    @property
    def _yardstick_s(self) -> float:
        return max(self.calm_s, FLOOR_S)

    async def _hostile_s(self, hostility: Hostility) -> float:
        async with hostility():
            return await self.others.p99_s(COMMANDS, self.rate)

    async def check(self, attacks: dict[str, Hostility]) -> None:
        """Fail with the names of all attacks that keep others waiting for too long."""
        await self.calm()
        found = {name: await self.times(hostility) for name, hostility in attacks.items()}
        log.info("calm p99 %.0f ms at %.0f/s; %s", self.calm_s * 1000, self.rate, ", ".join(_told(found)))
        slow = _told({name: times for name, times in found.items() if times > TIMES_MAX})
        assert slow == [], f"{', '.join(slow)}, of {self.calm_s * 1000:.0f} ms"


def _told(found: dict[str, float]) -> list[str]:
    return [f"{name} {times:.1f} times" for name, times in found.items()]


@asynccontextmanager
async def arena(rabbit: LocalRabbit, settings: Settings, owner: Connection, log: Path) -> AsyncIterator[Arena]:
    """Run a replica with default settings and the rights of docs/roles.md, beside large records of each kind."""
    ground = await prepare(owner)
    namespace = "genlock"
    ours = settings.model_copy(update={"amqp_url": SecretStr(url_of(rabbit, "genlock")), "namespace": namespace})
    async with (
        connected(url_of(rabbit, "guest", "guest"), namespace) as administrator,
        replica(ours, log) as running,
        innocents(url_of(rabbit, INNOCENT), namespace) as others,
    ):
        data = {"expected_generation": None, "body": {"a": "x" * ground.body_bytes}}
        await administrator.ask(envelope("document.put", ground.document, data, id=ground.command))
        data = {"expected_generation": None, "body": {}}
        await administrator.ask(envelope("document.put", ground.hot, data))
        yield Arena(rabbit, ground, others, await _tenth_of_drain(others), 0.0)
        running.check()


async def _tenth_of_drain(others: Innocents) -> float:
    """A tenth of the rate at which the service decides what waits, in commands a second."""
    began = monotonic()
    await others.p99_s(DRAINED, 1e9)
    return min(max(DRAINED / (monotonic() - began) / 10, RATE_MIN), RATE_MAX)
