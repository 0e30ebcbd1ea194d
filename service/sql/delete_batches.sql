-- Forget those of the oldest batches of which no command is remembered.
DELETE FROM batches
WHERE id = ANY (ARRAY(
    SELECT oldest.id
    FROM (SELECT id, decided_at FROM batches WHERE confirmed_at IS NOT NULL ORDER BY id LIMIT $2) AS oldest
    WHERE oldest.decided_at < clock_timestamp() - $1::interval
)) AND NOT EXISTS (SELECT FROM ledger WHERE ledger.batch_id = batches.id)
