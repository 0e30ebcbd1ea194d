"""What keeps one bad message, or an outage, from harming other commands, and what becomes of them without."""

from collections.abc import Sequence

import asyncpg
import pytest
from pydantic import SecretStr

from genlock.consumers.amqp.declare import DELIVERY_LIMIT
from genlock.schemas.outcomes import Outcome, Rejected, Succeeded
from genlock.service.deciding.decide import Decider
from genlock.service.deciding.failpoints import Step
from genlock.service.settings import Settings
from tests.guards.removal import without
from tests.support.database import Connection
from tests.support.dead_letters import come_back
from tests.support.documents import creation
from tests.support.factories import Json, envelope, json_bytes, new_id, put
from tests.support.harness import Client, outcomes, serving, until
from tests.support.proxy import Cut, proxied

# A command that breaks the transaction.

POISON = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'made to fail' USING ERRCODE = '22012';
END $$;
CREATE TRIGGER fail BEFORE INSERT ON documents FOR EACH ROW
WHEN (NEW.body ->> 'poison' = 'yes') EXECUTE FUNCTION fail();
"""


async def poison_between_neighbours(decider: Decider, second: Connection) -> Sequence[Outcome]:
    await second.execute(POISON)
    bodies: list[Json] = [{}, {}, {"poison": "yes"}, {}, {}]
    return outcomes(await decider.decide([put(new_id(), None, body) for body in bodies]))


async def test_command_that_breaks_the_transaction_is_found_and_its_neighbours_succeed(
    decider: Decider, second: Connection
) -> None:
    before, poison, after = (
        (verdicts := await poison_between_neighbours(decider, second))[:2],
        verdicts[2],
        verdicts[3:],
    )
    assert all(isinstance(verdict, Succeeded) for verdict in (*before, *after))
    assert isinstance(poison, Rejected)


async def test_without_halving_one_command_ends_the_process_and_no_neighbour_is_decided(
    decider: Decider, second: Connection
) -> None:
    with without("halving"), pytest.raises(asyncpg.DivisionByZeroError):
        await poison_between_neighbours(decider, second)
    assert await second.fetchval("SELECT count(*) FROM ledger") == 0


# A message that is no UTF-8.


async def unreadable(settings: Settings, client: Client) -> Json:
    """A command in Latin-1, and one after it that is answered."""
    command = envelope("document.put", new_id(), {"expected_generation": None, "body": {"owner": "Zoë"}})
    body = json_bytes(command).decode().encode("latin-1")
    after = envelope("document.put", new_id(), {"expected_generation": None, "body": {}})
    async with serving(settings):
        await client.publish(body, "document.put", message_id=command["id"])
        await client.ask(after)
    return command


async def test_message_that_is_no_utf_8_is_a_dead_letter_as_it_came(settings: Settings, client: Client) -> None:
    command = await unreadable(settings, client)
    [dead_letter] = await client.drain(client.topology.dead_letters)
    assert dead_letter.body == json_bytes(command).decode().encode("latin-1")
    assert "UTF-8" in str(dead_letter.headers["x-genlock-reason"])
    assert command["id"] not in client.bodies


async def test_without_strict_utf_8_a_text_is_stored_that_no_client_sent(
    settings: Settings, client: Client, second: Connection
) -> None:
    with without("strict UTF-8"):
        command = await unreadable(settings, client)
    body = await second.fetchval("SELECT body FROM documents WHERE id = $1", command["subject"])
    assert "Zo\ufffd" in body


# A database that is away for longer than the broker lets a message come back.

TRIES = 8
RETURNS_LEFT = 3


async def outage(settings: Settings, client: Client, command: Json) -> None:
    """The database is away while the command is tried, and then it is back. The command may come back three times."""
    await client.send(command)
    await come_back(settings.amqp_url.get_secret_value(), client.topology.inbox, DELIVERY_LIMIT - RETURNS_LEFT)
    async with proxied(settings.database_url.get_secret_value()) as database:

        def go_away(step: Step) -> None:
            if step is Step.COLLECTED and not database.cuts:
                database.next_cut = Cut(b"BEGIN", always=True)

        changes: Json = {"database_url": SecretStr(database.url), "retry_delay_max_s": 0.1, "sweep_after_s": 3600.0}
        async with serving(settings, failpoint=go_away, **changes):

            async def tried() -> bool:
                return database.cuts >= TRIES or await client.depth(client.topology.dead_letters) > 0

            await until(tried)
            database.next_cut = None
            await client.until_empty(client.topology.inbox)


async def test_command_is_held_while_the_database_is_away_and_then_decided(settings: Settings, client: Client) -> None:
    command = creation()
    await outage(settings, client, command)
    await client.decided(command)
    assert await client.depth(client.topology.dead_letters) == 0


async def test_without_holding_an_outage_moves_a_good_command_to_the_dead_letters(
    settings: Settings, client: Client, second: Connection
) -> None:
    command = creation()
    with without("holding"):
        await outage(settings, client, command)
    [dead_letter] = await client.drain(client.topology.dead_letters)
    assert dead_letter.body == json_bytes(command)
    assert command["id"] not in client.bodies
    assert await second.fetchval("SELECT count(*) FROM ledger") == 0
