-- Forget those of the oldest batches of which no command is remembered, past the retention as in delete_ledger.sql.
DELETE FROM batches
WHERE id = ANY (ARRAY(
    SELECT oldest.id
    FROM (
        SELECT id, max(decided_at) OVER (ORDER BY id) AS decided_by
        FROM batches WHERE confirmed_at IS NOT NULL ORDER BY id LIMIT $2
    ) AS oldest
    WHERE oldest.decided_by < clock_timestamp() - $1::interval
)) AND NOT EXISTS (SELECT FROM ledger WHERE ledger.batch_id = batches.id)
