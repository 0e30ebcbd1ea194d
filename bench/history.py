"""A history of many commands on records of every kind, loaded by SQL, of which `genlock verify` has nothing to say.

Commands come in ten lanes: six of documents, one of providers, two of stacks, one of consumers. In each lane all
records are changed in turn, again and again, so that the changes of one record lie far apart, as they do in real work.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import asyncpg

if TYPE_CHECKING:
    Connection: TypeAlias = asyncpg.Connection[asyncpg.Record]
else:
    Connection = asyncpg.Connection

LOADED_AT_ONCE = 500_000

LANES = 10
STEP = 30
"""A lane's commands are a multiple of this, because its records have 3, 5 or 6 changes each."""

_WORDS = """
CREATE FUNCTION pg_temp.command_id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(1767225600000 + n), 12, '0') || '7000' || '8' || substr(md5(n::text), 1, 15))::uuid
$$;

CREATE FUNCTION pg_temp.record_id(kind text, lane integer, i bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind WHEN 'document' THEN 'server-' || lane || '-' || i
        ELSE md5(kind || lane || '-' || i)::uuid::text END
$$;

CREATE TEMPORARY TABLE lanes (lane integer, kind text, changes integer, records bigint);
"""

_LANES = """
INSERT INTO lanes
SELECT lane, kind, changes, $1::bigint / changes
FROM (
    SELECT lane, 'document', 3 FROM generate_series(0, 5) AS lane
    UNION ALL VALUES (6, 'provider', 5), (7, 'stack', 6), (8, 'stack', 6), (9, 'consumer', 3)
) AS lane (lane, kind, changes)
"""

# Every other command on a stack reports, and keeps the traversal of the one before.
_CHANGES = """
WITH made AS (
    SELECT n, lane, kind, records, n / 10 % records AS i, n / 10 / records AS turn
    FROM generate_series($1::bigint, $2::bigint - 1) AS n
    JOIN lanes ON lane = n % 10
)
INSERT INTO changes (kind, record_id, sequence, token, command_id, command_type, command_source, decided_at)
SELECT
    kind, pg_temp.record_id(kind, lane, i), turn + 1,
    CASE kind
        WHEN 'stack' THEN pg_temp.command_id(n - turn % 2 * 10 * records)::text
        WHEN 'consumer' THEN (turn + 1)::text
        ELSE turn::text
    END,
    pg_temp.command_id(n), kind || '.update', '/bench', '2026-01-01T00:00:00.000000Z'
FROM made
"""

# An event is about as long as one of a document of the other benchmarks; 256 commands make a batch.
_LEDGER = """
INSERT INTO ledger (id, content_hash, verdict, event, batch_id)
SELECT
    pg_temp.command_id(n), decode(md5(n::text) || md5(n::text), 'hex'), 'succeeded',
    json_build_object('specversion', '1.0', 'id', md5(n::text)::uuid, 'source', '/genlock',
        'type', kind || '.update.succeeded', 'data', json_build_object('text', repeat(md5(n::text), 18)))::text,
    n / 256 + 1
FROM generate_series($1::bigint, $2::bigint - 1) AS n
JOIN lanes ON lane = n % 10
"""

_BATCHES = """
INSERT INTO batches (decided_at, confirmed_at)
SELECT '2026-01-01', '2026-01-01' FROM generate_series(0, $1::bigint / 256)
"""

_MORE_BATCHES = """
INSERT INTO batches (decided_at, confirmed_at)
SELECT '2026-01-01', '2026-01-01' FROM generate_series((SELECT max(id) + 1 FROM batches), $1::bigint / 256 + 1)
"""

# The last command of each record, in whose order it is the i-th of its lane.
_LAST = """
CREATE TEMPORARY VIEW last AS
SELECT lane, kind, changes, records, i, pg_temp.record_id(kind, lane, i) AS id,
    pg_temp.command_id(10 * ((changes - 1) * records + i) + lane) AS command_id,
    kind || '.update' AS command_type, '/bench' AS source, '2026-01-01T00:00:00.000000Z' AS time
FROM lanes, generate_series(0, records - 1) AS i
"""

_RECORDS = """
INSERT INTO documents
SELECT id, changes - 1, changes, json_build_object('text', repeat(md5(id), 10)), command_id, command_type, source, time
FROM last WHERE kind = 'document';

INSERT INTO providers
SELECT id::uuid, changes - 1, changes, 'provider-' || i,
    CASE WHEN i % 100 > 0 THEN pg_temp.record_id(kind, lane, i - i % 100 + (i % 100 - 1) / 10)::uuid END,
    '{HW_CPU_X86_AVX2}', '{}', false, command_id, command_type, source, time
FROM last WHERE kind = 'provider';

INSERT INTO stacks
SELECT id::uuid, changes, 'stack-' || lane || '-' || i, 'UPDATE', 'COMPLETE', '',
    pg_temp.command_id(10 * ((changes - 2) * records + i) + lane),
    pg_temp.command_id(10 * ((changes - 4) * records + i) + lane),
    '{}', NULL, true, NULL, pg_temp.command_id(10 * ((changes - 2) * records + i) + lane), command_type, source, time
FROM last WHERE kind = 'stack';

INSERT INTO consumers
SELECT id::uuid, changes, changes, 'project-' || i % 1000, 'user', NULL, false, command_id, command_type, source, time
FROM last WHERE kind = 'consumer';

INSERT INTO allocations
SELECT consumer.id::uuid, pg_temp.record_id('provider', 6, consumer.i % lanes.records)::uuid, 'VCPU', 1
FROM last AS consumer JOIN lanes ON lanes.kind = 'provider'
WHERE consumer.kind = 'consumer';

INSERT INTO inventories (
    provider_id, resource_class, total, reserved, min_unit, max_unit, step_size, allocation_ratio, used
)
SELECT providers.id, 'VCPU', 1000, 0, 1, 1000, 1, 1.0, count(allocations.consumer_id)
FROM providers LEFT JOIN allocations ON allocations.provider_id = providers.id
GROUP BY providers.id;

INSERT INTO names
SELECT 'provider', name, id::text FROM providers
UNION ALL SELECT 'stack', name, id::text FROM stacks;
"""


async def load(connection: Connection, changes: int, report: Callable[[int], Any]) -> int:
    """Load about so many changes, and as many ledger rows; return how many. `report` is told how many there are."""
    each_lane = max(1, changes // (LANES * STEP)) * STEP
    count = LANES * each_lane
    await connection.execute(_WORDS)
    await connection.execute(_LANES, each_lane)
    for first in range(0, count, LOADED_AT_ONCE):
        after = min(first + LOADED_AT_ONCE, count)
        await connection.execute(_CHANGES, first, after)
        await connection.execute(_LEDGER, first, after)
        report(after)
    await connection.execute(_BATCHES, count)
    await connection.execute(_LAST)
    await connection.execute(_RECORDS)
    await connection.execute("VACUUM ANALYZE")
    return count


async def add_ledger(connection: Connection, first: int, after: int) -> None:
    """Add the ledger rows of more commands, numbered on, which have left nothing else; on the connection of `load`."""
    await connection.execute(_LEDGER, first, after)
    await connection.execute(_MORE_BATCHES, after)
