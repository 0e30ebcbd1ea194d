-- When the oldest batch of the ledger was decided, of which something may be forgotten, and of none after it.
SELECT decided_at FROM batches WHERE confirmed_at IS NOT NULL ORDER BY id LIMIT 1
