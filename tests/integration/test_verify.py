"""`genlock verify` finds nothing after real work, and finds each thing that must not be."""

import asyncio

import pytest

from genlock.cli import proof
from genlock.service.database import verify
from genlock.service.database.statements import check
from genlock.service.database.verify import Checked
from genlock.service.deciding.decide import Decider
from genlock.service.kinds.registry import KINDS
from tests.support.database import Connection
from tests.support.factories import delete_document, envelope, merge, new_id, put, received, stack_command
from tests.support.harness import until
from tests.support.provider_factories import create_provider, move_provider


@pytest.fixture
async def worked(decider: Decider, second: Connection) -> Connection:
    """A database in which every kind of record was created, changed, fought over and deleted."""
    document, gone, stack, root, child = (new_id() for _ in range(5))
    create = stack_command("create", stack, name="verified", template={})
    update = stack_command("update", stack, expected_traversal=create.id, template={"n": 1})
    answers = await decider.decide(
        [
            put(document, None),
            put(document, 0),
            put(document, 0),
            merge(document, {"a": 1}),
            put(gone, None),
            delete_document(gone, 0),
            create,
            update,
            stack_command("set_state", stack, expected_traversal=create.id, status="FAILED"),
            stack_command("set_state", stack, expected_traversal=update.id, status="COMPLETE"),
            create_provider(root, "root"),
            create_provider(child, "child"),
            move_provider(child, 0, root),
            received(envelope("no.such", None, {})),
        ]
    )
    await decider.confirm(answers.batch_ids)
    return second


async def checks(database_url: str) -> list[Checked]:
    return [checked async for checked in verify.verify(database_url, KINDS)]


@pytest.mark.usefixtures("worked")
async def test_nothing_is_wrong_after_real_work(database_url: str) -> None:
    made = await checks(database_url)
    assert len(made) == sum(len(names) for names in verify.checks_of(KINDS))
    assert [checked for checked in made if checked.violations] == []


async def test_nothing_is_wrong_in_an_empty_database(database_url: str) -> None:
    assert [checked for checked in await checks(database_url) if checked.violations] == []


@pytest.mark.parametrize(
    ("damage", "claim"),
    [
        ("UPDATE documents SET sequence = sequence + 1", "Every sequence number of a document"),
        ("UPDATE documents SET generation = generation + 1", "Every sequence number of a document"),
        ("DELETE FROM changes WHERE kind = 'document' AND sequence = 1", "Every sequence number of a document"),
        ("UPDATE changes SET token = '7' WHERE kind = 'document'", "Every sequence number of a document"),
        ("DELETE FROM documents", "Every sequence number of a document"),
        ("UPDATE providers SET generation = generation + 1", "Every sequence number of a provider"),
        ("DELETE FROM changes WHERE kind = 'provider' AND sequence = 2", "Every sequence number of a provider"),
        ("UPDATE providers SET parent_id = id", "Every live provider hangs below a root"),
        ("UPDATE providers SET parent_id = gen_random_uuid()", "Every live provider hangs below a root"),
        ("DELETE FROM changes WHERE kind = 'stack' AND sequence = 2", "Every sequence number of a stack"),
        ("UPDATE stacks SET traversal = gen_random_uuid()", "The traversals of a stack form one chain"),
        ("UPDATE stacks SET previous_traversal = NULL", "The traversals of a stack form one chain"),
        (
            "UPDATE changes SET token = gen_random_uuid() WHERE kind = 'stack' AND sequence = 2",
            "The traversals of a stack form one chain",
        ),
        ("UPDATE changes SET command_id = '00000000-0000-0000-0000-000000000000'", "No command has changed"),
        ("DELETE FROM names WHERE kind = 'stack'", "Every live provider and stack holds its name"),
        ("UPDATE names SET name = 'other' WHERE name = 'child'", "Every live provider and stack holds its name"),
        ("UPDATE ledger SET verdict = 'conflict' WHERE verdict = 'succeeded'", "In the ledger's memory no command"),
        ("DELETE FROM changes WHERE kind = 'provider' AND sequence = 1", "Every accepted command that the ledger"),
        (
            "UPDATE batches SET confirmed_at = NULL, decided_at = decided_at - interval '2 minutes'",
            "Every batch older than a minute",
        ),
    ],
)
async def test_what_must_not_be_is_found(worked: Connection, database_url: str, damage: str, claim: str) -> None:
    await worked.execute(damage)
    found = [checked.claim for checked in await checks(database_url) if checked.violations]
    assert any(text.startswith(claim) for text in found), found


async def test_check_that_takes_long_is_told_of_while_it_is_made(
    worked: Connection, database_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    progress = proof.Progress(tick_s=0.01, report_after_s=0.05)
    told = ""

    async def is_told() -> bool:
        nonlocal told
        told += capsys.readouterr().err
        return "genlock: 1 of " in told

    async with worked.transaction():
        await worked.execute("LOCK TABLE providers")
        verifying = asyncio.create_task(proof.check(database_url, progress, quiet=True))
        await until(is_told)
        assert "Every sequence number of a provider has" in told
        assert not verifying.done()
    assert await verifying == 0


async def test_batch_that_was_under_way_when_the_snapshot_was_taken_is_not_too_old_by_the_end_of_a_long_check(
    worked: Connection,
) -> None:
    statement = check("batches_confirmed")
    async with worked.transaction(isolation="repeatable_read"):
        await worked.execute("UPDATE batches SET confirmed_at = NULL, decided_at = now() - interval '59.9 seconds'")
        await worked.execute("SELECT pg_sleep(0.2)")
        assert await worked.fetch(statement) == []
        await worked.execute("UPDATE batches SET decided_at = now() - interval '60.1 seconds'")
        assert await worked.fetch(statement)
