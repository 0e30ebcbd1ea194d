"""Whose fault it is that a command cannot be decided: everything's, a record's, or its own."""

# ruff: noqa: S608 - no statement has any input

from collections.abc import AsyncIterator, Sequence

import pytest

from genlock.schemas.codes import Code
from genlock.schemas.decode import Command
from genlock.schemas.outcomes import Rejected, Succeeded
from genlock.servers import Role
from genlock.service.database.transactions import DatabaseTroubleError
from genlock.service.deciding.batch_outcomes import BatchOutcomes
from genlock.service.deciding.decide import Decider
from tests.support.consumer_factories import set_allocations
from tests.support.database import Connection
from tests.support.deciders import decider_on, deciding_pool
from tests.support.factories import command, merge, new_id, put, stack_command
from tests.support.harness import outcomes

BAD = "bad"

LOCK_PATIENCE_S = 0.5
NEIGHBOURS = 10


@pytest.fixture
async def decider(database_url: str) -> AsyncIterator[Decider]:
    """A decider that soon asks which locks it waits for."""
    async with deciding_pool(database_url, 3, lock_patience_s=LOCK_PATIENCE_S) as pool:
        yield decider_on(pool)


def check_only_held(answers: BatchOutcomes, *held: Command) -> None:
    """See that these commands are held, and all others succeeded."""
    assert set(answers.held) == {one.id for one in held}
    assert answers.faulty == frozenset()
    assert all(isinstance(verdict, Succeeded) for verdict in outcomes(answers))


def check_only_faulty(answers: BatchOutcomes, faulty: Command) -> None:
    """See that this command ended as internal_error, which is recorded, and all others succeeded."""
    assert not answers.held
    assert answers.faulty == {faulty.id}
    for verdict in outcomes(answers):
        if verdict.command_id == faulty.id:
            assert isinstance(verdict, Rejected)
            assert verdict.code is Code.INTERNAL_ERROR
        else:
            assert isinstance(verdict, Succeeded)


def among_neighbours(suspect: Command) -> list[Command]:
    neighbours = [put(new_id(), None) for _ in range(NEIGHBOURS)]
    return [*neighbours[:4], suspect, *neighbours[4:]]


TRIGGER = """
CREATE FUNCTION get_in_the_way() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$;
CREATE {kind} ON {table} {deferred} FOR EACH ROW WHEN ({condition}) EXECUTE FUNCTION get_in_the_way();
"""

RAISES = "RAISE EXCEPTION 'in the way' USING ERRCODE = 'XX001';"
BEFORE = "TRIGGER in_the_way BEFORE INSERT OR UPDATE"

OBSTACLES = {
    "raises": {"body": RAISES, "kind": BEFORE, "deferred": ""},
    "raises as if of the data": {"body": RAISES.replace("XX001", "22012"), "kind": BEFORE, "deferred": ""},
    "swallows": {"body": "RETURN NULL;", "kind": BEFORE, "deferred": ""},
    "raises at the commit": {
        "body": RAISES,
        "kind": "CONSTRAINT TRIGGER in_the_way AFTER INSERT OR UPDATE",
        "deferred": "DEFERRABLE INITIALLY DEFERRED",
    },
}


async def obstruct(second: Connection, obstacle: str, condition: str, table: str = "documents") -> None:
    await second.execute(TRIGGER.format(condition=condition, table=table, **OBSTACLES[obstacle]))


@pytest.mark.parametrize("exists", [False, True], ids=["new", "there"])
@pytest.mark.parametrize("obstacle", OBSTACLES)
async def test_trigger_in_the_way_of_one_record_holds_its_commands_alone(
    decider: Decider, second: Connection, obstacle: str, *, exists: bool
) -> None:
    if exists:
        await decider.decide([put(BAD, None)])
    await obstruct(second, obstacle, f"NEW.id = '{BAD}'")
    suspect, later = put(BAD, 0 if exists else None), merge(BAD, {"x": 1})
    answers = await decider.decide([*among_neighbours(suspect), later])
    check_only_held(answers, suspect, later)
    assert f"document/{BAD}" in answers.held[suspect.id].records
    await second.execute("DROP TRIGGER in_the_way ON documents")
    check_only_held(await decider.decide([suspect, later]))


