-- Forget the commands of the oldest batches that are past the retention, and that the broker has confirmed: a slice.
DELETE FROM ledger
WHERE id = ANY (ARRAY(
    SELECT ledger.id
    FROM (
        SELECT id
        FROM batches
        WHERE decided_at < clock_timestamp() - $1::interval AND confirmed_at IS NOT NULL
        ORDER BY id
        LIMIT $2
    ) AS old
    JOIN ledger ON ledger.batch_id = old.id
    LIMIT $3
))
