-- The further messages of some commands, which these batches decided.
SELECT * FROM outbox
WHERE batch_id = ANY ($1::bigint[]) AND command_id = ANY ($2::uuid[])
ORDER BY batch_id, position