@pytest.mark.parametrize("exists", [False, True], ids=["new", "there"])
@pytest.mark.parametrize("obstacle", OBSTACLES)
async def test_trigger_in_the_way_of_what_one_command_writes_ends_that_command_alone(
    decider: Decider, second: Connection, obstacle: str, *, exists: bool
) -> None:
    document = new_id()
    if exists:
        await decider.decide([put(document, None)])
    await obstruct(second, obstacle, "NEW.body ->> 'bad' = 'yes'")
    suspect = put(document, 0 if exists else None, {"bad": "yes"})
    answers = await decider.decide(among_neighbours(suspect))
    check_only_faulty(answers, suspect)
    assert await second.fetchval("SELECT verdict FROM ledger WHERE id = $1", suspect.id) == "rejected"
    # The verdict is for ever, whatever becomes of the trigger.
    await second.execute("DROP TRIGGER in_the_way ON documents")
    assert (await decider.decide([suspect])).events == [
        event for event in answers.events if event.command_id == suspect.id
    ]


@pytest.mark.parametrize("table", ["documents", "ledger", "changes", "batches"])
@pytest.mark.parametrize("obstacle", OBSTACLES)
async def test_trigger_in_the_way_of_everything_is_an_outage_and_tells_nothing(
    decider: Decider, second: Connection, obstacle: str, table: str
) -> None:
    await obstruct(second, obstacle, "true", table)
    commands = among_neighbours(put(new_id(), None))
    with pytest.raises(DatabaseTroubleError):
        await decider.decide(commands)
    assert await second.fetchval("SELECT count(*) FROM ledger") == 0
    await second.execute(f"DROP TRIGGER in_the_way ON {table}")
    check_only_held(await decider.decide(commands))


OUTAGES = {
    "a sequence that fell back": (
        "ALTER SEQUENCE batches_id_seq RESTART WITH 1",
        "SELECT setval('batches_id_seq', 99)",
    ),
    "a column that is missing": (
        "ALTER TABLE documents RENAME COLUMN maker_type TO gone",
        "ALTER TABLE documents RENAME COLUMN gone TO maker_type",
    ),
    "a constraint that nothing meets": (
        "ALTER TABLE ledger ADD CONSTRAINT no CHECK (false) NOT VALID",
        "ALTER TABLE ledger DROP CONSTRAINT no",
    ),
}


@pytest.mark.parametrize("outage", OUTAGES)
async def test_fault_of_the_database_is_booked_against_no_command(
    decider: Decider, second: Connection, outage: str
) -> None:
    document = new_id()
    await decider.decide([put(document, None)])
    for _ in range(20):
        await decider.decide([put(new_id(), None)])
    broken, mended = OUTAGES[outage]
    await second.execute(broken)
    suspect = merge(document, {"x": 1})
    with pytest.raises(DatabaseTroubleError):
        await decider.decide([suspect])
    await second.execute(mended)
    check_only_held(await decider.decide([suspect]))


PARTS = {
    "inventories": "INSERT, UPDATE, DELETE ON inventories",
    "the use of inventories": "UPDATE ON inventories",
    "allocations": "INSERT, UPDATE, DELETE ON allocations",
    "names": "DELETE ON names",
}


async def provided(decider: Decider, *providers: str) -> None:
    """Make providers, each with inventories."""
    for provider in providers:
        await decider.decide(
            [
                command("provider.create", provider, {"name": provider}),
                set_inventories(provider, 0),
            ]
        )


def set_inventories(provider: str, expected: int, total: int = 100) -> Command:
    inventories = {"VCPU": {"total": total}}
    return command("provider.set_inventories", provider, {"expected_generation": expected, "inventories": inventories})


