-- The events of the oldest unconfirmed batch up to the id $1. Batches with a further message that
-- this program does not know, by its kind and exchange, are left to a newer program.
SELECT batch.id AS batch_id, ledger.event
FROM (
    SELECT id
    FROM batches
    WHERE confirmed_at IS NULL AND id <= $1::bigint
        AND NOT EXISTS (
            SELECT FROM outbox
            WHERE outbox.batch_id = batches.id
                AND (kind, exchange) NOT IN (SELECT * FROM unnest($2::text[], $3::text[]))
        )
    ORDER BY id
    LIMIT 1
) AS batch
LEFT JOIN ledger ON ledger.batch_id = batch.id
ORDER BY ledger.id
