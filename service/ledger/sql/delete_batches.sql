-- Delete the oldest batches that have no commands left. The last one, $1, stays: its time is that from which on the
-- ledger is complete, and by which find_forgettable.sql tells right times from wrong ones.
DELETE FROM batches
WHERE id = ANY (ARRAY(
    SELECT id FROM batches WHERE id < $1::bigint AND confirmed_at IS NOT NULL ORDER BY id LIMIT $2
)) AND NOT EXISTS (SELECT FROM ledger WHERE ledger.batch_id = batches.id)
