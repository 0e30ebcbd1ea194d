"""How reads of consumers and projects go in a large database.

At full size (large_database.py; PostgreSQL 15, all in memory) the usages of a project with 100 consumers touch 460
pages and take 0.7 ms of processor time, those of one with 33,000 consumers 140,000 pages and 150 ms.
"""

from tests.support.database import Connection
from tests.support.large_database import CONSUMERS, explained, named


async def test_one_consumer_is_read_by_keys(reading: Connection) -> None:
    found = await explained(reading, "consumer.get", named("consumer 777"))
    assert found.indexes == {"consumers_pkey", "allocations_pkey"}
    assert found.whole == set()
    assert found.pages < 20


async def test_usages_touch_the_project_alone(reading: Connection) -> None:
    small = await explained(reading, "project.usages", "project 77")
    consumers = sum(usage["consumer_count"] for usage in small.records)
    assert 50 < consumers < 150
    assert small.indexes == {"consumers_project", "allocations_pkey"}
    assert small.whole == set()
    assert small.pages < 50 + 6 * consumers


async def test_usages_of_a_tenth_of_all_do_not_read_the_other_nine(reading: Connection) -> None:
    large = await explained(reading, "project.usages", "large")
    consumers = sum(usage["consumer_count"] for usage in large.records)
    assert consumers >= CONSUMERS // 10
    assert large.indexes == {"consumers_project", "allocations_pkey"}
    assert large.whole == set()
    assert large.pages < 6 * consumers


async def test_usages_of_a_user_touch_the_user_s_consumers_alone(reading: Connection) -> None:
    found = await explained(reading, "project.usages", "large", user_id="user 30", consumer_type="all")
    [usage] = found.records
    assert found.whole == set()
    assert found.pages < 50 + 10 * usage["consumer_count"]


async def test_usages_of_an_unknown_project_are_empty(reading: Connection) -> None:
    found = await explained(reading, "project.usages", "missing")
    assert found.records == []
    assert found.pages < 10
