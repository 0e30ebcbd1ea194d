-- Every verdict is the one that the type of its event tells, and in the ledger's memory no command that the history has a
-- change of has another one than succeeded.
WITH changed AS MATERIALIZED (
    SELECT ledger.id, verdict, kind, record_id, decided_at
    FROM changes
    JOIN ledger ON ledger.id = changes.command_id
    WHERE verdict <> 'succeeded'
),
-- What was decided before the oldest batch may have been forgotten, and come again. A minute, for there are two clocks.
memory AS (
    SELECT decided_at - interval '1 minute' AS since
    FROM batches
    ORDER BY confirmed_at IS NULL, id
    LIMIT 1
)
SELECT ledger.id::text AS record, format('the verdict is %s, the event says %s', verdict, event::json ->> 'type') AS found
FROM ledger
WHERE event::json ->> 'type' NOT LIKE '%.' || verdict
UNION ALL
SELECT id::text, format('the verdict is %s, but it has changed the %s %s', verdict, kind, record_id)
FROM changed, memory
WHERE decided_at::timestamptz > since
LIMIT 10
