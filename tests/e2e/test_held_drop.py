"""`genlock held drop`: a command that can never be decided is given up, and no other is harmed."""

import pytest

from genlock.cli.failure import NO_ANSWER, USAGE
from genlock.consumers.amqp.session import open_session
from genlock.consumers.operations.held_drop import NotDroppedError, drop_held
from genlock.service.database.transactions import Pool
from genlock.service.ledger.held import listed
from genlock.service.settings import Settings
from tests.support.command_line import genlock, on_terminal
from tests.support.database import Connection
from tests.support.documents import creation, merge
from tests.support.factories import new_id
from tests.support.failing_writes import fail, mend
from tests.support.harness import Client, serving
from tests.support.held import until_held

BAD = "bad"


async def test_dropped_command_is_a_dead_letter_and_those_behind_it_follow(
    client: Client, settings: Settings, second: Connection
) -> None:
    await fail(second, BAD, "XX001")
    first, later = creation(BAD), creation(BAD, {"later": 1})
    async with serving(settings):
        await client.send(first)
        await until_held(second, 1)
        await client.send(later)
        await until_held(second, 2)
        ran = await genlock(settings, "held", "drop", first["id"], "--yes")
        assert (ran.code, [row["command_id"] for row in ran.rows]) == (0, [first["id"]])
        await until_held(second, 1)
        await mend(second)
        [event] = await client.decided(later)
        assert event["type"] == "document.put.succeeded"
        await until_held(second, 0)
        assert await second.fetchval("SELECT count(*) FROM held") == 0
        assert first["id"] not in client.bodies
        # It was never decided, and so it is decided as it was.
        reason = "dropped while it was held: *made to fail"
        assert (await genlock(settings, "dead", "retry", "--reason", reason)).code == 0
        [event] = await client.decided(first)
    assert event["type"] == "document.put.conflict"


async def test_all_commands_of_a_record_are_discarded_on_demand(
    client: Client, settings: Settings, second: Connection
) -> None:
    await fail(second, BAD, "XX001")
    await fail_other(second)
    commands = [creation(BAD), *(merge(BAD, {"n": number}) for number in range(20))]
    other = creation("other")
    async with serving(settings):
        await client.send(*commands, other)
        await until_held(second, len(commands) + 1)
        code, text = await on_terminal(
            settings, "held", "drop", "--discard", "--record", f"document/{BAD}", question="[y/N]", answer="n\n"
        )
        assert code == NO_ANSWER
        assert "Drop 21 held commands for good?" in text
        await until_held(second, len(commands) + 1)
        ran = await genlock(settings, "held", "drop", "--discard", "--record", f"document/{BAD}", "--yes")
        assert [row["command_id"] for row in ran.rows] == [command["id"] for command in commands]
        await until_held(second, 1)
    assert await client.depth(client.topology.dead_letters) == 0


async def fail_other(second: Connection) -> None:
    """Make the writes of another document fail too, by the function that is there."""
    await second.execute(
        "CREATE TRIGGER fail_other BEFORE INSERT OR UPDATE ON documents FOR EACH ROW "
        "WHEN (NEW.id = 'other') EXECUTE FUNCTION fail('XX001', '1000000')"
    )


async def test_command_that_no_queue_takes_as_a_dead_letter_stays_held(
    client: Client, settings: Settings, second: Connection, pool: Pool
) -> None:
    await fail(second, BAD, "XX001")
    command = creation(BAD)
    async with serving(settings):
        await client.send(command)
        await until_held(second, 1)
    async with open_session(settings) as session:
        await client.channel.queue_delete(client.topology.dead_letters)
        chosen = await listed(pool, settings.decide_timeout_s)
        with pytest.raises(NotDroppedError, match="no queue takes 1 of the messages"):
            await drop_held(session, pool, settings, chosen, discard=False)
    await until_held(second, 1)


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--yes",), USAGE, "Say which held commands"),
        ((new_id(), "--yes"), NO_ANSWER, "There is no held command"),
    ],
)
async def test_drop_that_says_too_little_drops_nothing(
    settings: Settings, arguments: tuple[str, ...], code: int, told: str
) -> None:
    ran = await genlock(settings, "held", "drop", *arguments)
    assert ran.code == code
    assert told in ran.err
