-- Delete a slice of commands: those of the oldest confirmed batches, up to the batch $1 and in their order. So the ledger
-- is complete from the oldest batch on (find_oldest_batch.sql).
-- Outcomes among them that still wait for a queue are given up.
WITH forgotten AS (
    DELETE FROM ledger
    WHERE id = ANY (ARRAY(
        SELECT ledger.id
        FROM batches
        JOIN ledger ON ledger.batch_id = batches.id
        WHERE batches.id <= $1::bigint AND confirmed_at IS NOT NULL
        ORDER BY batches.id
        LIMIT $2
    ))
    RETURNING id
),
given_up AS (
    DELETE FROM waiting_messages USING forgotten WHERE waiting_messages.ledger_id = forgotten.id RETURNING 1
)
SELECT (SELECT count(*) FROM forgotten) AS commands, (SELECT count(*) FROM given_up) AS given_up