@pytest.mark.parametrize("part", PARTS)
async def test_right_that_is_gone_to_what_belongs_to_records_is_booked_against_no_command(
    decider: Decider, second: Connection, service_role: Role, part: str
) -> None:
    provider, consumer = new_id(), new_id()
    await provided(decider, provider)
    check_only_held(await decider.decide([set_allocations(consumer, None, {provider: {"VCPU": 1}})]))
    commands = {
        "inventories": set_inventories(provider, 2, 200),
        "the use of inventories": set_allocations(new_id(), None, {provider: {"VCPU": 1}}),
        "allocations": set_allocations(consumer, 1, {provider: {"VCPU": 2}}),
        "names": command("provider.update", provider, {"expected_generation": 2, "name": new_id()}),
    }
    await second.execute(f"REVOKE {PARTS[part]} FROM {service_role.name}")
    with pytest.raises(DatabaseTroubleError):
        await decider.decide([commands[part]])
    await second.execute(f"GRANT {PARTS[part]} TO {service_role.name}")
    check_only_held(await decider.decide([commands[part]]))


async def test_trigger_in_the_way_of_the_inventories_of_one_provider_holds_its_commands_alone(
    decider: Decider, second: Connection
) -> None:
    bad, good = new_id(), new_id()
    await provided(decider, bad, good)
    await obstruct(second, "raises", f"NEW.provider_id = '{bad}'", "inventories")
    suspect = set_inventories(bad, 1, 200)
    check_only_held(await decider.decide([suspect, set_inventories(good, 1, 200)]), suspect)


DAMAGE = """
SELECT heap_force_kill(reltoastrelid, ARRAY(SELECT ctid FROM {}))
FROM pg_class WHERE relname = 'documents'
"""


async def test_damage_of_what_one_row_has_elsewhere_holds_its_commands_alone(
    decider: Decider, second: Connection
) -> None:
    large = {str(number): new_id() for number in range(2_000)}
    await decider.decide([put(BAD, None, large), put("good", None)])
    toast = await second.fetchval("SELECT reltoastrelid::regclass::text FROM pg_class WHERE relname = 'documents'")
    await second.execute("CREATE EXTENSION pg_surgery")
    await second.execute(DAMAGE.format(toast))
    suspect = merge(BAD, {"x": 1})
    check_only_held(await decider.decide([*among_neighbours(suspect), merge("good", {"x": 1})]), suspect)


# Locks.


async def check_held_while_locked(
    decider: Decider, second: Connection, lock: str, commands: Sequence[Command], *held: Command
) -> None:
    """See that only some commands are held while a session has a lock, and that they succeed once it is gone."""
    locking = second.transaction()
    await locking.start()
    await second.execute(lock)
    check_only_held(await decider.decide(commands), *held)
    await locking.rollback()
    check_only_held(await decider.decide(commands))


@pytest.mark.parametrize(
    "lock",
    [
        f"SELECT FROM documents WHERE id = '{BAD}' FOR UPDATE",
        f"UPDATE documents SET sequence = sequence + 1 WHERE id = '{BAD}'",
        f"SELECT FROM documents WHERE id = '{BAD}' FOR SHARE",
    ],
)
async def test_locked_record_holds_its_commands_alone(decider: Decider, second: Connection, lock: str) -> None:
    await decider.decide([put(BAD, None)])
    suspect = merge(BAD, {"x": 1})
    await check_held_while_locked(decider, second, lock, among_neighbours(suspect), suspect)


async def test_record_that_another_session_is_making_holds_its_commands_alone(
    decider: Decider, second: Connection
) -> None:
    suspect = put(BAD, None)
    lock = (
        "INSERT INTO documents (id, generation, sequence, maker_id, maker_type, maker_source, maker_time) "
        f"VALUES ('{BAD}', 0, 1, '{new_id()}', '', '', '')"
    )
    await check_held_while_locked(decider, second, lock, among_neighbours(suspect), suspect)


async def test_locked_row_of_the_ledger_holds_its_command_alone(decider: Decider, second: Connection) -> None:
    suspect = put(new_id(), None)
    lock = (
        "INSERT INTO ledger (id, content_hash, verdict, event, batch_id) "
        f"VALUES ('{suspect.id}', '', 'rejected', '', 0)"
    )
    await check_held_while_locked(decider, second, lock, among_neighbours(suspect), suspect)


