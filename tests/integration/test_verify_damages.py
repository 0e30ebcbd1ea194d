"""`genlock verify` finds what was changed by hand in any table, under any other row's picture of it."""

# ruff: noqa: S608 - no statement has any input

from collections.abc import AsyncIterator

import asyncpg
import pytest
import pytest_asyncio

from genlock import servers as servers_module
from genlock.servers import Role, Servers
from tests.support.damages import CANCELLED, CHILD, DOCUMENT, FIRST, GONE, ROOT, SECOND, STACK, broken, work
from tests.support.database import Connection
from tests.support.deciders import deciding_pool

DOCUMENTS = "Every document is as its last change left it"
PROVIDERS = "Every provider is as its last change left it"
CONSUMERS = "Every consumer is as its last change left it"
STACKS = "Every stack is as its changes left it"
SEQUENCES = "Every sequence number of a document"
KEPT = "Every change in the history is the one that was written"
MADE = "Every accepted command that the ledger remembers"
RECORDED = "Every change within the ledger's memory"
TOLD = "Every event in the ledger is the outcome"
ROWS = "Every row of the ledger belongs to a batch"
COUNTED = "Every batch has as many rows"
SUSPECTS = "No command that was decided and confirmed"

COMMAND = f"(SELECT command_id FROM changes WHERE record_id = '{DOCUMENT}' AND sequence = 2)"
"""A command of which there are an accepted change, an event, and two more changes of the record."""

MADE_BY_SECOND = (
    "(SELECT command_id, command_type, command_source, decided_at FROM changes WHERE record_id = id AND sequence = 2)"
)
"""The maker of a document's second generation."""

LAST = "(SELECT id FROM ledger WHERE batch_id = 2)"
"""The only command of the second batch."""

BODY = '\'{"owner":"mallory"}\''


def on(table: str, record: str, assignments: str) -> str:
    return f"UPDATE {table} SET {assignments} WHERE id = '{record}'"


def told(old: str, new: str, command: str = COMMAND) -> str:
    """The event of a command tells something else."""
    return f"UPDATE ledger SET event = replace(event, '{old}', '{new}') WHERE id = {command}"


