-- Note that the broker has confirmed all events of these batches. Locks in the order of ids, as the sweep does.
UPDATE batches
SET confirmed_at = clock_timestamp()
WHERE id IN (
    SELECT id FROM batches WHERE id = ANY ($1::bigint[]) AND confirmed_at IS NULL ORDER BY id FOR NO KEY UPDATE
)
