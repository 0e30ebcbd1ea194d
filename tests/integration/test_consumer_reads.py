"""Reads of the allocations of consumers, providers and projects: they show the decided state, page by page."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from genlock.schemas.base import GENERATION_MAX
from genlock.schemas.codes import Code
from genlock.schemas.outcomes import Succeeded
from genlock.schemas.queries import QUERIES
from genlock.service.database.transactions import READING_PLANS, Pool, open_pool
from genlock.service.deciding.decide import Decider
from genlock.service.reading.reads import QueryError
from tests.support.consumer_factories import set_allocations
from tests.support.factories import SOME_ID, Json, new_id
from tests.support.harness import outcomes
from tests.support.provider_factories import AMOUNT_MAX, create_provider, delete_provider, provider_command
from tests.support.reads import read

NOTHING: Json = {"records": [], "next": None}


async def asked(pool: Pool, query: str, subject: str, **filters: Any) -> Json:
    """The answer to a query that has one."""
    answer = await read(pool, query, subject, QUERIES[query].model_validate(filters))
    assert not isinstance(answer, QueryError), answer
    return answer


async def refused(pool: Pool, query: str, subject: str) -> Code:
    """The code of a query that has no answer."""
    answer = await read(pool, query, subject, QUERIES[query].model_validate({}))
    assert isinstance(answer, QueryError), answer
    return answer.code


async def all_pages(pool: Pool, query: str, subject: str, limit: int, **filters: Any) -> list[Json]:
    """The records of all pages, each but the last of which is full."""
    records: list[Json] = []
    after = None
    while True:
        page = await asked(pool, query, subject, limit=limit, after=after, **filters)
        records += page["records"]
        after = page["next"]
        if after is None:
            return records
        assert len(page["records"]) == limit


@pytest.fixture
async def reading(database_url: str) -> AsyncIterator[Pool]:
    """Connections as reads use them."""
    async with await open_pool(database_url, size=2, timeout_s=20, plans=READING_PLANS) as pool:
        yield pool


@pytest.fixture
async def provider(decider: Decider) -> str:
    """A provider with plenty of three classes, at generation 1."""
    provider = new_id()
    inventories = {name: {"total": 1000} for name in ("VCPU", "MEMORY_MB", "DISK_GB")}
    await decider.decide(
        [
            create_provider(provider),
            provider_command("set_inventories", provider, expected_generation=0, inventories=inventories),
        ]
    )
    return provider


async def test_a_consumer_is_read_as_its_last_event_showed_it(decider: Decider, reading: Pool, provider: str) -> None:
    consumer = new_id()
    first = set_allocations(consumer, None, {provider: {"VCPU": 2, "DISK_GB": 9}}, consumer_type="INSTANCE")
    second = set_allocations(consumer, 1, {provider: {"VCPU": 1, "MEMORY_MB": 5}}, project_id="é", user_id="u")
    *_, last = outcomes(await decider.decide([first, second]))
    assert isinstance(last, Succeeded)
    answer = await asked(reading, "consumer.get", consumer.upper())
    assert answer == {"record": last.record, "sequence": 2}
    assert answer["record"] == {
        "id": consumer,
        "generation": 2,
        "project_id": "é",
        "user_id": "u",
        "consumer_type": "INSTANCE",
        "allocations": {provider: {"MEMORY_MB": 5, "VCPU": 1}},
    }


async def test_a_consumer_without_allocations_is_not_found(decider: Decider, reading: Pool, provider: str) -> None:
    consumer = new_id()
    await decider.decide([set_allocations(consumer, None, {provider: {"VCPU": 2}}), set_allocations(consumer, 1, {})])
    assert await refused(reading, "consumer.get", consumer) is Code.NOT_FOUND
    assert await refused(reading, "consumer.get", new_id()) is Code.NOT_FOUND
    assert await asked(reading, "provider.allocations", provider) == NOTHING | {"generation": 3}
    history = await asked(reading, "record.history", consumer, kind="consumer")
    assert [change["token"] for change in history["records"]] == [{"generation": 1}, {"generation": 2}]


async def test_allocations_of_a_provider_are_read_consumer_by_consumer(
    decider: Decider, reading: Pool, provider: str
) -> None:
    other = new_id()
    consumers = sorted(new_id() for _ in range(7))
    inventory = {"resource_class": "VCPU", "inventory": {"total": 9}}
    await decider.decide(
        [create_provider(other), provider_command("put_inventory", other, expected_generation=0, **inventory)]
    )
    await decider.decide(
        [
            set_allocations(
                consumer,
                None,
                {provider: {"VCPU": number + 1, "DISK_GB": 1}, other: {"VCPU": 1}},
                project_id=f"project {number}",
                user_id=f"user {number}",
                consumer_type=None if number else "INSTANCE",
            )
            for number, consumer in enumerate(consumers)
        ]
    )
    await decider.decide([set_allocations(consumers[3], 1, {provider: {"VCPU": 9}})])
    expected = [
        {
            "consumer_id": consumer,
            "consumer_generation": 1,
            "project_id": f"project {number}",
            "user_id": f"user {number}",
            "consumer_type": None if number else "INSTANCE",
            "resources": {"DISK_GB": 1, "VCPU": number + 1},
        }
        for number, consumer in enumerate(consumers)
    ]
    expected[3] |= {"consumer_generation": 2, "project_id": "project-1", "user_id": "user-1", "resources": {"VCPU": 9}}
    answer = await asked(reading, "provider.allocations", provider)
    assert answer == {"records": expected, "next": None, "generation": 9}
    for limit in (1, 3, 7):
        assert await all_pages(reading, "provider.allocations", provider, limit) == expected
    assert [record["consumer_id"] for record in await all_pages(reading, "provider.allocations", other, 4)] == [
        consumer for consumer in consumers if consumer != consumers[3]
    ]


async def test_usages_of_a_provider_show_the_rest(decider: Decider, reading: Pool) -> None:
    provider = new_id()
    inventories = {
        "VCPU": {"total": 64, "reserved": 4, "allocation_ratio": 1.5},
        "DISK_GB": {"total": 100, "allocation_ratio": 2.3},
        "CUSTOM_GOLD": {"total": AMOUNT_MAX, "reserved": AMOUNT_MAX},
        "MEMORY_MB": {"total": AMOUNT_MAX, "allocation_ratio": 3.40282e38},
    }
    await decider.decide(
        [
            create_provider(provider),
            provider_command("set_inventories", provider, expected_generation=0, inventories=inventories),
            *(
                set_allocations(new_id(), None, {provider: {"VCPU": 30, "MEMORY_MB": AMOUNT_MAX}}, consumer_type=kind)
                for kind in (None, "INSTANCE", "MIGRATION")
            ),
        ]
    )

    def usage(name: str, used: int, capacity: int, total: int, reserved: int = 0) -> Json:
        return {
            "resource_class": name,
            "used": used,
            "capacity": capacity,
            "total": total,
            "reserved": reserved,
        }

    expected = [
        usage("CUSTOM_GOLD", 0, 0, AMOUNT_MAX, AMOUNT_MAX),
        usage("DISK_GB", 0, 229, 100),
        usage("MEMORY_MB", 3 * AMOUNT_MAX, GENERATION_MAX, AMOUNT_MAX),
        usage("VCPU", 90, 90, 64, 4),
    ]
    assert await asked(reading, "provider.usages", provider) == {"records": expected, "next": None, "generation": 4}
    for limit in (1, 3, 4):
        assert await all_pages(reading, "provider.usages", provider, limit) == expected
    shrink = provider_command("put_inventory", provider, expected_generation=4, inventory={"total": 8})
    await decider.decide([shrink])
    page = await asked(reading, "provider.usages", provider, after="MEMORY_MB")
    assert page == {"records": [usage("VCPU", 90, 8, 8)], "next": None, "generation": 5}


async def test_provider_without_anything_has_empty_pages_and_one_that_is_gone_none(
    decider: Decider, reading: Pool
) -> None:
    empty, gone = new_id(), new_id()
    await decider.decide([create_provider(empty), create_provider(gone), delete_provider(gone, 0)])
    for query in ("provider.usages", "provider.allocations"):
        assert await asked(reading, query, empty) == NOTHING | {"generation": 0}
        assert await refused(reading, query, gone) is Code.NOT_FOUND
        assert await refused(reading, query, new_id()) is Code.NOT_FOUND


@pytest.fixture
async def project(decider: Decider, provider: str) -> str:
    """A project with consumers of two types, some without one, and of two users; and another project."""
    project = f"project {new_id()}"
    rows: list[tuple[str, str, str | None, Json]] = [
        (project, "ann", "INSTANCE", {"VCPU": 1, "DISK_GB": 10}),
        (project, "ann", "INSTANCE", {"VCPU": 2}),
        (project, "bob", "INSTANCE", {"VCPU": 4, "MEMORY_MB": 512}),
        (project, "bob", "MIGRATION", {"VCPU": 8}),
        (project, "ann", None, {"DISK_GB": 20}),
        (f"{project} too", "ann", "INSTANCE", {"VCPU": 16}),
    ]
    commands = [
        set_allocations(
            new_id(), None, {provider: resources}, project_id=project_id, user_id=user, consumer_type=consumer_type
        )
        for project_id, user, consumer_type, resources in rows
    ]
    removed = set_allocations(
        new_id(), None, {provider: {"VCPU": 32}}, project_id=project, user_id="ann", consumer_type="INSTANCE"
    )
    gone = set_allocations(removed.subject, 1, {}, project_id=project, user_id="ann", consumer_type="INSTANCE")
    answers = outcomes(await decider.decide([*commands, removed, gone]))
    assert all(isinstance(outcome, Succeeded) for outcome in answers)
    return project


def total(consumer_type: str, consumers: int, **resources: int) -> Json:
    return {"consumer_type": consumer_type, "consumer_count": consumers, "resources": resources}


INSTANCES = total("INSTANCE", 3, DISK_GB=10, MEMORY_MB=512, VCPU=7)
MIGRATIONS = total("MIGRATION", 1, VCPU=8)
UNKNOWN = total("unknown", 1, DISK_GB=20)
ALL = total("all", 5, DISK_GB=30, MEMORY_MB=512, VCPU=15)

USAGES: list[tuple[Json, list[Json]]] = [
    ({}, [INSTANCES, MIGRATIONS, UNKNOWN]),
    ({"consumer_type": "INSTANCE"}, [INSTANCES]),
    ({"consumer_type": "unknown"}, [UNKNOWN]),
    ({"consumer_type": "OTHER"}, []),
    ({"consumer_type": "UNKNOWN"}, []),
    ({"consumer_type": "all"}, [ALL]),
    ({"user_id": "bob"}, [total("INSTANCE", 1, MEMORY_MB=512, VCPU=4), MIGRATIONS]),
    ({"user_id": "ann", "consumer_type": "INSTANCE"}, [total("INSTANCE", 2, DISK_GB=10, VCPU=3)]),
    ({"user_id": "bob", "consumer_type": "all"}, [total("all", 2, MEMORY_MB=512, VCPU=12)]),
    ({"user_id": "eve"}, []),
    ({"user_id": "eve", "consumer_type": "all"}, []),
]


async def test_usages_of_a_project_are_summed_by_the_type_of_consumers(reading: Pool, project: str) -> None:
    for filters, expected in USAGES:
        assert await asked(reading, "project.usages", project, **filters) == {"records": expected, "next": None}, (
            filters
        )
        for limit in (1, 2):
            assert await all_pages(reading, "project.usages", project, limit, **filters) == expected, filters
    assert await asked(reading, "project.usages", "it's missing") == NOTHING


@pytest.mark.parametrize(
    ("query", "subject", "filters"),
    [
        ("consumer.get", "no uuid", {}),
        ("consumer.get", "", {}),
        ("provider.allocations", "no uuid", {}),
        ("provider.usages", "", {}),
        ("provider.allocations", SOME_ID, {"after": "no uuid"}),
        ("provider.usages", SOME_ID, {"after": "no class"}),
        ("project.usages", "", {}),
        ("project.usages", "x" * 256, {}),
        ("project.usages", "x", {"after": "no type"}),
        ("project.usages", "x", {"consumer_type": "no type"}),
        ("project.usages", "x", {"user_id": ""}),
        ("provider.list", "", {"member_of": "in:"}),
        ("provider.list", "", {"resources": {"VCPU": 0}}),
    ],
)
async def test_what_cannot_be_an_id_or_a_cursor_or_a_filter_raises_value_error(
    reading: Pool, query: str, subject: str, filters: Json
) -> None:
    with pytest.raises(ValueError, match=r".+"):
        await read(reading, query, subject, QUERIES[query].model_validate(filters))


async def test_read_beside_allocations_is_of_one_moment(decider: Decider, reading: Pool) -> None:
    """A consumer moves from one provider to another and back; whenever it is asked for, it has exactly one of them."""
    providers = sorted(new_id() for _ in range(2))
    for provider in providers:
        inventory = {"resource_class": "VCPU", "inventory": {"total": 1}}
        await decider.decide(
            [create_provider(provider), provider_command("put_inventory", provider, expected_generation=0, **inventory)]
        )
    consumer = new_id()
    await decider.decide([set_allocations(consumer, None, {providers[0]: {"VCPU": 1}})])
    for turn in range(1, 30):
        move = set_allocations(consumer, turn, {providers[turn % 2]: {"VCPU": 1}})
        answer, _ = await asyncio.gather(asked(reading, "consumer.get", consumer), decider.decide([move]))
        [(held, _)] = answer["record"]["allocations"].items()
        assert held == providers[(answer["record"]["generation"] - 1) % 2]
