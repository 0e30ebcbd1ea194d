-- Every row of the ledger belongs to a batch, and is the one that was written, unless an older version wrote it.
SELECT
    ledger.id::text AS record,
    CASE
        WHEN batches.id IS NULL THEN format('there is no batch %s', batch_id)
        ELSE 'its row is not as it was written'
    END AS found
FROM ledger
LEFT JOIN batches ON batches.id = ledger.batch_id
WHERE batches.id IS NULL
    OR (ledger.row_hash IS NOT NULL OR batches.commands IS NOT NULL)
    AND ledger.row_hash IS DISTINCT FROM
        hash_record_extended(ROW(ledger.id, content_hash, verdict, event, batch_id), 0)
LIMIT 10
