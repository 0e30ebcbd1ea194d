"""What `genlock verify` cannot prove: two histories that leave tables of which neither tells that it is the false one.

Each class has a damage, and the history without any damage that the tables may as well come from. production.md names
the classes.
"""

# ruff: noqa: S608 - no statement has any input

from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from genlock.service.database.transactions import Pool
from genlock.service.database.verify import verify
from genlock.service.deciding.decide import Decider
from genlock.service.kinds.registry import KINDS
from genlock.service.ledger.retention import Retention
from tests.support.ageing import age
from tests.support.database import Connection
from tests.support.factories import new_id, put
from tests.support.forgetting import at_once
from tests.support.upgrades import older_statements

DOCUMENT = "server-1"
RETENTION = timedelta(days=14)

History = Callable[[Decider, Pool, Connection], Awaitable[None]]


async def decide(decider: Decider, *, confirmed: bool = True, body: str = "a", document: str = DOCUMENT) -> str:
    """Create a document in a batch of its own; return the id of the command."""
    command = put(document, None, {"owner": body})
    answers = await decider.decide([command])
    if confirmed:
        await decider.confirm(answers.batch_ids)
    return command.id


async def forget(pool: Pool) -> None:
    assert await Retention(pool, RETENTION, 20, horizon=at_once(RETENTION)).purge() > 0


async def noted_by_hand(decider: Decider, _pool: Pool, owner: Connection) -> None:
    """An event that was never published, and whose batch is noted as confirmed all the same."""
    await decide(decider, confirmed=False)
    await owner.execute("UPDATE batches SET confirmed_at = clock_timestamp()")


async def published(decider: Decider, _pool: Pool, _owner: Connection) -> None:
    """An event that the broker has confirmed: what it did with it stands in no table."""
    await decide(decider)


async def batch_removed(decider: Decider, _pool: Pool, owner: Connection) -> None:
    """A batch removed with everything that it has left."""
    await decide(decider, document=new_id())
    await decide(decider)
    await owner.execute(
        f"DELETE FROM documents WHERE id = '{DOCUMENT}'; DELETE FROM changes WHERE record_id = '{DOCUMENT}';"
        "DELETE FROM ledger WHERE batch_id = 2; DELETE FROM batches WHERE id = 2"
    )


async def batch_rolled_back(decider: Decider, _pool: Pool, owner: Connection) -> None:
    """A batch that was rolled back after it had its number."""
    await decide(decider, document=new_id())
    await owner.fetch("SELECT nextval(pg_get_serial_sequence('batches', 'id'))")


async def record_removed(decider: Decider, pool: Pool, owner: Connection) -> None:
    """A record removed with its history, after the ledger has forgotten its commands."""
    await decide(decider)
    await age(owner, 15)
    await decide(decider, document=new_id())
    await forget(pool)
    await owner.execute(
        f"DELETE FROM documents WHERE id = '{DOCUMENT}'; DELETE FROM changes WHERE record_id = '{DOCUMENT}'"
    )


async def record_never_made(decider: Decider, pool: Pool, owner: Connection) -> None:
    """A command that was refused, and is forgotten: the record never was."""
    await decider.confirm((await decider.decide([put(DOCUMENT, 7)])).batch_ids)
    await age(owner, 15)
    await decide(decider, document=new_id())
    await forget(pool)


async def older_content_changed(decider: Decider, _pool: Pool, owner: Connection) -> None:
    """Another content of a record that an older version wrote last, without a hash."""
    with older_statements():
        await decide(decider, body="a")
    await owner.execute("""UPDATE documents SET body = '{"owner":"b"}'""")
    await owner.execute("""UPDATE ledger SET event = replace(event, '"owner":"a"', '"owner":"b"')""")


async def older_content(decider: Decider, _pool: Pool, _owner: Connection) -> None:
    """The content that the command asked for."""
    with older_statements():
        await decide(decider, body="b")


async def suspect_removed(_decider: Decider, _pool: Pool, owner: Connection) -> None:
    """The attempts at a command that is not decided yet, removed."""
    await owner.execute("INSERT INTO suspects VALUES (gen_random_uuid(), 2); DELETE FROM suspects")


async def never_suspected(_decider: Decider, _pool: Pool, _owner: Connection) -> None:
    """A command that was never tried."""


PAIRS = [
    (noted_by_hand, published),
    (batch_removed, batch_rolled_back),
    (record_removed, record_never_made),
    (older_content_changed, older_content),
    (suspect_removed, never_suspected),
]
"""A damage, and the history that leaves the like."""

PICTURE = {
    "records": f"SELECT id, generation, sequence, body::text FROM documents WHERE id = '{DOCUMENT}'",
    "history": f"SELECT sequence, token, row_hash IS NULL AS older FROM changes WHERE record_id = '{DOCUMENT}'",
    "ledger": f"SELECT verdict, row_hash IS NULL AS older FROM ledger WHERE event::json ->> 'subject' = '{DOCUMENT}'",
    "batches": "SELECT id, confirmed_at IS NULL AS unconfirmed, commands FROM batches ORDER BY id",
    "suspects": "SELECT times FROM suspects",
}
"""What the tables say, save ids and times."""


async def picture(owner: Connection) -> dict[str, list[tuple[object, ...]]]:
    return {name: [tuple(row) for row in await owner.fetch(query)] for name, query in PICTURE.items()}


EMPTY = "TRUNCATE documents, changes, ledger, batches, suspects RESTART IDENTITY"


@pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair[0].__name__)
async def test_damage_that_leaves_what_a_history_leaves_is_not_found(
    database_url: str, decider: Decider, pool: Pool, second: Connection, pair: tuple[History, History]
) -> None:
    damage, history = pair
    await damage(decider, pool, second)
    damaged = await picture(second)
    assert [checked.claim async for checked in verify(database_url, KINDS) if checked.violations] == []
    await second.execute(EMPTY)
    await history(decider, pool, second)
    assert await picture(second) == damaged
    assert [checked.claim async for checked in verify(database_url, KINDS) if checked.violations] == []
