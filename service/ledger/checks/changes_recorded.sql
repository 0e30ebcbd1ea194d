-- Every change within the ledger's memory is that of a command that the ledger has.
WITH memory AS (
    -- Commands are forgotten with the oldest batches, after a day at the earliest. The minutes allow for two clocks.
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
SELECT
    kind || ' ' || record_id AS record,
    format('change %s is of %s (%s), which the ledger does not have', sequence, command_id, command_type) AS found
FROM changes, memory
WHERE decided_at::timestamptz > since AND NOT EXISTS (SELECT FROM ledger WHERE ledger.id = changes.command_id)
LIMIT 10
