-- Forget commands of the oldest batches that the broker has confirmed, as far as those are past the retention: a slice.
-- Nothing is looked at but the oldest batches: they are older than all that come after them. In their order, so that there
-- is a moment since when everything is remembered (find_memory.sql).
DELETE FROM ledger
WHERE id = ANY (ARRAY(
    SELECT ledger.id
    FROM (SELECT id, decided_at FROM batches WHERE confirmed_at IS NOT NULL ORDER BY id LIMIT $2) AS oldest
    JOIN ledger ON ledger.batch_id = oldest.id
    WHERE oldest.decided_at < clock_timestamp() - $1::interval
    ORDER BY oldest.id
    LIMIT $3
))