async def test_locked_row_of_the_history_holds_the_commands_of_its_record_alone(
    decider: Decider, second: Connection
) -> None:
    suspect = put(BAD, None)
    lock = (
        "INSERT INTO changes (kind, record_id, sequence, token, command_id, command_type, command_source, decided_at) "
        f"VALUES ('document', '{BAD}', 1, '0', '{new_id()}', '', '', '')"
    )
    await check_held_while_locked(decider, second, lock, among_neighbours(suspect), suspect)


async def test_name_that_another_session_is_taking_holds_the_commands_that_want_it(
    decider: Decider, second: Connection
) -> None:
    suspect, other = stack_command("create", new_id()), stack_command("create", new_id())
    lock = f"INSERT INTO names (kind, name, record_id) VALUES ('stack', '{suspect.subject}', 'x')"
    await check_held_while_locked(decider, second, lock, [*among_neighbours(suspect), other], suspect)


async def test_locked_provider_holds_the_consumers_that_use_it_and_no_others(
    decider: Decider, second: Connection
) -> None:
    locked, free = new_id(), new_id()
    await provided(decider, locked, free)
    users = [set_allocations(new_id(), None, {provider: {"VCPU": 1}}) for provider in (locked, free) * 4]
    held = [user for number, user in enumerate(users) if number % 2 == 0]
    lock = f"SELECT FROM providers WHERE id = '{locked}' FOR UPDATE"
    await check_held_while_locked(decider, second, lock, users, *held)


# Time.

HURRIED_S = 1.0

DAWDLES = "PERFORM pg_sleep(60); RETURN NEW;"


@pytest.fixture
async def hurried(database_url: str) -> AsyncIterator[Decider]:
    """A decider whose statements may take a second."""
    async with deciding_pool(database_url, 3, HURRIED_S) as pool:
        yield decider_on(pool, timeout_s=HURRIED_S)


@pytest.mark.parametrize("condition", [f"NEW.id = '{BAD}'", "NEW.body ->> 'bad' = 'yes'"], ids=["record", "command"])
async def test_command_that_takes_too_long_is_held_so_that_its_neighbours_need_not_wait(
    hurried: Decider, second: Connection, condition: str
) -> None:
    await second.execute(TRIGGER.format(body=DAWDLES, kind=BEFORE, table="documents", deferred="", condition=condition))
    suspect = put(BAD, None, {"bad": "yes"})
    check_only_held(await hurried.decide(among_neighbours(suspect)), suspect)


async def test_record_that_always_takes_too_long_stays_held(hurried: Decider, second: Connection) -> None:
    await second.execute(
        TRIGGER.format(body=DAWDLES, kind=BEFORE, table="documents", deferred="", condition=f"NEW.id = '{BAD}'")
    )
    suspect = put(BAD, None)
    check_only_held(await hurried.decide([suspect], patient=True), suspect)


async def test_command_that_always_takes_too_long_ends_as_internal_error(hurried: Decider, second: Connection) -> None:
    condition = "NEW.body ->> 'bad' = 'yes'"
    await second.execute(TRIGGER.format(body=DAWDLES, kind=BEFORE, table="documents", deferred="", condition=condition))
    suspect = put(BAD, None, {"bad": "yes"})
    check_only_faulty(await hurried.decide([suspect], patient=True), suspect)


# A backend that ends.

ENDS = "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NEW;"


@pytest.mark.parametrize("exists", [False, True], ids=["new", "there"])
async def test_command_that_ends_its_backend_at_each_try_ends_as_internal_error(
    decider: Decider, second: Connection, *, exists: bool
) -> None:
    document = new_id()
    if exists:
        await decider.decide([put(document, None)])
    condition = "NEW.body ->> 'bad' = 'yes'"
    await second.execute(TRIGGER.format(body=ENDS, kind=BEFORE, table="documents", deferred="", condition=condition))
    suspect = put(document, 0 if exists else None, {"bad": "yes"})
    check_only_faulty(await decider.decide(among_neighbours(suspect)), suspect)


async def test_record_that_ends_each_backend_stays_held(decider: Decider, second: Connection) -> None:
    condition = f"NEW.id = '{BAD}'"
    await second.execute(TRIGGER.format(body=ENDS, kind=BEFORE, table="documents", deferred="", condition=condition))
    suspect = put(BAD, None)
    check_only_held(await decider.decide(among_neighbours(suspect)), suspect)
