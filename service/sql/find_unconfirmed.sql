-- The events of the oldest batches that were committed a while ago and never confirmed.
SELECT batch.id AS batch_id, ledger.event
FROM (
    SELECT id
    FROM batches
    WHERE confirmed_at IS NULL AND decided_at < clock_timestamp() - $1::interval
    ORDER BY id
    LIMIT $2
) AS batch
LEFT JOIN ledger ON ledger.batch_id = batch.id
ORDER BY batch.id, ledger.id
