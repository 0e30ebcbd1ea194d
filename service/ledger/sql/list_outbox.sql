-- The next further messages of some batches, after a position in a batch.
SELECT * FROM outbox
WHERE batch_id = ANY ($1::bigint[]) AND (batch_id, position) > ($2::bigint, $3::int)
ORDER BY batch_id, position
LIMIT $4
