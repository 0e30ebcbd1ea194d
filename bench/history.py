"""A history of many commands on records of every kind, loaded by SQL, without violations for `genlock verify`.

The commands form ten lanes: six of documents, one of providers, two of stacks, one of consumers. Each lane changes all
its records in turn, repeatedly, so the changes of one record are far apart, as in real work.
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
"""The number of a lane's commands is a multiple of this, because records have 3, 5 or 6 changes each."""

_WORDS = """
CREATE FUNCTION pg_temp.command_id(n bigint) RETURNS uuid LANGUAGE sql IMMUTABLE AS $$
    SELECT (lpad(to_hex(1767225600000 + n), 12, '0') || '7000' || '8' || substr(md5(n::text), 1, 15))::uuid
$$;

CREATE FUNCTION pg_temp.record_id(kind text, lane integer, i bigint) RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE kind WHEN 'document' THEN 'server-' || lane || '-' || i
        ELSE md5(kind || lane || '-' || i)::uuid::text END
$$;

CREATE TEMPORARY TABLE lanes (lane integer, kind text, changes integer, records bigint);

-- Every other command on a stack is a report, which keeps the traversal of the previous command.
CREATE FUNCTION pg_temp.made(first bigint, after bigint)
RETURNS TABLE (
    kind text, record_id text, sequence bigint, token text, command_id uuid, command_type text, command_source text,
    decided_at text, n bigint
)
LANGUAGE sql STABLE AS $$
    SELECT
        kind, pg_temp.record_id(kind, lane, n / 10 % records), n / 10 / records + 1,
        CASE kind
            WHEN 'stack' THEN pg_temp.command_id(n - n / 10 / records % 2 * 10 * records)::text
            WHEN 'consumer' THEN (n / 10 / records + 1)::text
            ELSE (n / 10 / records)::text
        END,
        pg_temp.command_id(n),
        kind || CASE WHEN kind = 'stack' AND n / 10 / records % 2 = 1 THEN '.set_state' ELSE '.update' END,
        '/bench', '2026-01-01T00:00:00.000000Z', n
    FROM generate_series(first, after - 1) AS n
    JOIN lanes ON lane = n % 10
$$;
"""

_LANES = """
INSERT INTO lanes
SELECT lane, kind, changes, $1::bigint / changes
FROM (
    SELECT lane, 'document', 3 FROM generate_series(0, 5) AS lane
    UNION ALL VALUES (6, 'provider', 5), (7, 'stack', 6), (8, 'stack', 6), (9, 'consumer', 3)
) AS lane (lane, kind, changes)
"""

_CHANGES = """
INSERT INTO changes (kind, record_id, sequence, token, command_id, command_type, command_source, decided_at, row_hash)
SELECT
    kind, record_id, sequence, token, command_id, command_type, command_source, decided_at,
    hash_record_extended(ROW(
        kind, record_id, sequence, token, command_id, command_type, command_source, decided_at, NULL::text
    ), 0)
FROM pg_temp.made($1::bigint, $2::bigint)
"""

# An event is about as long as a document's in the other benchmarks; 256 commands make a batch.
_LEDGER = """
INSERT INTO ledger (id, content_hash, verdict, event, batch_id, row_hash)
SELECT
    id, content_hash, verdict, event, batch_id,
    hash_record_extended(ROW(id, content_hash, verdict, event, batch_id), 0)
FROM (
    SELECT
        command_id AS id, decode(md5(n::text) || md5(n::text), 'hex') AS content_hash, 'succeeded' AS verdict,
        json_build_object(
            'specversion', '1.0', 'id', md5(n::text)::uuid, 'source', '/genlock', 'type', command_type || '.succeeded',
            'time', decided_at, 'causationid', command_id,
            'data', json_build_object(
                'kind', kind, 'id', record_id, 'sequence', sequence,
                'token', json_build_object(CASE kind WHEN 'stack' THEN 'traversal' ELSE 'generation' END, token),
                'text', repeat(md5(n::text), 12)
            )
        )::text AS event,
        n / 256 + 1 AS batch_id
    FROM pg_temp.made($1::bigint, $2::bigint)
) AS new
"""

_BATCHES = """
INSERT INTO batches (decided_at, confirmed_at, commands)
SELECT '2026-01-01', '2026-01-01', least(256, $1::bigint - 256 * i) FROM generate_series(0, ($1::bigint - 1) / 256) AS i
"""

_MORE_BATCHES = """
INSERT INTO batches (decided_at, confirmed_at)
SELECT '2026-01-01', '2026-01-01' FROM generate_series((SELECT max(id) + 1 FROM batches), $1::bigint / 256 + 1)
"""

# The last command of each record; i is the number of the record in its lane.
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

# As the service writes them.
_HASHES = """
UPDATE documents SET state_hash = hash_record_extended(ROW(
    id, generation, sequence, body::text, maker_id, maker_type, maker_source, maker_time, maker_user
), 0);

UPDATE providers SET state_hash = hash_record_extended(ROW(
    id, generation, sequence, name, parent_id, array_to_string(traits, ' '), array_to_string(aggregates, ' '), deleted,
    maker_id, maker_type, maker_source, maker_time, maker_user,
    'VCPU:1000:0:1:1000:1:' || encode(float8send(1.0), 'hex')
), 0);

UPDATE stacks SET state_hash = hash_record_extended(ROW(
    id, sequence, name, action, status, status_reason, traversal, previous_traversal, template::text,
    previous_template::text, disable_rollback, timeout_s,
    maker_id, maker_type, maker_source, maker_time, maker_user
), 0);

UPDATE consumers SET state_hash = hash_record_extended(ROW(
    id, generation, sequence, project_id, user_id, consumer_type, deleted,
    maker_id, maker_type, maker_source, maker_time, maker_user,
    (SELECT provider_id || ':VCPU:' || amount FROM allocations WHERE consumer_id = consumers.id)
), 0);
"""


async def load(connection: Connection, changes: int, report: Callable[[int], Any]) -> int:
    """Load about `changes` changes and as many ledger rows; return their number. `report` gets the progress."""
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
    await connection.execute(_HASHES)
    await connection.execute("VACUUM ANALYZE")
    return count


async def add_ledger(connection: Connection, first: int, after: int) -> None:
    """Add the ledger rows of further commands, without records or history, on the connection of `load`."""
    await connection.execute(_LEDGER, first, after)
    await connection.execute(_MORE_BATCHES, after)
