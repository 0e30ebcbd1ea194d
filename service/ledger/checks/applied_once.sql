-- No command has changed a record twice in the history, save one that came again when the ledger had forgotten it.
WITH memory AS (
    -- What was decided before the oldest batch may have been forgotten. A minute, for there are two clocks.
    SELECT decided_at - interval '1 minute' AS since
    FROM batches
    ORDER BY confirmed_at IS NULL, id
    LIMIT 1
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
