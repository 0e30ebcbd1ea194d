-- In the ledger's memory no command that the history has a change of has another verdict than succeeded.
WITH changed AS MATERIALIZED (
    SELECT ledger.id, verdict, kind, record_id, decided_at
    FROM changes
    JOIN ledger ON ledger.id = changes.command_id
    WHERE verdict <> 'succeeded'
),
memory AS (
    -- Commands are forgotten with the oldest batches, after a day at the earliest, and may be sent again then. The
    -- minutes allow for two clocks.
    SELECT least(
        (
            SELECT max(decided_at)
            FROM batches
            WHERE confirmed_at IS NOT NULL AND id <= (
                SELECT min(batches.id)
                FROM batches
                WHERE confirmed_at IS NOT NULL AND EXISTS (SELECT FROM ledger WHERE ledger.batch_id = batches.id)
            )
        ),
        now() - interval '1 day'
    ) + interval '2 minutes' AS since
)
SELECT id::text AS record, format('the verdict is %s, but it has changed the %s %s', verdict, kind, record_id) AS found
FROM changed, memory
WHERE decided_at::timestamptz > since
LIMIT 10
