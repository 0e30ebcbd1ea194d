"""A prefilled database: many records with their history and as many ledger rows, loaded by SQL.

All rounds use the same database, so the object keeps the generations of the changed documents.
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
"""The approximate size of a document, its history and a ledger row with their indexes."""

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

# The ids are UUIDs of version 7, one for each millisecond up to now, because the ids of Genlock's client grow with
# time. 256 commands make a batch, and none is old enough to be purged. An event is as long as the benchmark's.
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

# The relations that a command on a random document reads, and that may not be cached otherwise.
_LOOKED_UP = ("documents", "documents_pkey", "changes_pkey")

_EFFECTS = """
SELECT
    (SELECT count(*) FROM ledger WHERE id = ANY ($1::uuid[]) AND verdict = 'succeeded'),
    (SELECT sum(generation - $3)::bigint FROM documents WHERE id = ANY ($2::text[]))
"""


_ALL_EFFECTS = "SELECT (SELECT count(*) FROM ledger), (SELECT sum(generation - $1)::bigint FROM documents)"


class PrefilledDatabase:
    """A database with `size` documents and ledger rows."""

    def __init__(self, url: str, size: int) -> None:
        self.url = url
        self.size = size
        self._random = random.Random(size)
        self._generations: dict[str, int] = {}
        """The generations of changed documents."""

    def commands(self, count: int) -> Iterator[Message]:
        """Replacements of random documents, to be decided in this order.

        A generator makes them one by one, so that a million takes no memory.
        """
        return (self._put(document_id(self._random.randrange(self.size))) for _ in range(count))

    def _put(self, subject: str) -> Message:
        generation = self._generations.get(subject, FIRST)
        self._generations[subject] = generation + 1
        return put(subject, generation)

    async def settle(self) -> None:
        """Bring the server into the same state for each measurement: right after a checkpoint, with warm buffers.

        The buffers hold the relations that commands read, if they fit, as after a long time of work. But the first
        change of each page still writes the whole page to the WAL.
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
        """Raise RuntimeError unless all these commands were accepted and nothing else changed a document."""
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
        """Raise RuntimeError unless all commands ever made are decided, and each changed a document."""
        connection = await asyncpg.connect(self.url, command_timeout=LOAD_TIMEOUT_S)
        try:
            recorded, changed = await connection.fetchrow(_ALL_EFFECTS, FIRST) or (0, 0)
        finally:
            await connection.close()
        made = sum(generation - FIRST for generation in self._generations.values())
        if not recorded - self.size == changed == made:
            raise RuntimeError(f"{recorded - self.size} verdicts and {changed} changes of {made} are in the database")


@asynccontextmanager
async def prefilled(running: servers.Servers, size: int) -> AsyncIterator[PrefilledDatabase]:
    """Create and load a database, and drop it in the end."""
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
            # Otherwise autovacuum and the checkpointer would do it during a measurement.
            await connection.execute("VACUUM (FREEZE, ANALYZE)")
            await connection.execute("CHECKPOINT")
        finally:
            await connection.close()
        yield PrefilledDatabase(url, size)
