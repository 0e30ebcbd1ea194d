"""`genlock verify` on consumers: real work is found well, overages that may be included, and damage is found."""

import pytest

from genlock.schemas.outcomes import Succeeded
from genlock.service.database import verify
from genlock.service.deciding.decide import Decider
from genlock.service.kinds.registry import KINDS
from tests.support.consumer_factories import reshape, set_allocations, set_many, wanted
from tests.support.database import Connection
from tests.support.factories import Json, new_id
from tests.support.harness import outcomes
from tests.support.provider_factories import create_provider, delete_provider, provider_command

PLAIN, SHRUNK, SET, RESHAPED, AGAIN = (f"{number}0000000-0000-4000-8000-000000000000" for number in range(1, 6))
"""Providers: one that nothing happened to, three with less capacity than is used of them, one created twice."""

LIVE, GONE = (f"{number}0000000-0000-4000-8000-000000000000" for number in (6, 7))
"""Consumers."""

SEQUENCES = "Every sequence number of a consumer"
LIVE_ONES = "Every live consumer has allocations"
USED = "The use of every inventory is the sum of its allocations"
CAPACITY = "More is used than the capacity only where"


def stock(provider: str, expected: int, total: int) -> Json:
    return {provider: {"expected_generation": expected, "inventories": {"VCPU": {"total": total}}}}


@pytest.fixture
async def worked(decider: Decider, second: Connection) -> Connection:
    """A database in which consumers came, moved and went, and inventories shrank below what was used."""
    four = {"VCPU": 4}
    commands = []
    for provider in (PLAIN, SHRUNK, SET, RESHAPED, AGAIN):
        commands += [create_provider(provider), provider_command("put_inventory", provider, expected_generation=0)]
    commands += [
        set_allocations(LIVE, None, {PLAIN: {"VCPU": 8}, SHRUNK: four, SET: four, RESHAPED: four}),
        set_allocations(GONE, None, {AGAIN: four, SHRUNK: four}),
        provider_command("put_inventory", AGAIN, expected_generation=2, inventory={"total": 1}),
        set_many({GONE: wanted(1, {})}),
        delete_provider(AGAIN, 4),
        create_provider(AGAIN),
        provider_command("put_inventory", AGAIN, expected_generation=6),
        set_allocations(new_id(), None, {AGAIN: four}),
        provider_command("put_inventory", SHRUNK, expected_generation=4, inventory={"total": 3}),
        provider_command("set_inventories", SET, expected_generation=2, inventories={"VCPU": {"total": 3}}),
        reshape(stock(RESHAPED, 2, 3), {}),
        # A consumer that gives something back leaves the overage smaller, and no less legal.
        set_allocations(LIVE, 1, {PLAIN: {"VCPU": 7}, SHRUNK: four, SET: four, RESHAPED: four}),
    ]
    answers = await decider.decide(commands)
    assert {type(outcome) for outcome in outcomes(answers)} == {Succeeded}
    await decider.confirm(answers.batch_ids)
    over = "SELECT count(*) FROM inventories WHERE used > (total - reserved) * allocation_ratio"
    assert await second.fetchval(over) == 3
    return second


async def violations(database_url: str) -> dict[str, list[str]]:
    """The records that are not as they must be, by claim."""
    made = [checked async for checked in verify.verify(database_url, KINDS)]
    return {
        checked.claim: [violation.record for violation in checked.violations] for checked in made if checked.violations
    }


@pytest.mark.usefixtures("worked")
async def test_nothing_is_wrong_after_real_work(database_url: str) -> None:
    assert await violations(database_url) == {}


@pytest.mark.parametrize(
    ("damage", "claim", "record"),
    [
        ("UPDATE consumers SET generation = generation + 1 WHERE id = $1", SEQUENCES, LIVE),
        ("UPDATE consumers SET sequence = sequence + 1 WHERE id = $1", SEQUENCES, LIVE),
        ("DELETE FROM consumers WHERE id = $1", SEQUENCES, LIVE),
        ("DELETE FROM changes WHERE record_id = $1::uuid::text AND sequence = 1", SEQUENCES, LIVE),
        ("DELETE FROM changes WHERE record_id = $1::uuid::text AND sequence = 2", SEQUENCES, GONE),
        ("UPDATE changes SET token = '7' WHERE record_id = $1::uuid::text AND sequence = 1", SEQUENCES, LIVE),
        ("DELETE FROM allocations WHERE consumer_id = $1", LIVE_ONES, LIVE),
        ("UPDATE consumers SET deleted = true WHERE id = $1", LIVE_ONES, LIVE),
        ("UPDATE consumers SET deleted = false WHERE id = $1", LIVE_ONES, GONE),
        ("INSERT INTO allocations SELECT $1, provider_id, 'VCPU', 1 FROM inventories LIMIT 1", LIVE_ONES, GONE),
        ("DELETE FROM consumers WHERE id = $1", LIVE_ONES, LIVE),
        ("UPDATE inventories SET used = used + 1 WHERE provider_id = $1", USED, PLAIN),
        ("UPDATE inventories SET used = 0 WHERE provider_id = $1", USED, PLAIN),
        ("UPDATE allocations SET amount = amount - 1 WHERE provider_id = $1", USED, SHRUNK),
        ("DELETE FROM allocations WHERE provider_id = $1", USED, PLAIN),
        ("DELETE FROM inventories WHERE provider_id = $1", USED, PLAIN),
        ("UPDATE allocations SET resource_class = 'DISK_GB' WHERE provider_id = $1", USED, PLAIN),
        ("UPDATE providers SET deleted = true WHERE id = $1", USED, PLAIN),
        ("DELETE FROM providers WHERE id = $1", USED, PLAIN),
        # Nothing that the service does makes less of an inventory without a change of one of three types.
        ("UPDATE inventories SET total = 1 WHERE provider_id = $1", CAPACITY, PLAIN),
        ("UPDATE inventories SET reserved = total WHERE provider_id = $1", CAPACITY, PLAIN),
        ("UPDATE inventories SET allocation_ratio = 0.5 WHERE provider_id = $1", CAPACITY, PLAIN),
        # What happened to a former provider of this id explains nothing.
        ("UPDATE inventories SET total = 1 WHERE provider_id = $1", CAPACITY, AGAIN),
    ],
)
async def test_what_must_not_be_is_found(
    worked: Connection, database_url: str, damage: str, claim: str, record: str
) -> None:
    assert not (await worked.execute(damage, record)).endswith(" 0")
    found = await violations(database_url)
    assert any(text.startswith(claim) and record in records for text, records in found.items()), found


@pytest.mark.parametrize(("provider", "changed"), [(SHRUNK, 6), (SET, 4), (RESHAPED, 4)])
async def test_overage_without_the_change_that_explains_it_is_found(
    worked: Connection, database_url: str, provider: str, changed: int
) -> None:
    """Were it some other change, the overage could only have been allocated."""
    other = "UPDATE changes SET command_type = 'provider.set_traits' WHERE record_id = $1 AND sequence = $2"
    assert await worked.execute(other, provider, changed) == "UPDATE 1"
    found = {claim[: len(CAPACITY)]: records for claim, records in (await violations(database_url)).items()}
    assert found[CAPACITY] == [provider]
