-- The events of all batches decided in a time span, the oldest batch first. The plan streams and never sorts the result.
SELECT batch.id AS batch_id, batch.decided_at, batch.confirmed_at IS NOT NULL AS confirmed, ledger.event
FROM batches AS batch
LEFT JOIN ledger ON ledger.batch_id = batch.id
WHERE batch.decided_at >= $1::timestamptz AND ($2::timestamptz IS NULL OR batch.decided_at < $2::timestamptz)
ORDER BY batch.id, ledger.id
