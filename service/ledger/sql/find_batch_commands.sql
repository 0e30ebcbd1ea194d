-- The commands that some batches decided. None of a batch with a further message that this program does not know, by its
-- kind and exchange: only a newer one can say that everything of it is published.
SELECT batch_id, id
FROM ledger
WHERE batch_id = ANY ($1::bigint[])
    AND NOT EXISTS (
        SELECT FROM outbox
        WHERE outbox.batch_id = ledger.batch_id
            AND (kind, exchange) NOT IN (SELECT * FROM unnest($2::text[], $3::text[]))
    )
