"""What keeps the trouble of one record with that record, and what becomes of others, or of its commands, without."""

from genlock.schemas.codes import Code
from genlock.schemas.outcomes import Conflict, Rejected, Succeeded
from genlock.service.database.transactions import Pool
from genlock.service.deciding.batch_outcomes import BatchOutcomes
from genlock.service.deciding.blame import hold
from genlock.service.deciding.decide import Decider
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.held import HeldMessage, HeldTable
from genlock.service.settings import Settings
from tests.guards.removal import without
from tests.support.database import Connection
from tests.support.documents import creation
from tests.support.factories import Json, new_id, put
from tests.support.failing_writes import fail, mend
from tests.support.harness import Client, outcomes, serving

# A record that no command can be written to.


async def beside_a_record_in_trouble(decider: Decider, second: Connection) -> BatchOutcomes:
    await fail(second, "bad", "22012")
    return await decider.decide([put(new_id(), None), put("bad", None), put(new_id(), None)])


async def test_trouble_of_a_record_is_booked_against_no_command(decider: Decider, second: Connection) -> None:
    answers = await beside_a_record_in_trouble(decider, second)
    assert [type(verdict) for verdict in outcomes(answers)] == [Succeeded, Succeeded]
    assert len(answers.held) == 1


async def test_without_experiments_a_good_command_is_told_internal_error_for_ever(
    decider: Decider, second: Connection
) -> None:
    with without("experiments"):
        answers = await beside_a_record_in_trouble(decider, second)
    await mend(second)
    [_, verdict, _] = outcomes(answers)
    assert isinstance(verdict, Rejected)
    assert verdict.code is Code.INTERNAL_ERROR


# A command that cannot be decided, and whose delivery is acknowledged.


async def passing_trouble(settings: Settings, client: Client, second: Connection) -> Json:
    """A command on a record that is in trouble for a while, and a neighbour that is answered meanwhile."""
    await fail(second, "bad", "XX001")
    command = creation("bad")
    async with serving(settings):
        await client.send(command)
        await client.ask(creation())
        await client.until_empty(client.topology.inbox)
    await mend(second)
    return command


async def test_command_that_is_held_is_decided_by_the_next_replica(
    settings: Settings, client: Client, second: Connection
) -> None:
    command = await passing_trouble(settings, client, second)
    async with serving(settings):
        [event] = await client.decided(command)
    assert event["type"] == "document.put.succeeded"


async def test_without_keeping_held_commands_one_is_lost(
    settings: Settings, client: Client, second: Connection
) -> None:
    with without("keeping held commands"):
        command = await passing_trouble(settings, client, second)
    async with serving(settings):
        await client.ask(creation("bad"))
    assert command["id"] not in client.bodies
    assert await second.fetchval("SELECT count(*) FROM ledger WHERE id = $1", command["id"]) == 0


# A command behind one that is held.


async def update_behind_a_held_one(decider: Decider, pool: Pool) -> BatchOutcomes:
    """Two updates of a document, of which the first is held; the outcome of the second."""
    document = new_id()
    await decider.decide([put(document, None)])
    first, then = put(document, 0), put(document, 1)
    held = hold(KINDS, first, (), "the test")
    await HeldTable(pool, 5, 5).add([HeldMessage(first.id, b"", "", b"", b"", b"", False, held.records, held.why)])
    return await decider.decide([then])


async def test_command_behind_a_held_one_is_held_too(decider: Decider, pool: Pool) -> None:
    answers = await update_behind_a_held_one(decider, pool)
    assert (answers.events, len(answers.held)) == ([], 1)


async def test_without_the_place_behind_held_ones_a_later_command_is_decided_first(
    decider: Decider, pool: Pool
) -> None:
    with without("the place behind held ones"):
        answers = await update_behind_a_held_one(decider, pool)
    [verdict] = outcomes(answers)
    assert isinstance(verdict, Conflict)
    assert verdict.reason == "ahead"
