"""A database in which every kind of record has a history, and the claims of `genlock verify` that a damage breaks."""

from genlock.service.database.statements import check
from genlock.service.database.transactions import Pool
from genlock.service.database.verify import checks_of, run_check
from genlock.service.kinds.registry import KINDS
from tests.support.consumer_factories import set_allocations
from tests.support.database import Connection
from tests.support.deciders import decider_on
from tests.support.factories import delete_document, envelope, merge, put, received, stack_command
from tests.support.provider_factories import create_provider, provider_command

DOCUMENT, GONE = "server-1", "server-2"
"""Documents; the second one is deleted."""

STACK, CANCELLED, ROOT, CHILD, FIRST, SECOND = (
    f"{number}0000000-0000-4000-8000-000000000000" for number in range(1, 7)
)
"""Stacks, providers, and consumers."""

INVENTORIES = {"VCPU": {"total": 64, "allocation_ratio": 1.5}, "MEMORY_MB": {"total": 4096, "reserved": 512}}


async def work(pool: Pool) -> None:
    """Decide commands of every kind in two batches, and have these confirmed.

    The first batch has accepted and refused commands, the second one makes a document, and nothing else.
    """
    decider = decider_on(pool)
    create = stack_command("create", STACK, name="verified", template={"n": 1})
    update = stack_command("update", STACK, expected_traversal=create.id, template={"n": 2}, timeout_s=60)
    other = stack_command("create", CANCELLED, name="cancelled")
    for batch in (
        [
            put(DOCUMENT, None, {"owner": "team-a"}),
            put(DOCUMENT, 0, {"owner": "team-b"}),
            put(DOCUMENT, 0, {"owner": "team-c"}),
            merge(DOCUMENT, {"n": 1}),
            put(GONE, None, {"owner": "team-a"}),
            delete_document(GONE, 0),
            create,
            update,
            other,
            stack_command("cancel", CANCELLED, expected_traversal=other.id),
            create_provider(ROOT, "root"),
            create_provider(CHILD, "child", parent_id=ROOT),
            provider_command("set_inventories", ROOT, expected_generation=0, inventories=INVENTORIES),
            provider_command("set_traits", ROOT, expected_generation=1, traits=["HW_CPU_X86_AVX2", "HW_CPU_X86_VMX"]),
            provider_command("put_inventory", CHILD, expected_generation=0),
            set_allocations(FIRST, None, {ROOT: {"VCPU": 4, "MEMORY_MB": 512}, CHILD: {"VCPU": 2}}),
            set_allocations(SECOND, None, {ROOT: {"VCPU": 2}}),
            received(envelope("no.such", None, {})),
        ],
        [put("server-3", None, {"owner": "team-b"})],
    ):
        answers = await decider.decide(batch)
        await decider.confirm(answers.batch_ids)


async def broken(connection: Connection, prefix: str = "") -> list[str]:
    """The claims that do not hold in the connection's transaction, of those with the prefix."""
    texts = [check(name) for names in checks_of(KINDS) for name in names]
    checked = [await run_check(connection, text) for text in texts if text.startswith(f"-- {prefix}")]
    return [each.claim for each in checked if each.violations]
