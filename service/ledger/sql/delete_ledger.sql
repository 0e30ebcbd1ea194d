-- Forget commands of the oldest batches that the broker has confirmed, as far as those are past the retention: a slice.
-- Nothing is looked at but the oldest batches: they are older than all that come after them. In their order, so that there
-- is a moment since when everything is remembered (find_memory.sql), and none goes before one that is not past the
-- retention: a time that was noted while the clock was far behind makes nothing old.
DELETE FROM ledger
WHERE id = ANY (ARRAY(
    SELECT ledger.id
    FROM (
        SELECT id, max(decided_at) OVER (ORDER BY id) AS decided_by
        FROM batches WHERE confirmed_at IS NOT NULL ORDER BY id LIMIT $2
    ) AS oldest
    JOIN ledger ON ledger.batch_id = oldest.id
    WHERE oldest.decided_by < clock_timestamp() - $1::interval
    ORDER BY oldest.id
    LIMIT $3
))
