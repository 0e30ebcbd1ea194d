-- The events of the oldest batch that was committed a while ago and never confirmed.
SELECT batch.id AS batch_id, ledger.event
FROM (
    SELECT id
    FROM batches
    WHERE confirmed_at IS NULL AND decided_at < clock_timestamp() - $1::interval
    ORDER BY id
    LIMIT 1
) AS batch
LEFT JOIN ledger ON ledger.batch_id = batch.id
ORDER BY ledger.id
