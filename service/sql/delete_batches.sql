-- Forget those of the oldest batches of which no command is remembered.
DELETE FROM batches
WHERE id = ANY (ARRAY(
    SELECT id
    FROM batches
    WHERE decided_at < clock_timestamp() - $1::interval AND confirmed_at IS NOT NULL
    ORDER BY id
    LIMIT $2
)) AND NOT EXISTS (SELECT FROM ledger WHERE ledger.batch_id = batches.id)
