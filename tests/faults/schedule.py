"""Schedules: which faults come when, drawn from a seed and nothing else."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from tests.support.proxy import BOTH_WAYS, Way


class Fault(StrEnum):
    """A fault of a target; it is undone after a while."""

    KILL = "kill"
    TERMINATE = "terminate"
    FREEZE = "freeze"
    SHUT_DOWN = "shut down"
    KILL_BACKEND = "kill a backend"
    ALARM = "memory alarm"
    FAIL_OVER = "fail over"
    SWITCH_OVER = "switch over"
    LOSE_STANDBY = "lose the standby"
    LOSE_BOTH = "lose the standby, then the primary"
    LOSE_LEADER = "lose the leader"
    CUT = "cut"
    DELAY = "delay"
    STALL = "stall"
    HALF_OPEN = "half-open"
    REFUSE = "refuse"


POSTGRES = "PostgreSQL"
BROKER = "RabbitMQ"

OF_SERVERS: dict[str, tuple[Fault, ...]] = {
    POSTGRES: (Fault.KILL, Fault.SHUT_DOWN, Fault.KILL_BACKEND),
    BROKER: (Fault.KILL, Fault.SHUT_DOWN, Fault.ALARM),
}
OF_CLUSTERS: dict[str, tuple[Fault, ...]] = {
    POSTGRES: (Fault.FAIL_OVER, Fault.FAIL_OVER, Fault.SWITCH_OVER, Fault.LOSE_STANDBY, Fault.LOSE_BOTH),
    BROKER: (Fault.LOSE_LEADER, Fault.LOSE_LEADER, Fault.KILL, Fault.SHUT_DOWN, Fault.FREEZE),
}
"""Where PostgreSQL has a standby, and the broker three nodes, of which one is lost at a time."""

OF_REPLICAS = (Fault.KILL, Fault.KILL, Fault.TERMINATE, Fault.FREEZE)
OF_LINKS = (Fault.CUT, Fault.DELAY, Fault.STALL, Fault.HALF_OPEN, Fault.REFUSE)

WAYS = (BOTH_WAYS, frozenset({Way.REQUESTS}), frozenset({Way.ANSWERS}))

FIRST_AT_S = 1.5
LASTS_MAX_S = 5.0
PAUSE_S = (0.5, 3.0)
TWO_AT_ONCE_SHARE = 0.25

STARTING_S = {
    (BROKER, Fault.KILL): 8.0,
    (BROKER, Fault.SHUT_DOWN): 8.0,
    (BROKER, Fault.LOSE_LEADER): 8.0,
    (POSTGRES, Fault.FAIL_OVER): 4.0,
    (POSTGRES, Fault.SWITCH_OVER): 4.0,
    (POSTGRES, Fault.LOSE_BOTH): 6.0,
}
"""How long a target takes to be back, where that is long; the schedule leaves it that time."""


@dataclass(frozen=True)
class Planned:
    """A fault that is to come: `at_s` after the beginning, undone after `lasts_s`."""

    at_s: float
    fault: Fault
    target: str
    lasts_s: float
    ways: frozenset[Way] = BOTH_WAYS
    """The ways of a connection that a stall or a half-open connection concerns."""

    def __str__(self) -> str:
        ways = f" of {' and '.join(sorted(self.ways))}" if self.fault in (Fault.STALL, Fault.HALF_OPEN) else ""
        return f"{self.at_s:6.1f} s  {self.fault}{ways}: {self.target}, for {self.lasts_s:.1f} s"


def schedule(
    seed: str,
    length_s: float,
    replicas: list[str],
    links: list[str],
    of_servers: Mapping[str, tuple[Fault, ...]] = OF_SERVERS,
) -> list[Planned]:
    """Draw what comes within so many seconds, in the order of time."""
    targets = {**dict.fromkeys(replicas, OF_REPLICAS), **of_servers, **dict.fromkeys(links, OF_LINKS)}
    # A restart of the broker takes as long as all the rest, so it is not drawn as often.
    groups = (replicas, replicas, [POSTGRES], [POSTGRES], [BROKER], links, links, links)
    chance = random.Random(seed)
    planned: list[Planned] = []
    at_s = FIRST_AT_S
    while at_s < length_s:
        some = [_draw(chance, at_s, groups, targets)]
        if chance.random() < TWO_AT_ONCE_SHARE:
            another = _draw(chance, at_s + chance.uniform(0, 1), groups, targets)
            some += [another] if another.target != some[0].target else []
        planned += some
        at_s = max(_over_s(one) for one in some) + chance.uniform(*PAUSE_S)
    return planned


def _draw(
    chance: random.Random, at_s: float, groups: Sequence[list[str]], targets: Mapping[str, tuple[Fault, ...]]
) -> Planned:
    group = chance.choice(groups)
    target = chance.choice(group)
    fault = chance.choice(targets[target])
    return Planned(at_s, fault, target, chance.uniform(0.2, LASTS_MAX_S), chance.choice(WAYS))


def _over_s(planned: Planned) -> float:
    return planned.at_s + planned.lasts_s + STARTING_S.get((planned.target, planned.fault), 0.0)
