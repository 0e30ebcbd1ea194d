-- Messages that a queue has taken, or that are not to be published any more, wait no longer. A further message whose
-- command is forgotten was left in the outbox for it.
WITH done AS (
    DELETE FROM waiting_messages WHERE id = ANY ($1::bigint[]) RETURNING batch_id, position
)
DELETE FROM outbox
USING done
WHERE outbox.batch_id = done.batch_id AND outbox.position = done.position
    AND NOT EXISTS (SELECT FROM ledger WHERE ledger.batch_id = done.batch_id)