DAMAGES = {
    # Documents.
    "a body": (on("documents", DOCUMENT, f"body = {BODY}"), DOCUMENTS),
    "the spaces in a body": (on("documents", DOCUMENT, "body = replace(body::text, ':', ': ')::json"), DOCUMENTS),
    "a maker": (on("documents", DOCUMENT, "maker_id = gen_random_uuid()"), DOCUMENTS),
    "a maker's source": (on("documents", DOCUMENT, "maker_source = '/elsewhere'"), DOCUMENTS),
    "the maker before the last": (
        (
            "UPDATE documents SET (maker_id, maker_type, maker_source, maker_time) = "
            f"{MADE_BY_SECOND} "
            f"WHERE id = '{DOCUMENT}'"
        ),
        DOCUMENTS,
    ),
    "a deleted document live again": (on("documents", GONE, f"body = {BODY}"), DOCUMENTS),
    "a live document deleted": (on("documents", DOCUMENT, "body = NULL"), DOCUMENTS),
    "two bodies exchanged": (
        (
            "UPDATE documents SET body = other.body FROM documents AS other "
            "WHERE documents.id <> other.id AND documents.body IS NOT NULL AND other.body IS NOT NULL"
        ),
        DOCUMENTS,
    ),
    "a hash taken away": (on("documents", DOCUMENT, "state_hash = NULL"), DOCUMENTS),
    "an update taken back": (
        (
            f"DELETE FROM changes WHERE record_id = '{DOCUMENT}' AND sequence = 3;"
            "UPDATE documents SET generation = 1, sequence = 2, (maker_id, maker_type, maker_source, maker_time) = "
            f"{MADE_BY_SECOND} "
            f"WHERE id = '{DOCUMENT}'"
        ),
        MADE,
    ),
    "a change more": (
        (
            "INSERT INTO changes "
            "SELECT kind, record_id, 4, '3', command_id, command_type, command_source, decided_at "
            f"FROM changes WHERE record_id = '{DOCUMENT}' AND sequence = 3"
        ),
        SEQUENCES,
    ),
    "a change more with its generation": (
        "INSERT INTO changes "
        "SELECT kind, record_id, 4, '3', gen_random_uuid(), command_type, command_source, decided_at "
        f"FROM changes WHERE record_id = '{DOCUMENT}' AND sequence = 3;"
        + on("documents", DOCUMENT, "generation = 3, sequence = 4"),
        RECORDED,
    ),
    "a document copied with its history": (
        (
            "INSERT INTO documents "
            "SELECT 'copy', generation, sequence, body, gen_random_uuid(), maker_type, maker_source, "
            "maker_time FROM documents WHERE id = 'server-3';"
            "INSERT INTO changes "
            "SELECT kind, 'copy', changes.sequence, token, maker_id, command_type, command_source, decided_at "
            "FROM changes JOIN documents ON id = 'copy' WHERE record_id = 'server-3'"
        ),
        RECORDED,
    ),
    "a document gone with its history": (
        f"DELETE FROM documents WHERE id = '{GONE}'; DELETE FROM changes WHERE record_id = '{GONE}'",
        MADE,
    ),
    "a document gone with its history and its ledger rows": (
        (
            f"DELETE FROM ledger WHERE id IN (SELECT command_id FROM changes WHERE record_id = '{GONE}');"
            f"DELETE FROM documents WHERE id = '{GONE}'; DELETE FROM changes WHERE record_id = '{GONE}'"
        ),
        COUNTED,
    ),
    # Providers.
    "a trait": (on("providers", ROOT, "traits = '{HW_CPU_X86_VMX}'"), PROVIDERS),
    "the order of traits": (on("providers", ROOT, "traits = '{HW_CPU_X86_VMX,HW_CPU_X86_AVX2}'"), PROVIDERS),
    "a parent": (on("providers", CHILD, "parent_id = NULL"), PROVIDERS),
    "an aggregate": (on("providers", ROOT, "aggregates = ARRAY[gen_random_uuid()]"), PROVIDERS),
    "a provider's name, and who holds it": (
        on("providers", ROOT, "name = 'other'") + "; UPDATE names SET name = 'other' WHERE name = 'root'",
        PROVIDERS,
    ),
    "a total": (f"UPDATE inventories SET total = 4097 WHERE provider_id = '{ROOT}' AND total = 4096", PROVIDERS),
    "a reserve": (f"UPDATE inventories SET reserved = 0 WHERE provider_id = '{ROOT}'", PROVIDERS),
    "a ratio": (
        f"UPDATE inventories SET allocation_ratio = 1.5000000000000002 WHERE provider_id = '{ROOT}'",
        PROVIDERS,
    ),
    "an inventory more": (
        f"INSERT INTO inventories VALUES ('{ROOT}', 'DISK_GB', 1, 0, 1, 1, 1, 1)",
        PROVIDERS,
    ),
    "an inventory gone with all that was allocated of it": (
        f"DELETE FROM inventories WHERE provider_id = '{CHILD}'; DELETE FROM allocations WHERE provider_id = '{CHILD}'",
        PROVIDERS,
    ),
    "a live provider deleted with all that it has": (
        on("providers", CHILD, "deleted = true, parent_id = NULL")
        + f"; DELETE FROM inventories WHERE provider_id = '{CHILD}'"
        + f"; DELETE FROM allocations WHERE provider_id = '{CHILD}'; DELETE FROM names WHERE record_id = '{CHILD}'",
        PROVIDERS,
    ),
    # Consumers.
    "an allocation lowered with its sum": (
        (
            f"UPDATE allocations SET amount = 511 WHERE consumer_id = '{FIRST}' AND resource_class = 'MEMORY_MB';"
            f"UPDATE inventories SET used = used - 1 WHERE provider_id = '{ROOT}' AND resource_class = 'MEMORY_MB'"
        ),
        CONSUMERS,
    ),
    "the allocations of two consumers exchanged": (
        f"UPDATE allocations SET amount = 6 - amount WHERE provider_id = '{ROOT}' AND resource_class = 'VCPU'",
        CONSUMERS,
    ),
    "an allocation moved to another provider with its sums": (
        (
            f"UPDATE allocations SET provider_id = '{CHILD}' WHERE consumer_id = '{SECOND}';"
            f"UPDATE inventories SET used = used - 2 WHERE provider_id = '{ROOT}' AND resource_class = 'VCPU';"
            f"UPDATE inventories SET used = used + 2 WHERE provider_id = '{CHILD}'"
        ),
        CONSUMERS,
    ),
    "a consumer removed with its allocations and sums": (
        on("consumers", SECOND, "deleted = true") + f"; DELETE FROM allocations WHERE consumer_id = '{SECOND}';"
        f"UPDATE inventories SET used = used - 2 WHERE provider_id = '{ROOT}' AND resource_class = 'VCPU'",
        CONSUMERS,
    ),
    "a project": (on("consumers", FIRST, "project_id = 'other'"), CONSUMERS),
    "a consumer's type": (on("consumers", FIRST, "consumer_type = 'INSTANCE'"), CONSUMERS),
    "a consumer's maker": (on("consumers", FIRST, "maker_time = '2026-01-01T00:00:00.000000Z'"), CONSUMERS),
    # Stacks.
    "a template": (on("stacks", STACK, "template = '{}'"), STACKS),
    "a previous template": (on("stacks", STACK, "previous_template = NULL"), STACKS),
    "a status": (on("stacks", STACK, "status = 'COMPLETE'"), STACKS),
    "an action": (on("stacks", STACK, "action = 'ROLLBACK'"), STACKS),
    "the status of a cancelled run": (on("stacks", CANCELLED, "status = 'IN_PROGRESS'"), STACKS),
    "the action of a cancelled run": (on("stacks", CANCELLED, "action = 'UPDATE'"), STACKS),
    "a reason": (on("stacks", CANCELLED, "status_reason = 'No host has room.'"), STACKS),
    "a timeout": (on("stacks", STACK, "timeout_s = NULL"), STACKS),
    "a rollback": (on("stacks", STACK, "disable_rollback = NOT disable_rollback"), STACKS),
    "a stack's maker": (on("stacks", STACK, "maker_type = 'stack.create'"), STACKS),
    "a stack's name, and who holds it": (
        on("stacks", STACK, "name = 'other'") + "; UPDATE names SET name = 'other' WHERE name = 'verified'",
        STACKS,
    ),
    # The history.
    "the type of an older change": ("UPDATE changes SET command_type = 'document.merge' WHERE sequence = 1", KEPT),
    "the source of an older change": ("UPDATE changes SET command_source = '/elsewhere' WHERE sequence = 1", KEPT),
    "the time of an older change": (
        "UPDATE changes SET decided_at = '2026-01-01T00:00:00.000000Z' WHERE sequence = 1",
        KEPT,
    ),
    "a time that is none": ("UPDATE changes SET decided_at = 'yesterday' WHERE sequence = 1", KEPT),
    "the commands of two changes exchanged": (
        (
            "UPDATE changes SET command_id = other.command_id FROM changes AS other WHERE changes.sequence < 3 "
            "AND other.sequence = 3 - changes.sequence AND changes.record_id = other.record_id "
            f"AND other.record_id = '{DOCUMENT}'"
        ),
        KEPT,
    ),
    # The ledger.
    "the row of an accepted command gone": (f"DELETE FROM ledger WHERE id = {COMMAND}", RECORDED),
    "the row of a conflict gone": ("DELETE FROM ledger WHERE verdict = 'conflict'", COUNTED),
    "the row of a rejection gone": ("DELETE FROM ledger WHERE verdict = 'rejected'", COUNTED),
    "a row more": (
        (
            "INSERT INTO ledger (id, content_hash, verdict, event, batch_id) "
            "SELECT gen_random_uuid(), content_hash, verdict, "
            "event, batch_id FROM ledger WHERE verdict = 'conflict'"
        ),
        COUNTED,
    ),
    "an event of another type": (told("document.put.succeeded", "document.merge.succeeded"), TOLD),
    "an event of another token": (told('"generation":1}}', '"generation":2}}'), TOLD),
    "an event of another sequence": (told('"sequence":2', '"sequence":3'), TOLD),
    "an event of another record": (told(f'"id":"{DOCUMENT}"', f'"id":"{GONE}"'), TOLD),
    "an event with another body": (told("team-b", "team-x"), ROWS),
    "an event that tells no token of another record": (
        (
            f"UPDATE ledger SET event = replace(event, '{ROOT}', gen_random_uuid()::text) "
            "WHERE event LIKE '%consumer.set_allocations%'"
        ),
        TOLD,
    ),
    "two events exchanged": (
        (
            "UPDATE ledger SET event = other.event FROM ledger AS other WHERE ledger.id <> other.id "
            f"AND ledger.id IN ({COMMAND}, {LAST}) AND other.id IN ({COMMAND}, {LAST})"
        ),
        TOLD,
    ),
    "an event cut off": (f"UPDATE ledger SET event = left(event, 40) WHERE id = {COMMAND}", ROWS),
    "a content hash": (
        f"UPDATE ledger SET content_hash = sha256('other') WHERE id = {COMMAND}",
        ROWS,
    ),
    "a verdict with its event": (
        (
            "UPDATE ledger SET verdict = 'rejected', event = replace(event, '.conflict', '.rejected') "
            "WHERE verdict = 'conflict'"
        ),
        ROWS,
    ),
    "a row moved to another batch": (f"UPDATE ledger SET batch_id = 2 WHERE id = {COMMAND}", COUNTED),
    "the hash of a row taken away": (f"UPDATE ledger SET row_hash = NULL WHERE id = {COMMAND}", ROWS),
    # Batches and suspects.
    "a batch removed": ("DELETE FROM batches WHERE id = 2", ROWS),
    "the count of a batch": ("UPDATE batches SET commands = commands + 1 WHERE id = 2", COUNTED),
    "a suspect left over": (
        f"INSERT INTO suspects SELECT {LAST}, 1; UPDATE batches SET confirmed_at = now() - interval '61 minutes'",
        SUSPECTS,
    ),
}
"""What is changed by hand, and the claim that it breaks."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def worked_url(servers: Servers, database_template: str, service_role: Role) -> AsyncIterator[str]:
    """The URL of a database with a history, which stays as it is."""
    async with servers_module.database(servers.database_url, template=database_template) as url:
        async with deciding_pool(service_role.at(url), 1) as pool:
            await work(pool)
        yield url


@pytest.fixture
async def worked(worked_url: str) -> AsyncIterator[Connection]:
    """A connection to it in a transaction that is rolled back."""
    connection = await asyncpg.connect(worked_url)
    transaction = connection.transaction()
    await transaction.start()
    yield connection
    await transaction.rollback()
    await connection.close()


async def test_nothing_is_broken_before_the_damage(worked: Connection) -> None:
    assert await broken(worked) == []


@pytest.mark.parametrize(("damage", "claim"), DAMAGES.values(), ids=DAMAGES)
async def test_damage_is_found(worked: Connection, damage: str, claim: str) -> None:
    await worked.execute(damage)
    [found] = await broken(worked, claim)
    assert found.startswith(claim)
