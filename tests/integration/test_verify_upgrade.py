"""`genlock verify` beside an older version, which writes no hashes: its rows are no violations, and hide none."""

from genlock.service.database.verify import verify
from genlock.service.deciding.decide import Decider
from genlock.service.kinds.registry import KINDS
from tests.support.consumer_factories import set_allocations
from tests.support.database import Connection
from tests.support.factories import delete_document, merge, new_id, put, stack_command
from tests.support.provider_factories import create_provider, provider_command
from tests.support.upgrades import older_statements

OLD, BACK, FORTH = "server-1", "server-2", "server-3"
"""Documents: of the older version alone, written last by the older one, and by the newer one."""

STATES = "Every document is as its last change left it"


async def violations(database_url: str) -> list[str]:
    return [checked.claim async for checked in verify(database_url, KINDS) if checked.violations]


async def both_wrote(decider: Decider) -> None:
    """Have two versions write by turns."""
    stack, provider, consumer = new_id(), new_id(), new_id()
    create = stack_command("create", stack, name="verified")
    with older_statements():
        commands = [put(OLD, None), put(FORTH, None), create, create_provider(provider)]
        first = await decider.decide(commands)
    newer = [
        merge(FORTH, {"n": 1}),
        put(BACK, None),
        stack_command("set_state", stack, expected_traversal=create.id),
        provider_command("put_inventory", provider, expected_generation=0),
        set_allocations(consumer, None, {provider: {"VCPU": 1}}),
    ]
    second = await decider.decide(newer)
    with older_statements():
        older = [
            merge(BACK, {"n": 1}),
            stack_command("update", stack, expected_traversal=create.id),
            set_allocations(consumer, 1, {provider: {"VCPU": 2}}),
        ]
        third = await decider.decide(older)
    outcomes = [*first.events, *second.events, *third.events]
    assert {event.type.rpartition(".")[2] for event in outcomes} == {"succeeded"}
    await decider.confirm([*first.batch_ids, *second.batch_ids, *third.batch_ids])


async def test_rows_of_an_older_version_are_no_violations(
    database_url: str, decider: Decider, second: Connection
) -> None:
    await both_wrote(decider)
    assert await second.fetchval("SELECT count(*) FROM changes WHERE row_hash IS NULL") == 8
    assert await second.fetchval("SELECT count(*) FROM batches WHERE commands IS NULL") == 2
    assert await violations(database_url) == []


async def test_content_that_the_newer_version_wrote_last_is_held_against_its_hash(
    database_url: str, decider: Decider, second: Connection
) -> None:
    await both_wrote(decider)
    await second.execute("""UPDATE documents SET body = '{"n":2}' WHERE id = ANY ($1)""", [OLD, BACK, FORTH])
    [wrong] = [checked async for checked in verify(database_url, KINDS) if checked.violations]
    assert wrong.claim.startswith(STATES)
    assert [violation.record for violation in wrong.violations] == [FORTH]


async def test_maker_and_tombstone_of_an_older_versions_record_are_held_against_its_history(
    database_url: str, decider: Decider, second: Connection
) -> None:
    with older_statements():
        answers = await decider.decide([put(OLD, None), delete_document(OLD, 0), put(BACK, None)])
    await decider.confirm(answers.batch_ids)
    await second.execute("UPDATE documents SET body = '{}' WHERE id = $1", OLD)
    await second.execute("UPDATE documents SET maker_source = '/elsewhere' WHERE id = $1", BACK)
    [wrong] = [checked async for checked in verify(database_url, KINDS) if checked.violations]
    assert wrong.claim.startswith(STATES)
    assert {violation.record for violation in wrong.violations} == {OLD, BACK}


async def test_value_that_cannot_be_read_is_a_violation_and_ends_no_other_check(
    database_url: str, decider: Decider, second: Connection
) -> None:
    answers = await decider.decide([put(OLD, None), put(BACK, None)])
    await decider.confirm(answers.batch_ids)
    await second.execute("UPDATE ledger SET event = left(event, 40)")
    made = [checked async for checked in verify(database_url, KINDS)]
    wrong = {checked.claim.partition(" ")[2][:28]: checked.violations for checked in made if checked.violations}
    assert set(wrong) == {"event in the ledger is the o", "row of the ledger belongs to"}
    [violation] = wrong["event in the ledger is the o"]
    assert violation.found.startswith("invalid input syntax for type json")
