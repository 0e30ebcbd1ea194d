"""Schedules are drawn from their seed alone, and all faults come in time."""

from tests.faults.schedule import BROKER, OF_CLUSTERS, OF_SERVERS, POSTGRES, Fault, schedule

REPLICAS = ["replica 1", "replica 2"]
LINKS = ["replica 1 to RabbitMQ", "replica 1 to PostgreSQL"]


def test_same_seed_gives_the_same_schedule_and_another_one_another() -> None:
    one, same, other = (schedule(seed, 60, REPLICAS, LINKS) for seed in ("7", "7", "8"))
    assert one == same
    assert one != other


def test_every_fault_comes_to_every_kind_of_target() -> None:
    planned = [
        one
        for of_servers in (OF_SERVERS, OF_CLUSTERS)
        for seed in range(100)
        for one in schedule(str(seed), 60, REPLICAS, LINKS, of_servers)
    ]
    assert {one.fault for one in planned} == set(Fault)
    assert {one.target for one in planned} == {*REPLICAS, *LINKS, POSTGRES, BROKER}
