"""The contestants: programs that consume the inbox of a namespace and publish an event for each command.

All get the same three variables: GENLOCK_DATABASE_URL, GENLOCK_AMQP_URL and GENLOCK_NAMESPACE. All keep tables
`documents` and `ledger`, with a `generation` in the one and an `event` in the other, which is what a drain checks.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from importlib import metadata, resources

import asyncpg

from bench.peers import faststream_handler
from genlock.service.migrate import migrate
from genlock.service.settings import Settings

_SEED_GENLOCK = """
INSERT INTO documents (id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time)
SELECT id, 0, 1, $2::text::json, gen_random_uuid(), 'document.put', '/bench', '2026-01-01T00:00:00.000000Z'
FROM unnest($1::text[]) AS id
"""

_SEED_FASTSTREAM = (
    "INSERT INTO documents (id, generation, body) SELECT id, 0, $2::text::jsonb FROM unnest($1::text[]) AS id"
)


@dataclass(frozen=True, slots=True)
class Contestant:
    """A program, which is a module and its arguments, and its database.

    `seed` takes the ids of documents and the body that each of them has at first.
    """

    name: str
    about: str
    program: tuple[str, tuple[str, ...]]
    make_schema: Callable[[str], Awaitable[object]]
    seed: str


async def _faststream_schema(database_url: str) -> None:
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute(resources.files("bench.peers").joinpath("faststream.sql").read_text())
    finally:
        await connection.close()


def _default(setting: str) -> object:
    return Settings.model_fields[setting].default


GENLOCK = Contestant(
    name="Genlock",
    about=f"genlock serve, one process, defaults: batches of at most {_default('batch_size_max')} commands,"
    f" prefetch {_default('prefetch')}",
    program=("genlock.cli", ("serve",)),
    make_schema=migrate,
    seed=_SEED_GENLOCK,
)

FASTSTREAM = Contestant(
    name="FastStream",
    about=f"FastStream {metadata.version('faststream')} with asyncpg, one process: a transaction for each message,"
    f" {faststream_handler.AT_ONCE} messages at once on as many connections, prefetch {faststream_handler.AT_ONCE}",
    program=("bench.peers.faststream_handler", ()),
    make_schema=_faststream_schema,
    seed=_SEED_FASTSTREAM,
)

CONTESTANTS = (GENLOCK, FASTSTREAM)
"""In the order in which they take turns; the first is held against each other one."""
