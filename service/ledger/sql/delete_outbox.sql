-- Forget further messages of the oldest batches, up to the batch $1, unless they still wait.
-- And those of batches that are forgotten: a message that ends to wait while its batch is deleted is left behind.
DELETE FROM outbox
WHERE (batch_id, position) IN (
    SELECT outbox.batch_id, outbox.position
    FROM outbox
    WHERE outbox.batch_id <= greatest((SELECT min(id) - 1 FROM batches), $1::bigint)
        AND NOT EXISTS (SELECT FROM batches WHERE batches.id = outbox.batch_id AND confirmed_at IS NULL)
        AND NOT EXISTS (
            SELECT FROM waiting_messages AS waiting
            WHERE waiting.batch_id = outbox.batch_id AND waiting.position = outbox.position
        )
    ORDER BY outbox.batch_id, outbox.position
    LIMIT $2
)
