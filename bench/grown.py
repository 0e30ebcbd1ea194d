"""A database that has grown: many records, with their history, and a ledger as long; loaded by SQL.

It stays the same one over all rounds, so it remembers at which generation its documents are.
"""

import random
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager

import asyncpg

from bench.messages import Message
from bench.workloads import FIRST, document_body, document_id, put
from genlock import servers
from genlock.service.database.migrate import migrate

LOADED_AT_ONCE = 1_000_000
LOAD_TIMEOUT_S = 1_800.0

BYTES_EACH = 1_700
"""About what a document, its history and a ledger row take with their indexes."""

_DOCUMENTS = """
INSERT INTO documents (id, generation, sequence, body, maker_id, maker_type, maker_source, maker_time)
SELECT 'server-' || lpad(n::text, greatest(6, length(n::text)), '0'), $3::bigint, $3::bigint + 1, $4::text::json,
    gen_random_uuid(), 'document.put', '/bench', '2026-01-01T00:00:00.000000Z'
FROM generate_series($1::bigint, $2::bigint - 1) AS n
"""

_CHANGES = """
INSERT INTO changes (kind, record_id, sequence, token, command_id, command_type, command_source, decided_at)
SELECT 'document', 'server-' || lpad(n::text, greatest(6, length(n::text)), '0'), $3::bigint + 1, $3::bigint::text,
    gen_random_uuid(), 'document.put', '/bench', '2026-01-01T00:00:00.000000Z'
FROM generate_series($1::bigint, $2::bigint - 1) AS n
"""

# The ids are UUIDs of version 7, one for each millisecond up to now, as those of Genlock's client grow with time; 256
# of them make a batch, of which none is old enough to be forgotten. The event is as long as one of the benchmark.
_LEDGER = """
INSERT INTO ledger (id, content_hash, verdict, event, batch_id)
SELECT
    (lpad(to_hex((extract(epoch FROM now()) * 1000)::bigint - $3 + n), 12, '0') || '7000' || '8'
        || substr(md5(n::text), 1, 15))::uuid,
    decode(md5(n::text) || md5(n::text), 'hex'), 'succeeded',
    '{"id":"' || md5(n::text) || '","data":"' || repeat('x', 720) || '"}', n / 256 + 1
FROM generate_series($1::bigint, $2::bigint - 1) AS n
"""

_BATCHES = """
INSERT INTO batches (decided_at, confirmed_at) SELECT now(), now() FROM generate_series(0, $1 / 256)
"""

# What a command on a document chosen at random looks up, and no other one may have looked up before it.
_LOOKED_UP = ("documents", "documents_pkey", "changes_pkey")

_EFFECTS = """
SELECT
    (SELECT count(*) FROM ledger WHERE id = ANY ($1::uuid[]) AND verdict = 'succeeded'),
    (SELECT sum(generation - $3)::bigint FROM documents WHERE id = ANY ($2::text[]))
"""


_ALL_EFFECTS = "SELECT (SELECT count(*) FROM ledger), (SELECT sum(generation - $1)::bigint FROM documents)"


class Grown:
    """A database of this many documents and ledger rows."""

    def __init__(self, url: str, size: int) -> None:
        self.url = url
        self.size = size
        self._random = random.Random(size)
        self._generations: dict[str, int] = {}
        """Of the documents that commands have changed."""

    def commands(self, count: int) -> Iterator[Message]:
        """Replacements of documents that are chosen at random, to be decided in this order.

        They are made one by one as they are asked for, so that a million of them takes no memory.
        """
        return (self._put(document_id(self._random.randrange(self.size))) for _ in range(count))

    def _put(self, subject: str) -> Message:
        generation = self._generations.get(subject, FIRST)
        self._generations[subject] = generation + 1
        return put(subject, generation)

    async def settle(self) -> None:
        """Make the moment the same for every measurement: right after a checkpoint, with warm buffers.

        What commands look up is in PostgreSQL's buffers, as far as these go, where a longer time of work would have
        brought it. But each page is still to be written to the log as a whole when it is first changed.
        """
        connection = await asyncpg.connect(self.url, command_timeout=LOAD_TIMEOUT_S)
        try:
            await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_prewarm")
            for relation in _LOOKED_UP:
                await connection.execute("SELECT pg_prewarm($1)", relation)
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()

    async def check(self, commands: Sequence[Message]) -> None:
        """Raise RuntimeError unless these commands were all accepted, and no document was changed by anything else."""
        ids = [message.properties.message_id for message in commands]
        connection = await asyncpg.connect(self.url)
        try:
            changed = sum(generation - FIRST for generation in self._generations.values())
            found = tuple(await connection.fetchrow(_EFFECTS, ids, list(self._generations), FIRST) or ())
        finally:
            await connection.close()
        if found != (len(commands), changed):
            raise RuntimeError(f"of {len(commands)} commands and {changed} changes {found} are in the database")

    async def check_all(self) -> None:
        """Raise RuntimeError unless all commands that were ever made are decided, and each changed a document."""
        connection = await asyncpg.connect(self.url, command_timeout=LOAD_TIMEOUT_S)
        try:
            recorded, changed = await connection.fetchrow(_ALL_EFFECTS, FIRST) or (0, 0)
        finally:
            await connection.close()
        made = sum(generation - FIRST for generation in self._generations.values())
        if not recorded - self.size == changed == made:
            raise RuntimeError(f"{recorded - self.size} verdicts and {changed} changes of {made} are in the database")


@asynccontextmanager
async def grown(running: servers.Servers, size: int) -> AsyncIterator[Grown]:
    """Make a database, load it, and drop it in the end."""
    async with servers.database(running.database_url) as url:
        await migrate(url)
        connection = await asyncpg.connect(url, command_timeout=LOAD_TIMEOUT_S)
        try:
            await connection.execute("SET synchronous_commit = off")
            await connection.execute(_BATCHES, size)
            for start in range(0, size, LOADED_AT_ONCE):
                end = min(start + LOADED_AT_ONCE, size)
                await connection.execute(_DOCUMENTS, start, end, FIRST, document_body())
                await connection.execute(_CHANGES, start, end, FIRST)
                await connection.execute(_LEDGER, start, end, size)
            # What autovacuum and the checkpointer would do in the midst of a measurement.
            await connection.execute("VACUUM (FREEZE, ANALYZE)")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()
        yield Grown(url, size)
