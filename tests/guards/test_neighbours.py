"""What keeps one bad message, or an outage, from harming other commands, and what becomes of them without."""

from collections.abc import Sequence
from typing import TypeAlias

import asyncpg
import pytest
from pydantic import SecretStr

from genlock.consumers import topology
from genlock.schemas.outcomes import Outcome, Rejected, Succeeded
from genlock.service.deciding.decide import Decider
from genlock.service.settings import Settings
from tests.factories import Json, envelope, json_bytes, new_id, put
from tests.guards.removal import without
from tests.harness import Client, connected, outcomes, serving, until
from tests.proxy import Cut, proxied

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"


# A command that breaks the transaction.

POISON = """
CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'made to fail' USING ERRCODE = '22012';
END $$;
CREATE TRIGGER fail BEFORE INSERT ON documents FOR EACH ROW WHEN (NEW.id = 'poison') EXECUTE FUNCTION fail();
"""


async def poison_between_neighbours(decider: Decider, second: Connection) -> Sequence[Outcome]:
    await second.execute(POISON)
    documents = [new_id(), new_id(), "poison", new_id(), new_id()]
    return outcomes(await decider.decide([put(document, None) for document in documents]))


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
    [letter] = await client.drain(client.topology.dead_letters)
    assert letter.body == json_bytes(command).decode().encode("latin-1")
    assert "UTF-8" in str(letter.headers["x-genlock-reason"])
    assert command["id"] not in client.bodies


async def test_without_strict_utf_8_something_is_stored_that_nobody_has_sent(
    settings: Settings, client: Client, second: Connection
) -> None:
    with without("strict UTF-8"):
        command = await unreadable(settings, client)
    body = await second.fetchval("SELECT body FROM documents WHERE id = $1", command["subject"])
    assert "Zo\ufffd" in body


# A database that is away for longer than the broker lets a message come back.

TRIES = 8


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the broker move a message to the dead letters when it has come back three times, in place of a hundred."""
    monkeypatch.setattr(topology, "DELIVERY_LIMIT", 3)


async def outage(settings: Settings, client: Client, command: Json) -> None:
    """The database is away while the command is tried, and then it is back."""
    async with proxied(settings.database_url.get_secret_value()) as database:
        changes: Json = {"database_url": SecretStr(database.url), "retry_delay_max_s": 0.1, "sweep_after_s": 3600.0}
        async with serving(settings, **changes):
            database.next_cut = Cut(b"BEGIN", always=True)
            await client.send(command)

            async def tried() -> bool:
                return database.cuts >= TRIES or await client.depth(client.topology.dead_letters) > 0

            await until(tried)
            database.next_cut = None
            await client.until_empty(client.topology.inbox)


@pytest.mark.usefixtures("impatient")
async def test_command_is_held_while_the_database_is_away_and_then_decided(
    settings: Settings, amqp_url: str, namespace: str
) -> None:
    command = envelope("document.put", new_id(), {"expected_generation": None, "body": {}})
    async with connected(amqp_url, namespace) as client:
        await outage(settings, client, command)
        await client.decided(command)
        assert await client.depth(client.topology.dead_letters) == 0


@pytest.mark.usefixtures("impatient")
async def test_without_holding_an_outage_moves_a_good_command_to_the_dead_letters(
    settings: Settings, amqp_url: str, namespace: str, second: Connection
) -> None:
    command = envelope("document.put", new_id(), {"expected_generation": None, "body": {}})
    async with connected(amqp_url, namespace) as client:
        with without("holding"):
            await outage(settings, client, command)
        [letter] = await client.drain(client.topology.dead_letters)
        assert letter.body == json_bytes(command)
        assert command["id"] not in client.bodies
    assert await second.fetchval("SELECT count(*) FROM ledger") == 0
