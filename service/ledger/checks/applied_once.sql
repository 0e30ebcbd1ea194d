-- No command has changed a record twice in the history, except one that was sent again after its ledger row expired.
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
SELECT kind || ' ' || record_id AS record, format('command %s has changed it %s times', command_id, times) AS found
FROM (
    SELECT kind, record_id, command_id, count(*) AS times
    FROM changes
    GROUP BY kind, record_id, command_id
    HAVING count(*) > 1
) AS twice
WHERE EXISTS (
    SELECT
    FROM (
        SELECT decided_at::timestamptz AS decided_at,
            lag(decided_at::timestamptz) OVER (ORDER BY sequence) AS decided_before
        FROM changes
        WHERE changes.kind = twice.kind AND changes.record_id = twice.record_id AND changes.command_id = twice.command_id
    ) AS again
    -- Nothing is forgotten within a day: no shorter retention can be set.
    WHERE decided_at < decided_before + interval '1 day' OR decided_before > (SELECT since FROM memory)
)
LIMIT 10
